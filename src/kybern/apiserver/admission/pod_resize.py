"""PodResizeValidator: a running pod is not given more than its node could ever give; other nodes than Linux resize nothing."""

from collections.abc import Iterator

from kybern.api import quantity
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import Forbidden
from kybern.api.meta_v1 import StatusCause
from kybern.apiserver.admission.plugin import Plugin, refused
from kybern.apiserver.request import Admission
from kybern.registry.podspec.demand import total_requests

OS = "kubernetes.io/os"


class PodResizeValidator(Plugin):
    name = "PodResizeValidator"
    kinds = (Pod,)

    async def validate(self, admission: Admission) -> None:
        if admission.resource.kind.type is not Pod or admission.subresource != "resize":
            return
        pod: Pod = admission.object
        if not pod.spec.node_name or admission.old is None or pod.spec == admission.old.spec:
            return
        node = self.objects.get(Node, pod.spec.node_name)
        if node is None:
            raise refused(admission, f'node "{pod.spec.node_name}" not found')
        short = list(lacking(pod, node))
        if short:
            why = f"Node didn't have enough allocatable resources: {'; '.join(short)}"
            raise with_cause(refused(admission, why), "NodeCapacity")
        system = (node.metadata.labels or {}).get(OS, "")
        if system != "linux":
            why = f'pod resize is only supported on linux nodes, node "{pod.spec.node_name}" is "{system}"'
            raise with_cause(refused(admission, why), "UnsupportedPlatform")


def lacking(pod: Pod, node: Node) -> Iterator[str]:
    allocatable, asked = node.status.allocatable or {}, total_requests(pod.spec)
    for name, amount in (("cpu", quantity.milli), ("memory", quantity.value)):
        wanted, there = amount(asked.get(name, "0")), amount(allocatable.get(name, "0"))
        if wanted > there:
            yield f"{name}, requested: {wanted}, allocatable: {there}"


def with_cause(error: Forbidden, reason: str) -> Forbidden:
    error.causes = (StatusCause(reason=reason),)
    return error
