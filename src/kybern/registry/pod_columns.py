"""What `kubectl get pods` shows: one word for the state of a pod, out of many.

A container that is in trouble speaks for the pod: the first init container that has not done its work, else the last
container in the list that waits or has ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kybern.api.core_v1 import ContainerStateTerminated, ContainerStatus, Pod
from kybern.registry.columns import AGE, NAME, NONE, age
from kybern.registry.resource import Column


@dataclass(slots=True)
class Restarts:
    count: int = 0
    last: str = ""
    """When the last one was: RFC 3339 texts sort as the moments do."""

    def add(self, status: ContainerStatus) -> None:
        self.count += status.restart_count
        ended = status.last_state.terminated if status.last_state is not None else None
        if ended is not None and ended.finished_at:
            self.last = max(self.last, ended.finished_at)


@dataclass(frozen=True, slots=True)
class Summary:
    ready: int
    total: int
    reason: str
    restarts: Restarts


def summary(pod: Pod) -> Summary:
    spec, status = pod.spec, pod.status
    sidecars = {c.name for c in spec.init_containers or () if c.restart_policy == "Always"}
    total = len(spec.containers) + len(sidecars)
    reason = status.reason or status.phase or ""
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.reason == "SchedulingGated":
            reason = "SchedulingGated"
    restarts, sidecar_restarts, ready = Restarts(), Restarts(), 0
    stuck = ""
    for index, container in enumerate(status.init_container_statuses or ()):
        restarts.add(container)
        if container.name in sidecars:
            sidecar_restarts.add(container)
        stuck = init_reason(container, container.name in sidecars, index, len(spec.init_containers or ()))
        if stuck:
            break
        if container.name in sidecars and container.started and container.ready:
            ready += 1
    if stuck:
        reason = stuck
    if not stuck or has_condition(pod, "Initialized"):
        restarts = sidecar_restarts
        reason, running = main_reason(status.container_statuses or (), reason, restarts)
        ready += running
        if reason == "Completed" and running:
            reason = "Running" if has_condition(pod, "Ready") else "NotReady"
    if pod.metadata.deletion_timestamp:
        if status.reason == "NodeLost":
            reason = "Unknown"
        elif status.phase not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return Summary(ready, total, reason, restarts)


def init_reason(container: ContainerStatus, sidecar: bool, index: int, count: int) -> str:
    """Why this init container holds the pod up, or nothing if it does not."""
    state = container.state
    ended = state.terminated if state is not None else None
    if ended is not None and ended.exit_code == 0:
        return ""
    if sidecar and container.started:
        return ""
    if ended is not None:
        return f"Init:{ended.reason or exit_text(ended)}"
    waiting = state.waiting if state is not None else None
    if waiting is not None and waiting.reason and waiting.reason != "PodInitializing":
        return f"Init:{waiting.reason}"
    return f"Init:{index}/{count}"


def exit_text(ended: ContainerStateTerminated) -> str:
    return f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exit_code}"


def main_reason(containers: tuple[ContainerStatus, ...], reason: str, restarts: Restarts) -> tuple[str, int]:
    """The reason that the containers give, and how many of them run and are ready."""
    running = 0
    for container in reversed(containers):
        restarts.add(container)
        state = container.state
        if state is None:
            continue
        if state.waiting is not None and state.waiting.reason:
            reason = state.waiting.reason
        elif state.terminated is not None:
            reason = state.terminated.reason or exit_text(state.terminated)
        elif container.ready and state.running is not None:
            running += 1
    return reason, running


def has_condition(pod: Pod, type_: str) -> bool:
    return any(c.type == type_ and c.status == "True" for c in pod.status.conditions or ())


def ready_cell(pod: Pod, now: float) -> str:
    found = summary(pod)
    return f"{found.ready}/{found.total}"


def restarts_cell(pod: Pod, now: float) -> str:
    restarts = summary(pod).restarts
    if restarts.count and restarts.last:
        return f"{restarts.count} ({age(restarts.last, now)} ago)"
    return str(restarts.count)


def address_cell(pod: Pod, now: float) -> str:
    if pod.status.pod_ips:
        return pod.status.pod_ips[0].ip
    return pod.status.pod_ip or NONE


def gates_cell(pod: Pod, now: float) -> str:
    gates = pod.spec.readiness_gates
    if not gates:
        return NONE
    return f"{sum(has_condition(pod, gate.condition_type) for gate in gates)}/{len(gates)}"


POD_COLUMNS = (
    NAME,
    Column("Ready", ready_cell, description="The aggregate readiness state of this pod for accepting traffic."),
    Column(
        "Status",
        lambda pod, now: summary(pod).reason,
        description="The aggregate status of the containers in this pod.",
    ),
    Column(
        "Restarts",
        restarts_cell,
        description="The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    Column("IP", address_cell, priority=1, of="core_v1.PodStatus.podIP"),
    Column("Node", lambda pod, now: pod.spec.node_name or NONE, priority=1, of="core_v1.PodSpec.nodeName"),
    Column(
        "Nominated Node",
        lambda pod, now: pod.status.nominated_node_name or NONE,
        priority=1,
        of="core_v1.PodStatus.nominatedNodeName",
    ),
    Column("Readiness Gates", gates_cell, priority=1, of="core_v1.PodSpec.readinessGates"),
)


ENDED: Mapping[str, tuple[Mapping[str, str], ...]] = {
    phase: ({"type": "Completed", "status": "True", "reason": phase, "message": message},)
    for phase, message in (("Succeeded", "The pod has completed successfully."), ("Failed", "The pod failed."))
}


def row_conditions(pod: Pod) -> tuple[Mapping[str, str], ...]:
    """That a pod has run to its end: old kubectls left such rows out."""
    return ENDED.get(pod.status.phase or "", ())
