"""From what the runtime says of a container to the `ContainerStatus` that the API shows.

- A container that would be started but is not yet is waiting, with the reason; what ended before is its last state.
- A container the runtime never had is waiting for `ContainerCreating`, or `PodInitializing` where init containers go first.
- One that the API knows to have run and the runtime has lost is terminated with `ContainerStatusUnknown`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.core_v1 import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ContainerUser,
    EphemeralContainer,
    LinuxContainerUser,
    Pod,
    ResourceRequirements,
    VolumeMountStatus,
)
from kybern.kubelet.memory import NO_RESULTS, Memory, ProbeResults, Waiting
from kybern.kubelet.observed import Observed, restart_count
from kybern.kubelet.resources import enforced_resources
from kybern.kubelet.restarts import is_restarted, is_sidecar
from kybern.runtime import cri

CONTAINER_SCHEME = "kybern://"
LOST_MESSAGE = "The container could not be located when the pod was terminated"
LOST_MESSAGE_DELETED = "The container could not be located when the pod was deleted.  The container used to be Running"
LOST_EXIT_CODE = 137

AnyContainer = Container | EphemeralContainer
Flags = Callable[[AnyContainer, ContainerState, ProbeResults], tuple[bool, bool]]


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything a container's status is made from."""

    pod: Pod
    observed: Observed
    memory: Memory
    waiting: Mapping[str, Waiting]
    before: Mapping[str, ContainerStatus]
    """The statuses that the API has, by container name."""
    terminal: bool = False
    """The pod is over; nothing will be started again."""


def container_statuses(seen: Seen) -> tuple[ContainerStatus, ...]:
    return tuple(_status(seen, container, _app_flags) for container in seen.pod.spec.containers)


def init_container_statuses(seen: Seen) -> tuple[ContainerStatus, ...]:
    containers = seen.pod.spec.init_containers or ()
    return tuple(_status(seen, c, _app_flags if is_sidecar(c) else _one_shot_flags) for c in containers)


def ephemeral_container_statuses(seen: Seen) -> tuple[ContainerStatus, ...]:
    return tuple(_status(seen, c, _ephemeral_flags) for c in seen.pod.spec.ephemeral_containers or ())


def _status(seen: Seen, container: AnyContainer, flags: Flags) -> ContainerStatus:
    found = seen.observed.latest(container.name)
    before = seen.before.get(container.name)
    status = _from_runtime(seen, container, found) if found else _without_runtime(seen, container, before)
    status = _while_waiting(seen, container, found, status)
    if seen.terminal:
        status = _at_the_end(seen, container, status)
    results = seen.memory.probes.get(found.id, NO_RESULTS) if found else NO_RESULTS
    started, ready = flags(container, status.state or ContainerState(), results)
    return replace(status, started=started, ready=ready)


def _from_runtime(seen: Seen, container: AnyContainer, found: cri.ContainerStatus) -> ContainerStatus:
    previous = seen.observed.previous(container.name)
    before = seen.before.get(container.name)
    last = state_of(previous) if previous else (before.last_state if before else None)
    if previous is None and before and before.container_id not in (None, identity(found.id)):
        last = _terminated_part(before) or last
    return ContainerStatus(
        name=container.name,
        state=_with_last_words(state_of(found), before),
        last_state=last or ContainerState(),
        restart_count=restart_count(found),
        image=found.image or container.image or "",
        image_id=found.image_id,
        container_id=identity(found.id),
        allocated_resources=(container.resources.requests if container.resources else None),
        resources=_resources(seen.pod, container, found),
        volume_mounts=_volume_mounts(container),
        user=_user(found),
        stop_signal=found.stop_signal or None,
    )


def _resources(pod: Pod, container: AnyContainer, found: cri.ContainerStatus) -> ResourceRequirements | None:
    return enforced_resources(pod, container, found) if isinstance(container, Container) else container.resources


def _terminated_part(before: ContainerStatus) -> ContainerState | None:
    """How an earlier instance ended, when only the API still knows."""
    if before.state and before.state.terminated:
        return ContainerState(terminated=before.state.terminated)
    return None


def _with_last_words(state: ContainerState, before: ContainerStatus | None) -> ContainerState:
    """The termination message outlives its file in the API."""
    told = before.state.terminated if before and before.state else None
    now = state.terminated
    if now is None or told is None or now.message or now.container_id != told.container_id:
        return state
    return ContainerState(terminated=replace(now, message=told.message))


def identity(container_id: str) -> str:
    return CONTAINER_SCHEME + container_id


