"""The statuses of a pod through its life on a simulated node, as plain functions."""

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.core_v1 import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
    Pod,
    PodCondition,
    PodIP,
    PodStatus,
)
from kybern.reconcile import After
from kybern.testing.lives import Life


def next_status(pod: Pod, life: Life, ip: str, host_ip: str, now: float) -> tuple[PodStatus, After | None]:
    """What the pod shows now, and when it will show something else. `ip`: for a pod that has none yet."""
    if pod.status.start_time is None:
        pod = replace(pod, status=replace(pod.status, start_time=rfc3339(now)))
    started = from_rfc3339(pod.status.start_time or "") + life.starts
    if now < started:
        return pod.status, After(started - now)
    if life.runs is not None and now >= started + life.runs:
        return ended(pod, life.exit_code, rfc3339(now)), None
    ready = life.ready is not None and now >= started + life.ready
    moments = [started + later for later in (life.runs, None if ready else life.ready) if later is not None]
    status = running(pod, pod.status.pod_ip or ip, host_ip, rfc3339(now), ready=ready)
    return status, After(min(moments) - now) if moments else None


def running(pod: Pod, ip: str, host_ip: str, now: str, *, ready: bool) -> PodStatus:
    conditions = {condition.type: condition for condition in pod.status.conditions or ()}
    for type, holds in (("Initialized", True), ("Ready", ready), ("ContainersReady", ready)):
        status, before = "True" if holds else "False", conditions.get(type)
        if before is None or before.status != status:
            conditions[type] = PodCondition(type=type, status=status, last_transition_time=now)
    known = pod.status.container_statuses or ()
    same = known and all(one.ready == ready and one.state and one.state.running for one in known)
    since = next((one.state.running.started_at for one in known if one.state and one.state.running), now)
    state = ContainerState(running=ContainerStateRunning(started_at=since))
    return replace(
        pod.status,
        phase="Running",
        conditions=tuple(conditions.values()),
        pod_ip=ip,
        pod_ips=(PodIP(ip=ip),),
        host_ip=host_ip,
        container_statuses=known if same else containers(pod, state, ready=ready),
    )


def ended(pod: Pod, exit_code: int, now: str) -> PodStatus:
    reason = "Error" if exit_code else "Completed"
    state = ContainerState(terminated=ContainerStateTerminated(exit_code=exit_code, reason=reason, finished_at=now))
    conditions = tuple(
        replace(condition, status="False", last_transition_time=now)
        if condition.type in ("Ready", "ContainersReady")
        else condition
        for condition in pod.status.conditions or ()
    )
    return replace(
        pod.status,
        phase="Failed" if exit_code else "Succeeded",
        conditions=conditions,
        container_statuses=containers(pod, state, ready=False),
    )


def containers(pod: Pod, state: ContainerState, *, ready: bool) -> tuple[ContainerStatus, ...]:
    return tuple(
        ContainerStatus(name=container.name, ready=ready, image=container.image or "", state=state)
        for container in pod.spec.containers
    )
