"""Everything that a cluster has from the start, made where it is missing. Safe at every start."""

from kybern.apiserver.bootstrap.create import in_parallel
from kybern.apiserver.bootstrap.kubernetes_service import KubernetesService, ensure_kubernetes_service
from kybern.apiserver.bootstrap.namespaces import ensure_namespaces
from kybern.apiserver.bootstrap.priorities import ensure_priorities
from kybern.apiserver.bootstrap.rbac import reconcile_rbac
from kybern.apiserver.request import Objects


async def bootstrap(objects: Objects, kubernetes: KubernetesService | None) -> None:
    await ensure_namespaces(objects)
    work = [reconcile_rbac(objects), ensure_priorities(objects)]
    if kubernetes is not None:
        work.append(ensure_kubernetes_service(objects, kubernetes))
    await in_parallel(*work)
