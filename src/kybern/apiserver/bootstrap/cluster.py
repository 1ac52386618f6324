"""Everything that a cluster has from the start, made where it is missing. Safe at every start."""

from collections.abc import Sequence

from kybern.apiserver.bootstrap.create import in_parallel
from kybern.apiserver.bootstrap.fixed_services import FixedService, ensure_fixed_service
from kybern.apiserver.bootstrap.flowcontrol import ensure_flow_control
from kybern.apiserver.bootstrap.namespaces import ensure_namespaces
from kybern.apiserver.bootstrap.priorities import ensure_priorities
from kybern.apiserver.bootstrap.rbac import reconcile_rbac
from kybern.apiserver.request import Objects


async def bootstrap(objects: Objects, services: Sequence[FixedService] = ()) -> None:
    await ensure_namespaces(objects)
    fixed = [ensure_fixed_service(objects, service) for service in services]
    await in_parallel(reconcile_rbac(objects), ensure_priorities(objects), ensure_flow_control(objects), *fixed)
