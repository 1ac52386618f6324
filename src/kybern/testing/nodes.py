"""Simulated nodes: kubelets that run nothing. They report, renew leases, and let pods run, become ready and end.

What a pod does is told by its annotations:

    simulated/starts-seconds: "5"    it is Running that long after it was bound       (0)
    simulated/ready: "never"         it runs and is never ready                       (at once)
    simulated/runs-seconds: "10"     it ends by itself after that                     (never)
    simulated/exit-code: "1"         with this code                                   (0)

`silence(name)` cuts a node off: it neither reports nor hears any more, and its pods stay as they were.
"""

from collections.abc import Sequence
from itertools import count

from msgspec.structs import replace

from kybern.aio.clock import Clock, from_rfc3339, rfc3339
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
    Node,
    NodeAddress,
    NodeCondition,
    NodeStatus,
    Pod,
    PodCondition,
    PodIP,
    PodStatus,
)
from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import Quantity
from kybern.client import Client, View
from kybern.client.leases import NODE_RENEW_SECONDS, renew_node_lease
from kybern.reconcile import After, Context, Controller, Periodic
from kybern.reconcile.controller import Loop
from kybern.reconcile.pods import is_finished

HEALTHY = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
CAPACITY = {"cpu": Quantity("8"), "memory": Quantity("32Gi"), "pods": Quantity("110")}
REPORT_SECONDS = 300.0
JOB_TRACKING = "batch.kubernetes.io/job-tracking"
STOPPED = 143  # the exit code of a process that SIGTERM has ended


class SimulatedNodes:
    def __init__(
        self,
        names: Sequence[str],
        clock: Clock,
        *,
        graceful_seconds: float = 0.0,
        beat_seconds: float = NODE_RENEW_SECONDS,
    ) -> None:
        self.names = list(names)
        self.clock = clock
        self.graceful_seconds = graceful_seconds
        """How long a pod takes to stop."""
        self.beat_seconds = beat_seconds
        self.silent: set[str] = set()
        self._addresses = count(1)
        self._leases: dict[str, Lease] = {}

    def silence(self, name: str) -> None:
        self.silent.add(name)

    def revive(self, name: str) -> None:
        self.silent.discard(name)

    def loops(self) -> tuple[Loop, ...]:
        return (
            Controller(name="simulated-kubelet", reconciles=Pod, by=self.run_pod, workers=20, resync_seconds=60.0),
            Periodic(name="simulated-heartbeat", every_seconds=self.beat_seconds, by=self.beat, reads=(Node,)),
        )

    async def beat(self, view: View, client: Client, context: Context) -> None:
        for name in self.names:
            if name not in self.silent:
                await self.report(name, view.get(Node, name), client, context.now)

    async def report(self, name: str, node: Node | None, client: Client, now: float) -> None:
        try:
            if node is None:
                node = await register(name, client)
            if needs_report(node, now):
                node = await client.update_status(healthy(node, rfc3339(now)))
            known = self._leases.pop(name, None)
            self._leases[name] = await renew_node_lease(client, name, node.metadata.uid or "", self.clock, known)
        except ApiError:
            pass  # the next beat tries again

    async def run_pod(self, pod: Pod, view: View, client: Client, context: Context) -> After | None:
        node = pod.spec.node_name
        if not node or node not in self.names or node in self.silent:
            return None
        if pod.metadata.deletion_timestamp is not None:
            return await self.stop(pod, client, context.now)
        if is_finished(pod):
            return None
        status, wait = self.next_status(pod, context.now)
        if status != pod.status:
            await client.update_status(replace(pod, status=status))
        return wait

    async def stop(self, pod: Pod, client: Client, now: float) -> After | None:
        meta = pod.metadata
        asked_at = from_rfc3339(meta.deletion_timestamp or "") - (meta.deletion_grace_period_seconds or 0)
        left = asked_at + self.graceful_seconds - now
        if left > 0 and not is_finished(pod):
            return After(left)
        if JOB_TRACKING in (meta.finalizers or ()) and not is_finished(pod):  # its Job waits to hear how it ended
            await client.update_status(replace(pod, status=ended(pod, STOPPED, rfc3339(now))))
        try:
            await client.delete(Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "", grace_seconds=0)
        except NotFound:
            pass
        return None

    def next_status(self, pod: Pod, now: float) -> tuple[PodStatus, After | None]:
        """What the pod shows now, and when it will show something else."""
        told = pod.metadata.annotations or {}
        if pod.status.start_time is None:
            pod = replace(pod, status=replace(pod.status, start_time=rfc3339(now)))
        started = from_rfc3339(pod.status.start_time or "") + float(told.get("simulated/starts-seconds", "0"))
        if now < started:
            return pod.status, After(started - now)
        runs = told.get("simulated/runs-seconds")
        if runs is not None and now >= started + float(runs):
            return ended(pod, int(told.get("simulated/exit-code", "0")), rfc3339(now)), None
        ip = pod.status.pod_ip or self.address()
        status = running(pod, ip, rfc3339(now), ready=told.get("simulated/ready") != "never")
        return status, None if runs is None else After(started + float(runs) - now)

    def address(self) -> str:
        number = next(self._addresses)
        return f"10.244.{number // 250 % 250}.{number % 250 + 1}"


async def register(name: str, client: Client) -> Node:
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    try:
        return await client.create(Node(metadata=ObjectMeta(name=name, labels=labels)))
    except AlreadyExists:
        return await client.get(Node, name)


def needs_report(node: Node, now: float) -> bool:
    """Something is not as it is, or the last report is old."""
    for condition in node.status.conditions or ():
        if condition.type == "Ready" and condition.status == "True" and condition.last_heartbeat_time:
            return now - from_rfc3339(condition.last_heartbeat_time) >= REPORT_SECONDS
    return True


def healthy(node: Node, now: str) -> Node:
    known = {condition.type: condition for condition in node.status.conditions or ()}
    conditions = []
    for type, status in HEALTHY.items():
        before = known.get(type)
        same = before is not None and before.status == status
        since = before.last_transition_time if before is not None and same else now
        reason = "KubeletReady" if type == "Ready" else f"KubeletHasNo{type}"
        conditions.append(
            NodeCondition(type=type, status=status, reason=reason, last_heartbeat_time=now, last_transition_time=since)
        )
    address = NodeAddress(type="InternalIP", address="10.0.0.1")
    report = NodeStatus(capacity=CAPACITY, allocatable=CAPACITY, conditions=tuple(conditions), addresses=(address,))
    return replace(node, status=report)


def running(pod: Pod, ip: str, now: str, *, ready: bool) -> PodStatus:
    conditions = {condition.type: condition for condition in pod.status.conditions or ()}
    for type, holds in (("Initialized", True), ("Ready", ready), ("ContainersReady", ready)):
        status, before = "True" if holds else "False", conditions.get(type)
        if before is None or before.status != status:
            conditions[type] = PodCondition(type=type, status=status, last_transition_time=now)
    state = ContainerState(running=ContainerStateRunning(started_at=now))
    return replace(
        pod.status,
        phase="Running",
        conditions=tuple(conditions.values()),
        pod_ip=ip,
        pod_ips=(PodIP(ip=ip),),
        host_ip="10.0.0.1",
        container_statuses=pod.status.container_statuses or containers(pod, state, ready=ready),
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
