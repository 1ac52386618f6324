"""What has to be done so that the runtime holds what a pod asks for: decided here, carried out by the worker.

`plan` is a function of its arguments. It is asked again after everything that happens, so it never plans further ahead
than what can be done now:

1. A pod without a usable sandbox gets a new one; whatever still runs is ended first.
2. Init containers run one after another; a sidecar counts as done once it has started.
3. Then containers are started, ended where a probe says so, and started again as their restart policy says.
4. When nothing runs and nothing is to be started again, the pod is `finished`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kybern.api.core_v1 import Container, EphemeralContainer, Pod
from kybern.kubelet.memory import NO_RESULTS, Memory, ProbeResults, Waiting
from kybern.kubelet.observed import CONTAINER_HASH, Observed
from kybern.kubelet.resources import resized, restarts_for
from kybern.kubelet.restarts import duration_text, is_restarted, is_sidecar, policy_of, waits_until
from kybern.kubelet.rounds import current, ended_for_others, left_over
from kybern.runtime.cri import ContainerState, ContainerStatus, LinuxResources, SandboxState

AnyContainer = Container | EphemeralContainer


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    attempt: int


@dataclass(frozen=True, slots=True)
class StopPod:
    """End all containers and the sandbox, to begin again or to be done."""


@dataclass(frozen=True, slots=True)
class StartContainer:
    name: str


@dataclass(frozen=True, slots=True)
class KillContainer:
    id: str
    name: str
    message: str
    """What the event says."""
    cause: str
    """`liveness`, `startup`, `changed`, `resize`, `hook` or `all`: a failed probe may have a grace period of its own."""


@dataclass(frozen=True, slots=True)
class ResizeContainer:
    """Other limits for a container that runs on."""

    id: str
    name: str
    resources: LinuxResources


Action = CreateSandbox | StopPod | StartContainer | KillContainer | ResizeContainer


@dataclass(frozen=True, slots=True)
class Plan:
    actions: tuple[Action, ...] = ()
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """Containers that would be started were it not too early."""
    finished: bool = False
    """Nothing runs and nothing will be started again."""

    @property
    def wakes_at(self) -> float | None:
        return min((waiting.until for waiting in self.waiting.values()), default=None)


def plan(pod: Pod, observed: Observed, now: float, memory: Memory | None = None) -> Plan:
    memory = memory or Memory()
    if needs_sandbox(pod, observed):
        wanted = _after_new_sandbox(pod, observed)
    else:
        wanted = _in_sandbox(pod, observed, memory)
    if wanted is None:
        return Plan((StopPod(),), finished=True)
    return _held_back(pod, observed, memory, now, wanted)


def needs_sandbox(pod: Pod, observed: Observed) -> bool:
    """No sandbox, one that died, one without the address it should have, or one too many."""
    newest = observed.sandbox
    ready = observed.ready_sandbox
    several = sum(sandbox.state is SandboxState.READY for sandbox in observed.sandboxes) > 1
    if newest is None or ready is not newest or several:
        return True
    return not pod.spec.host_network and not ready.ips


def _after_new_sandbox(pod: Pod, observed: Observed) -> tuple[Action, ...] | None:
    """The way from nothing, or from a dead sandbox, to the first container."""
    attempt = observed.sandbox.config.metadata.attempt + 1 if observed.sandbox else 0
    stops = (StopPod(),) if observed.sandbox else ()
    starts = [c.name for c in pod.spec.containers if _starts_in_new_sandbox(pod, c, observed.latest(c.name))]
    first = pod.spec.init_containers[0].name if pod.spec.init_containers else ""
    if not starts and (not first or was_initialized(pod, observed)):
        return None
    have_run = any(status.state is not ContainerState.CREATED for status in observed.containers)
    if attempt and have_run and not _restarts_at_all(pod):
        return None
    return (*stops, CreateSandbox(attempt), *([StartContainer(first)] if first else map(StartContainer, starts)))


def _restarts_at_all(pod: Pod) -> bool:
    return any(policy_of(pod, container) != "Never" for container in pod.spec.containers)


def _starts_in_new_sandbox(pod: Pod, container: Container, status: ContainerStatus | None) -> bool:
    """One that was running goes down with its sandbox, so it counts as one that failed."""
    if status is None or status.state is ContainerState.CREATED:
        return True
    if status.state is not ContainerState.EXITED:
        return policy_of(pod, container) != "Never"
    return is_restarted(pod, container, status)


def _in_sandbox(pod: Pod, everything: Observed, memory: Memory) -> tuple[Action, ...] | None:
    if old := left_over(pod, everything):
        return tuple(KillContainer(s.id, s.metadata.name, REASONS_TO_KILL["all"], "all") for s in old)
    observed = current(pod, everything)
    ephemeral = [StartContainer(c.name) for c in pod.spec.ephemeral_containers or () if not observed.latest(c.name)]
    init = _init_steps(pod, observed, memory)
    if init.failed:
        return None
    if not init.done:
        return (*ephemeral, *init.actions)
    main: list[Action] = []
    kept = 0
    for container in pod.spec.containers:
        steps, keeps = _container_steps(pod, container, observed, memory)
        main += steps
        kept += keeps
    if not kept and not any(isinstance(action, StartContainer) for action in main):
        return None
    return (*ephemeral, *init.actions, *main)


@dataclass(slots=True)
class _Init:
    actions: list[Action] = field(default_factory=list)
    done: bool = False
    failed: bool = False


def was_initialized(pod: Pod, observed: Observed) -> bool:
    """Whether an app container has ever run: then init containers are never run again in this sandbox."""
    started = (observed.latest(container.name) for container in pod.spec.containers)
    return any(status is not None and status.state is not ContainerState.CREATED for status in started)


def _init_steps(pod: Pod, observed: Observed, memory: Memory) -> _Init:
    """In order, up to the first that is not done; sidecars passed on the way are kept alive."""
    before = was_initialized(pod, observed)
    init = _Init()
    for container in pod.spec.init_containers or ():
        if is_sidecar(container):
            done = _sidecar_steps(pod, container, observed, memory, init)
        else:
            done = before or _one_shot_steps(pod, container, observed, init)
        if not done and not before:
            return init
    init.done = True
    return init


def _one_shot_steps(pod: Pod, container: Container, observed: Observed, init: _Init) -> bool:
    status = _in_this_sandbox(observed, container.name)
    if status is not None and status.state is ContainerState.EXITED and status.exit_code == 0:
        return True
    if status is not None and status.state is ContainerState.RUNNING:
        return False
    if status is not None and status.state is ContainerState.EXITED and not is_restarted(pod, container, status):
        init.failed = True
        return False
    init.actions.append(StartContainer(container.name))
    return False


def _sidecar_steps(pod: Pod, container: Container, observed: Observed, memory: Memory, init: _Init) -> bool:
    """Whether the next init container may start."""
    steps, _ = _container_steps(pod, container, observed, memory)
    init.actions += steps
    status = observed.latest(container.name)
    if steps or status is None or status.state is not ContainerState.RUNNING:
        return False
    return container.startup_probe is None or memory.probes.get(status.id, NO_RESULTS).startup is True


def _container_steps(pod: Pod, container: Container, observed: Observed, memory: Memory) -> tuple[list[Action], bool]:
    """What to do with one container, and whether it is one that keeps the pod going as it is."""
    status = _in_this_sandbox(observed, container.name)
    if status is None or status.state is not ContainerState.RUNNING:
        if is_restarted(pod, container, status or observed.latest(container.name)) or (
            status is not None and status.id in memory.restarts
        ):
            return [StartContainer(container.name)], False
        return [], False
    resources = resized(pod, container, status)
    cause = _cause_to_kill(container, status, memory.probes.get(status.id, NO_RESULTS))
    if cause is None and resources is not None and restarts_for(container, status, resources):
        cause = "resize"
    if cause is None:
        return [] if resources is None else [ResizeContainer(status.id, container.name, resources)], True
    restarts = is_started_again(pod, container, cause)
    message = REASONS_TO_KILL[cause].format(container.name) + (", will be restarted" if restarts else "")
    return [KillContainer(status.id, container.name, message, cause)], True  # what follows its end is decided then


def is_started_again(pod: Pod, container: AnyContainer, cause: str) -> bool:
    return cause in ("changed", "resize", "all") or policy_of(pod, container) != "Never"


REASONS_TO_KILL = {
    "changed": "Container {} definition changed",
    "liveness": "Container {} failed liveness probe",
    "startup": "Container {} failed startup probe",
    "resize": "Container {} resize requires restart",
    "all": "Restarting all containers",
}


def _cause_to_kill(container: Container, status: ContainerStatus, results: ProbeResults) -> str | None:
    written = status.annotations.get(CONTAINER_HASH)
    if written is not None and written != (container.image or ""):
        return "changed"
    if results.liveness is False:
        return "liveness"
    return "startup" if results.startup is False else None


def _in_this_sandbox(observed: Observed, name: str) -> ContainerStatus | None:
    """Containers of an earlier sandbox are history."""
    status = observed.latest(name)
    sandbox = observed.sandbox
    return status if status and sandbox and status.sandbox_id == sandbox.id else None


def _held_back(pod: Pod, observed: Observed, memory: Memory, now: float, wanted: tuple[Action, ...]) -> Plan:
    """The plan without the starts for which it is too early."""
    actions: list[Action] = []
    waiting: dict[str, Waiting] = {}
    for action in wanted:
        why = _too_early(pod, action.name, observed, memory, now) if isinstance(action, StartContainer) else None
        if why is not None and isinstance(action, StartContainer):
            waiting[action.name] = why
        else:
            actions.append(action)
    if waiting and not any(isinstance(action, StartContainer) for action in actions):
        # A new sandbox without a container to start in it would only be thrown away again.
        actions = [action for action in actions if not isinstance(action, CreateSandbox | StopPod)]
    return Plan(tuple(actions), waiting)


def _too_early(pod: Pod, name: str, observed: Observed, memory: Memory, now: float) -> Waiting | None:
    met = memory.waiting.get(name)
    if met is not None and met.until > now:
        return met
    ended = observed.latest(name)
    if ended is None or ended.state is not ContainerState.EXITED:
        return None
    if ended_for_others(pod, observed, ended):
        return None
    delay = memory.delays.get(name)
    until = waits_until(delay, memory.ended.get(ended.id, ended.finished_at))
    if delay is None or until <= now:
        return None
    named = f"container={name} pod={pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
    return Waiting("CrashLoopBackOff", f"back-off {duration_text(delay.seconds)} restarting failed {named}", until)
