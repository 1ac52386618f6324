"""The phase of a pod, from its container statuses. The order of the questions is upstream's."""

from collections import Counter
from collections.abc import Mapping

from kybern.api.core_v1 import Container, ContainerStateTerminated, ContainerStatus, Pod
from kybern.kubelet.conditions import any_app_container_started
from kybern.kubelet.restarts import is_sidecar, policy_of

TERMINAL = frozenset({"Succeeded", "Failed"})


def phase_of(pod: Pod, statuses: Mapping[str, ContainerStatus], terminal: bool = False) -> str:
    """`terminal`: the pod is over, so containers that have stopped will not start again."""
    init = Counter(_init_state(pod, c, statuses[c.name]) for c in pod.spec.init_containers or ())
    apps = Counter(_app_state(statuses[c.name]) for c in pod.spec.containers)
    stopped = apps["succeeded"] + apps["failed"]
    initialized = any_app_container_started(pod, statuses)
    if init["failed for good"] and not initialized:
        return "Failed"
    if (init["pending"] or init["failed"]) and not initialized:
        return "Failed" if terminal else "Pending"
    if apps["waiting"]:
        return "Failed" if terminal else "Pending"
    if apps["running"]:
        return "Running"
    if terminal or not stopped:
        return _ended(apps) if stopped else "Failed" if terminal else "Pending"
    return "Running" if _goes_on(pod, statuses) else _ended(apps)


def _ended(apps: Counter[str]) -> str:
    return "Failed" if apps["failed"] else "Succeeded"


def _goes_on(pod: Pod, statuses: Mapping[str, ContainerStatus]) -> bool:
    """Whether a stopped container will be started again."""
    for container in pod.spec.containers:
        policy = policy_of(pod, container)
        if policy == "Always" or (policy == "OnFailure" and _app_state(statuses[container.name]) == "failed"):
            return True
    return False


def _init_state(pod: Pod, container: Container, status: ContainerStatus) -> str:
    ended = _ended_state(status)
    if is_sidecar(container):
        return "done" if status.started or ended else "pending"
    if ended is None or (status.state and status.state.running):
        return "pending"
    if ended.exit_code == 0:
        return "done" if status.state and status.state.terminated else "pending"
    return "failed for good" if policy_of(pod, container) == "Never" else "failed"


def _ended_state(status: ContainerStatus) -> ContainerStateTerminated | None:
    """How it ended, now or the last time."""
    if status.state and status.state.terminated:
        return status.state.terminated
    return status.last_state.terminated if status.last_state else None


def _app_state(status: ContainerStatus) -> str:
    if status.state and status.state.running:
        return "running"
    ended = _ended_state(status)
    if ended is None:
        return "waiting"
    return "succeeded" if ended.exit_code == 0 else "failed"
