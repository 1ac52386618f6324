"""What a pod leaves behind while it goes on: containers and sandboxes that nobody will ask about any more.

What cannot be removed costs room, and the pod nothing: the node says so, and it is tried again after the next restart.
Of each container the latest and the one before it are kept, for `kubectl logs --previous` and the last state.
"""

from collections.abc import Sequence

from kybern.kubelet.files import remove_logs
from kybern.kubelet.observed import Observed
from kybern.kubelet.parts import Parts
from kybern.runtime.cri import ContainerState, ContainerStatus, RuntimeFault, SandboxState, SandboxStatus

KEPT_OF_EACH = 2


def dead_containers(observed: Observed) -> Sequence[ContainerStatus]:
    """The superfluous ones."""
    seen: dict[str, int] = {}
    found: list[ContainerStatus] = []
    for status in observed.containers:
        name = status.metadata.name
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > KEPT_OF_EACH and status.state is not ContainerState.RUNNING:
            found.append(status)
    return found


def dead_sandboxes(observed: Observed) -> Sequence[SandboxStatus]:
    """Those before the newest that hold no container any more."""
    used = {status.sandbox_id for status in observed.containers}
    return [s for s in observed.sandboxes[1:] if s.state is SandboxState.NOT_READY and s.id not in used]


async def bury(parts: Parts, uid: str) -> None:
    try:
        await _remove(parts, uid)
    except (RuntimeFault, OSError) as error:
        parts.tell_of_node("Warning", "ContainerGCFailed", str(error))


async def _remove(parts: Parts, uid: str) -> None:
    for status in dead_containers(parts.pleg.of(uid)):
        if parts.node.on_disk:  # first: the container is all that tells of them
            remove_logs(status.log_path)
        await parts.runtime.remove_container(status.id)
        await parts.pleg.note(status.id)
    for sandbox in dead_sandboxes(parts.pleg.of(uid)):
        await parts.runtime.remove_pod_sandbox(sandbox.id)
        await parts.pleg.note_sandboxes()
