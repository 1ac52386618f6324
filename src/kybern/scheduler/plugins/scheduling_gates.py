"""SchedulingGates: a pod is not tried as long as its spec names a gate."""

from kybern.api.core_v1 import Pod
from kybern.scheduler.extension_points import PreEnqueuePlugin
from kybern.scheduler.framework import Change
from kybern.scheduler.snapshot import Snapshot


class SchedulingGates(PreEnqueuePlugin):
    name = "SchedulingGates"
    wakes_on = Change(0)

    def pre_enqueue(self, pod: Pod, snapshot: Snapshot) -> str:
        gates = ", ".join(gate.name for gate in pod.spec.scheduling_gates or ())
        return f"waiting for scheduling gates: {gates}" if gates else ""
