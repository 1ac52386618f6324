"""Everything that a cluster has from the start, made where it is missing. Safe at every start."""

from collections.abc import Sequence

from kybern.apiserver.allocation.ranges import Network
from kybern.apiserver.bootstrap.create import in_parallel
from kybern.apiserver.bootstrap.fixed_services import FixedService, ensure_fixed_service
from kybern.apiserver.bootstrap.flowcontrol import ensure_flow_control
from kybern.apiserver.bootstrap.namespaces import ensure_namespaces
from kybern.apiserver.bootstrap.priorities import ensure_priorities
from kybern.apiserver.bootstrap.rbac import reconcile_rbac
from kybern.apiserver.bootstrap.servicecidr import ensure_service_cidr
from kybern.apiserver.request import Objects


async def bootstrap(objects: Objects, services: Sequence[FixedService] = (), networks: Sequence[Network] = ()) -> None:
    """`networks` are those that Services get their addresses from."""
    await ensure_namespaces(objects)
    await ensure_service_cidr(objects, networks)
    fixed = [ensure_fixed_service(objects, service) for service in services]
    await in_parallel(reconcile_rbac(objects), ensure_priorities(objects), ensure_flow_control(objects), *fixed)
