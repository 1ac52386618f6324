"""When an ended container is started again: the rules as a table, and the crash back-off.

Always, OnFailure and Never say whether; the back-off says when. It grows from 10 s to 5 minutes (or less, where the node says
so) with every restart and is forgotten when a container had run (or rested) for 10 minutes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kybern.api.core_v1 import Container, EphemeralContainer, Pod
from kybern.runtime.cri import ContainerState, ContainerStatus

RESTART_ALL = "RestartAllContainers"
CRASH_FIRST_SECONDS = 10.0
CRASH_MAX_SECONDS = 300.0
FORGOTTEN_AFTER_SECONDS = 600.0  # twice the longest delay, as upstream

# (restart policy, ended with exit code 0) -> start again?
RESTARTS: dict[tuple[str, bool], bool] = {
    ("Always", True): True,
    ("Always", False): True,
    ("OnFailure", True): False,
    ("OnFailure", False): True,
    ("Never", True): False,
    ("Never", False): False,
}


def is_sidecar(container: Container | EphemeralContainer) -> bool:
    """A restartable init container. Asked about init containers only."""
    return container.restart_policy == "Always"


def policy_of(pod: Pod, container: Container | EphemeralContainer) -> str:
    return container.restart_policy or pod.spec.restart_policy or "Always"


def is_restarted(pod: Pod, container: Container | EphemeralContainer, status: ContainerStatus | None) -> bool:
    """Whether a container that is not running has to be started."""
    if pod.metadata.deletion_timestamp is not None:
        return False
    if status is None or status.state in (ContainerState.UNKNOWN, ContainerState.CREATED):
        return True
    if status.state is ContainerState.RUNNING:
        return False
    if rule_for(container, status.exit_code) in ("Restart", RESTART_ALL):
        return True
    return RESTARTS[policy_of(pod, container), status.exit_code == 0]


def rule_for(container: Container | EphemeralContainer, exit_code: int) -> str:
    """What the first matching `restartPolicyRules` entry says; empty where none matches."""
    for rule in container.restart_policy_rules or ():
        codes = rule.exit_codes
        if codes is not None and (exit_code in (codes.values or ())) == (codes.operator == "In"):
            return rule.action
    return ""


def may_restart_all(pod: Pod) -> bool:
    every = (*(pod.spec.init_containers or ()), *pod.spec.containers)
    return any(rule.action == RESTART_ALL for container in every for rule in container.restart_policy_rules or ())


@dataclass(frozen=True, slots=True)
class RestartDelay:
    """The delay that followed the last restart, and when that was."""

    seconds: float
    updated_at: float


def waits_until(delay: RestartDelay | None, ended_at: float) -> float:
    """When a container that ended then may start; a moment in the past when there is nothing to wait for."""
    if delay is None or ended_at - delay.updated_at > FORGOTTEN_AFTER_SECONDS:
        return 0.0
    return ended_at + delay.seconds


def after_restart(
    delay: RestartDelay | None, ended_at: float, now: float, seconds_max: float = CRASH_MAX_SECONDS
) -> RestartDelay:
    """The delay that the next failure meets."""
    if delay is None or ended_at - delay.updated_at > FORGOTTEN_AFTER_SECONDS:
        return RestartDelay(min(CRASH_FIRST_SECONDS, seconds_max), now)
    return RestartDelay(min(delay.seconds * 2, seconds_max), now)


def ends_seen(
    known: Mapping[str, float], containers: Iterable[ContainerStatus], wall: float, monotonic: float
) -> dict[str, float]:
    """When each container ended, on a clock that never jumps; one that ended unseen is dated by the wall clock once."""
    found: dict[str, float] = {}
    for status in containers:
        if status.state is ContainerState.EXITED:
            age = min(max(wall - status.finished_at, 0.0), FORGOTTEN_AFTER_SECONDS)
            found[status.id] = known.get(status.id, monotonic - age)
    return found


def duration_text(seconds: float) -> str:
    """As Go prints a duration: `10s`, `2m40s`, `5m0s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
