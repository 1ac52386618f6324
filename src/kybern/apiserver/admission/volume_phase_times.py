"""VolumePhaseTimes: a persistent volume's status says since when the volume is in its phase.

Upstream does this where it stores a volume. Who writes another phase may tell the time too; a time that merely stands
there from before is not one that was told.
"""

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.core_v1 import PersistentVolume, PersistentVolumeStatus
from kybern.apiserver.admission.plugin import Plugin
from kybern.apiserver.request import Admission


class VolumePhaseTimes(Plugin):
    name = "VolumePhaseTimes"
    kinds = (PersistentVolume,)

    async def admit(self, admission: Admission) -> None:
        now = rfc3339(self.inputs.clock.wall())
        if admission.operation == "CREATE":
            timed = replace(admission.object.status, last_phase_transition_time=now)
        elif admission.operation == "UPDATE" and admission.subresource == "status":
            timed = since(admission.object.status, admission.old.status, now)
        else:
            return
        admission.object = replace(admission.object, status=timed)


def since(status: PersistentVolumeStatus, old: PersistentVolumeStatus, now: str) -> PersistentVolumeStatus:
    told, before = status.last_phase_transition_time, old.last_phase_transition_time
    if status.phase == old.phase:
        return status if told is not None else replace(status, last_phase_transition_time=before)
    return replace(status, last_phase_transition_time=now) if told in (None, before) else status
