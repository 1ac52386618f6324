"""NodeDeclaredFeatureValidator: a running pod is not changed into one that its node has not declared to know how to run.

A kubelet lists in its node's status what it can do of what others may not know yet; the scheduler goes by that when it
places pods, and this plugin when a pod that has its place is changed.
"""

from collections.abc import Callable

from kybern.api import quantity
from kybern.api.core_v1 import Node, Pod, PodSpec
from kybern.apiserver.admission.plugin import Plugin, refused
from kybern.apiserver.request import Admission


class NodeDeclaredFeatureValidator(Plugin):
    name = "NodeDeclaredFeatureValidator"
    kinds = (Pod,)

    async def validate(self, admission: Admission) -> None:
        if admission.resource.kind.type is not Pod or admission.subresource not in ("", "resize"):
            return
        if admission.operation != "UPDATE" or not admission.object.spec.node_name:
            return
        pod, old = admission.object, admission.old
        needed = [name for name, needs in FEATURES if pod.spec != old.spec and needs(pod, old)]
        if not needed:
            return
        node = self.objects.get(Node, pod.spec.node_name)
        if node is None:
            raise refused(admission, f'node "{pod.spec.node_name}" not found')
        missing = [name for name in needed if name not in (node.status.declared_features or ())]
        if missing:
            why = f'pod update requires features {", ".join(missing)} which are not available on node "{node.metadata.name}"'
            raise refused(admission, why)


def resizes_cpus_of_its_own(pod: Pod, old: Pod) -> bool:
    """A pod with guaranteed CPUs may have some for itself alone."""
    return old.status.qos_class == "Guaranteed" and cpus(pod.spec) != cpus(old.spec)


def cpus(spec: PodSpec) -> list[int]:
    asked = [one.resources.requests if one.resources is not None else None for one in spec.containers]
    return [quantity.milli((requests or {}).get("cpu", "0")) for requests in asked]


def resizes_the_whole(pod: Pod, old: Pod) -> bool:
    found: bool = pod.spec.resources != old.spec.resources
    return found


FEATURES: tuple[tuple[str, Callable[[Pod, Pod], bool]], ...] = (
    ("GuaranteedQoSPodCPUResize", resizes_cpus_of_its_own),
    ("InPlacePodLevelResourcesVerticalScaling", resizes_the_whole),
)
"""What a change may need: upstream's features of 1.37 that concern one."""