def state_of(found: cri.ContainerStatus) -> ContainerState:
    if found.state is cri.ContainerState.RUNNING:
        return ContainerState(running=ContainerStateRunning(started_at=rfc3339(found.started_at)))
    if found.state is cri.ContainerState.EXITED:
        return ContainerState(terminated=_terminated(found))
    return ContainerState(waiting=ContainerStateWaiting(reason="ContainerCreating"))


def _terminated(found: cri.ContainerStatus) -> ContainerStateTerminated:
    reason = found.reason or ("Completed" if found.exit_code == 0 else "Error")
    return ContainerStateTerminated(
        exit_code=found.exit_code,
        signal=found.signal if found.signal and found.exit_code <= 128 else None,
        reason=reason,
        message=found.message or None,
        started_at=rfc3339(found.started_at) if found.started_at else None,
        finished_at=rfc3339(found.finished_at) if found.finished_at else None,
        container_id=identity(found.id),
    )


def _volume_mounts(container: AnyContainer) -> tuple[VolumeMountStatus, ...] | None:
    mounts = tuple(
        VolumeMountStatus(
            name=mount.name,
            mount_path=mount.mount_path,
            read_only=mount.read_only,
            recursive_read_only=_recursive(mount.recursive_read_only) if mount.read_only else None,
        )
        for mount in container.volume_mounts or ()
    )
    return mounts or None


def _recursive(asked: str | None) -> str:
    return "Enabled" if asked in ("Enabled", "IfPossible") else "Disabled"


def _user(found: cri.ContainerStatus) -> ContainerUser | None:
    if found.user is None:
        return None
    uid, gid, groups = found.user
    return ContainerUser(linux=LinuxContainerUser(uid=uid, gid=gid, supplemental_groups=groups or None))


def _without_runtime(seen: Seen, container: AnyContainer, before: ContainerStatus | None) -> ContainerStatus:
    """The runtime has none: never started, or lost."""
    reason = "PodInitializing" if seen.pod.spec.init_containers else "ContainerCreating"
    status = ContainerStatus(
        name=container.name,
        image=container.image or "",
        state=ContainerState(waiting=ContainerStateWaiting(reason=reason)),
        last_state=ContainerState(),
        volume_mounts=_volume_mounts(container),
    )
    if before is None or before.state is None or not before.container_id:
        return status
    if before.state.terminated:
        return replace(before, name=container.name)
    if before.state.running:
        lost = ContainerState(terminated=_lost(LOST_MESSAGE_DELETED, before.state.running.started_at))
        return replace(before, state=status.state, last_state=lost)
    return replace(status, restart_count=before.restart_count, last_state=before.last_state)


def _lost(message: str, started_at: str | None = None) -> ContainerStateTerminated:
    return ContainerStateTerminated(
        reason="ContainerStatusUnknown", message=message, exit_code=LOST_EXIT_CODE, started_at=started_at
    )


def _while_waiting(
    seen: Seen, container: AnyContainer, found: cri.ContainerStatus | None, status: ContainerStatus
) -> ContainerStatus:
    """A container that will be started shows why it is not yet."""
    met = seen.waiting.get(container.name) or seen.memory.waiting.get(container.name)
    if met is None or (isinstance(container, Container) and not is_restarted(seen.pod, container, found)):
        return status
    ended = ContainerState(terminated=status.state.terminated) if status.state and status.state.terminated else None
    waiting = ContainerStateWaiting(reason=met.reason, message=met.message or None)
    return replace(status, state=ContainerState(waiting=waiting), last_state=ended or status.last_state)


def _at_the_end(seen: Seen, container: AnyContainer, status: ContainerStatus) -> ContainerStatus:
    """In a pod that is over, a container is either ended or was never begun."""
    state = status.state or ContainerState()
    if state.terminated:
        return status
    last = status.last_state.terminated if status.last_state else None
    if last is not None:
        return replace(status, state=ContainerState(terminated=last), last_state=ContainerState())
    if state.running or status.container_id:
        return replace(status, state=ContainerState(terminated=_lost(LOST_MESSAGE)))
    return status


def _app_flags(container: AnyContainer, state: ContainerState, results: ProbeResults) -> tuple[bool, bool]:
    """Started and ready. Without a readiness probe it is, unless something else says not: it is paused."""
    started = state.running is not None and (container.startup_probe is None or results.startup is True)
    unasked = container.readiness_probe is None and results.readiness is None
    return started, started and (unasked or results.readiness is True)


def _one_shot_flags(container: AnyContainer, state: ContainerState, results: ProbeResults) -> tuple[bool, bool]:
    """An init container is ready once it has succeeded."""
    return state.running is not None, state.terminated is not None and state.terminated.exit_code == 0


def _ephemeral_flags(container: AnyContainer, state: ContainerState, results: ProbeResults) -> tuple[bool, bool]:
    return False, False
