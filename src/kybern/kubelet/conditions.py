"""The pod conditions that a kubelet owns, from container statuses: which are true, and why the others are not."""

from collections.abc import Mapping

from kybern.api.core_v1 import Container, ContainerStatus, Pod, PodCondition
from kybern.kubelet.restarts import is_sidecar

RESTARTING = "AllContainersRestarting"
PASSING = frozenset({"PodResizePending", "PodResizeInProgress"})
"""There only while they are true."""
OWNED = PASSING | {"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", RESTARTING}


def condition(kind: str, true: bool, reason: str = "", message: str = "") -> PodCondition:
    return PodCondition(type=kind, status="True" if true else "False", reason=reason or None, message=message or None)


def ready_to_start_containers(true: bool) -> PodCondition:
    return condition("PodReadyToStartContainers", true)


def scheduled() -> PodCondition:
    return condition("PodScheduled", True)


def initialized(pod: Pod, statuses: Mapping[str, ContainerStatus], phase: str) -> PodCondition:
    if phase == "Succeeded":
        return condition("Initialized", True, "PodCompleted")
    if any_app_container_started(pod, statuses):
        return condition("Initialized", True)
    incomplete = [c.name for c in pod.spec.init_containers or () if not _is_initialized(c, statuses[c.name])]
    if incomplete:
        message = f"containers with incomplete status: [{' '.join(incomplete)}]"
        return condition("Initialized", False, "ContainersNotInitialized", message)
    return condition("Initialized", True)


def any_app_container_started(pod: Pod, statuses: Mapping[str, ContainerStatus]) -> bool:
    return any(_has_started(statuses[container.name]) for container in pod.spec.containers)


def _has_started(status: ContainerStatus) -> bool:
    if status.started:
        return True
    state, last = status.state, status.last_state
    return bool((state and (state.running or state.terminated)) or (last and last.terminated))


def _is_initialized(container: Container, status: ContainerStatus) -> bool:
    return bool(status.started) if is_sidecar(container) else status.ready


def containers_ready(pod: Pod, statuses: Mapping[str, ContainerStatus], phase: str) -> PodCondition:
    if phase in ("Succeeded", "Failed"):
        return condition("ContainersReady", False, "PodCompleted" if phase == "Succeeded" else "PodFailed")
    counted = (*(c for c in pod.spec.init_containers or () if is_sidecar(c)), *pod.spec.containers)
    unready = [container.name for container in counted if not statuses[container.name].ready]
    if unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        return condition("ContainersReady", False, "ContainersNotReady", message)
    return condition("ContainersReady", True)


def ready(pod: Pod, containers: PodCondition) -> PodCondition:
    """As the containers are, and then as the readiness gates say."""
    if containers.status != "True":
        return condition("Ready", False, containers.reason or "", containers.message or "")
    found = {known.type: known.status for known in pod.status.conditions or ()}
    closed = [_gate(gate.condition_type, found) for gate in pod.spec.readiness_gates or ()]
    message = ", ".join(text for text in closed if text)
    return condition("Ready", False, "ReadinessGatesNotReady", message) if message else condition("Ready", True)


def _gate(kind: str, found: Mapping[str, str]) -> str:
    if kind not in found:
        return f'corresponding condition of pod readiness gate "{kind}" does not exist.'
    if found[kind] != "True":
        return f'the status of pod readiness gate "{kind}" is not "True", but {found[kind]}'
    return ""
