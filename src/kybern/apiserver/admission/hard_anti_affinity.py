"""LimitPodHardAntiAffinityTopology: a pod may keep others off its node for good, but not off a zone or the whole cluster."""

from kybern.api.core_v1 import Pod
from kybern.apiserver.admission.plugin import Plugin, is_write_of, refused
from kybern.apiserver.request import Admission

HOSTNAME = "kubernetes.io/hostname"


class LimitPodHardAntiAffinityTopology(Plugin):
    name = "LimitPodHardAntiAffinityTopology"
    kinds = (Pod,)

    async def validate(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod):
            return
        affinity = admission.object.spec.affinity
        apart = affinity.pod_anti_affinity if affinity else None
        for term in (apart.required_during_scheduling_ignored_during_execution if apart else None) or ():
            if term.topology_key != HOSTNAME:
                raise refused(
                    admission,
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey "
                    f"{term.topology_key} but only key {HOSTNAME} is allowed",
                )
