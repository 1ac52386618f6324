"""What is expected to go wrong with a pod, and what its event says of it, in upstream's words."""

from collections.abc import Mapping

from kybern.api.errors import ApiError
from kybern.kubelet.devices.claims import ClaimFault
from kybern.kubelet.devices.gate import DeviceFault
from kybern.kubelet.lifecycle import Stage
from kybern.kubelet.starting import SandboxFailed
from kybern.runtime.cri import RuntimeFault
from kybern.volumes.payload import VolumeFault

FAULTS = (RuntimeFault, ApiError, OSError, SandboxFailed, VolumeFault, ClaimFault, DeviceFault)
REASONS: Mapping[type[Exception], str] = {
    VolumeFault: "FailedMount",
    ClaimFault: "FailedPrepareDynamicResources",
    DeviceFault: "FailedPrepareDynamicResources",
}


def told(fault: Exception, stage: Stage) -> tuple[str, str]:
    """The event's reason and text."""
    if stage is Stage.TERMINATING:
        return "FailedKillPod", f"error killing pod: {fault}"
    if isinstance(fault, SandboxFailed):
        return fault.reason, str(fault)
    return REASONS.get(type(fault), "FailedSync"), str(fault)


def first_expected(faults: ExceptionGroup[Exception]) -> Exception | None:
    """Of what went wrong at once; None where something else did too."""
    expected, surprising = faults.split(FAULTS)
    if surprising is not None:
        return None
    found: Exception | None = expected
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found
