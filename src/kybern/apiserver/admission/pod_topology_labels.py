"""PodTopologyLabels: a pod bears the zone and the region of its node, for those who look at the pod only."""

from msgspec.structs import replace

from kybern.api.core_v1 import Node, Pod
from kybern.apiserver.admission.plugin import Plugin
from kybern.apiserver.request import Admission

LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels(Plugin):
    name = "PodTopologyLabels"
    kinds = (Pod,)

    async def admit(self, admission: Admission) -> None:
        """When it is bound, or created on a node. What it said of that itself is overwritten."""
        binds = admission.subresource == "binding"
        creates = admission.operation == "CREATE" and not admission.subresource
        if admission.resource.kind.type is not Pod or not (binds or creates):
            return
        pod: Pod = admission.object
        node = self.objects.get(Node, pod.spec.node_name) if pod.spec.node_name else None
        found = {key: value for key, value in (node.metadata.labels or {}).items() if key in LABELS} if node else {}
        if found:
            labels = {**(pod.metadata.labels or {}), **found}
            admission.object = replace(pod, metadata=replace(pod.metadata, labels=labels))
