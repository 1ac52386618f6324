"""Simulated nodes: kubelets that run nothing. They report, renew leases, and let pods run, become ready and end.

What nodes and pods are like is told by `lives.Settings` and by annotations of pods. All nodes share a few coroutines, so
five thousand cost what their heartbeats cost.

`silence(name)` cuts a node off: it neither reports nor hears any more, and its pods stay as they were.
"""

import asyncio
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from msgspec.structs import replace

from kybern.aio.clock import Clock, from_rfc3339, rfc3339
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo, Pod, PodStatus
from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import Quantity
from kybern.client import Client, View
from kybern.client.leases import NODE_RENEW_SECONDS, renew_node_lease
from kybern.kubelet.status import status_patch
from kybern.reconcile import After, Context, Controller, Running
from kybern.reconcile.controller import Loop, Surroundings
from kybern.reconcile.pods import is_finished
from kybern.testing.lives import CAPACITY, NodeGroup, Settings, life_of
from kybern.testing.pod_statuses import ended, next_status

HEALTHY = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
REPORT_SECONDS = 300.0
AT_ONCE = 32  # reports of nodes that are under way
POD_WORKERS = 32
NO_POD_NETWORK = {"kybern.io/simulated": "true"}
RESYNC_SECONDS_MIN = 60.0
JOB_TRACKING = "batch.kubernetes.io/job-tracking"
STOPPED = 143  # the exit code of a process that SIGTERM has ended


class SimulatedNodes:
    def __init__(
        self,
        names: Sequence[str],
        clock: Clock,
        *,
        settings: Settings | None = None,
        beat_seconds: float = NODE_RENEW_SECONDS,
        first_pod_address: str = "10.244.0.2",
    ) -> None:
        """`names` are nodes besides those of the settings."""
        self.settings = settings or Settings()
        self.groups = dict.fromkeys(names, NodeGroup()) | {
            name: group for group in self.settings.nodes for name in group.names
        }
        self.clock = clock
        self.beat_seconds = beat_seconds
        self.silent: set[str] = set()
        self._addresses = addresses_from(IPv4Address(first_pod_address))
        self._in_use: set[str] = set()
        self._leases: dict[str, Lease] = {}

    def silence(self, name: str) -> None:
        self.silent.add(name)

    def revive(self, name: str) -> None:
        self.silent.discard(name)

    def loops(self) -> tuple[Loop, ...]:
        return (
            Controller(
                name="simulated-kubelet",
                reconciles=Pod,
                concerns=self.is_alive_here,
                by=self.run_pod,
                workers=POD_WORKERS,
                resync_seconds=max(self.beat_seconds, RESYNC_SECONDS_MIN),
            ),
            Running(name="simulated-heartbeat", by=self.beat, kinds=(Node,)),
        )

    async def beat(self, around: Surroundings) -> None:
        """Every node at once in the beginning, then each at its own moment."""
        names = list(self.groups)
        async with asyncio.TaskGroup() as tasks:
            for number in range(min(AT_ONCE, len(names))):
                tasks.create_task(self.keep(names[number::AT_ONCE], around))

    async def keep(self, names: Sequence[str], around: Surroundings) -> None:
        due = self.clock.monotonic()
        pause = 0.0
        while True:
            for name in names:
                due += pause
                await self.clock.sleep(max(0.0, due - self.clock.monotonic()))
                if name not in self.silent:
                    await self.report(name, around.view.get(Node, name), around.client, self.clock.wall())
            if not pause:
                pause, due = self.beat_seconds / len(names), self.clock.monotonic()

    async def report(self, name: str, node: Node | None, client: Client, now: float) -> None:
        try:
            if node is None:
                node = await self.register(name, client, now)
            if needs_report(node, now):
                node = await client.update_status(self.healthy(node, now))
            known = self._leases.pop(name, None)
            self._leases[name] = await renew_node_lease(client, name, node.metadata.uid or "", self.clock, known)
        except ApiError:
            pass  # the next beat tries again

    async def register(self, name: str, client: Client, now: float) -> Node:
        group = self.groups[name]
        labels = {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **group.labels,
        }  # fmt: skip
        meta = ObjectMeta(name=name, labels=labels, annotations={**NO_POD_NETWORK, **group.annotations})
        spec = NodeSpec(taints=group.taints or None)
        try:
            return await client.create(self.healthy(Node(metadata=meta, spec=spec), now))
        except AlreadyExists:
            return await client.get(Node, name)

    def healthy(self, node: Node, now: float) -> Node:
        """Capacity that others have added (extended resources, by a patch of the status) stays."""
        group = self.groups[node.metadata.name or ""]
        amounts = {name: Quantity(amount) for name, amount in {**CAPACITY, **group.capacity}.items()}
        capacity = {**(node.status.capacity or {}), **amounts}
        allocatable = {**capacity, **(node.status.allocatable or {}), **amounts}
        return replace(
            node,
            status=replace(
                node.status,
                capacity=capacity,
                allocatable=allocatable,
                conditions=conditions_of(node.status, rfc3339(now)),
                addresses=node.status.addresses or (NodeAddress(type="InternalIP", address="10.0.0.1"),),
                node_info=SOFTWARE,
                declared_features=FEATURES,
            ),
        )

    def is_alive_here(self, pod: Pod) -> bool:
        """Of one that has ended there is nothing left to do but to let it go."""
        ended = is_finished(pod) and pod.metadata.deletion_timestamp is None
        return pod.spec.node_name in self.groups and not ended

    async def run_pod(self, pod: Pod, view: View, client: Client, context: Context) -> After | None:
        node = pod.spec.node_name
        if not node or node not in self.groups or node in self.silent:
            return None
        if pod.metadata.deletion_timestamp is not None:
            return await self.stop(pod, client, context.now)
        if is_finished(pod):
            self._in_use.discard(pod.status.pod_ip or "")
            return None
        ip = pod.status.pod_ip or self.address()
        self._in_use.add(ip)
        status, wait = next_status(pod, life_of(pod, self.settings.pods), ip, "10.0.0.1", context.now)
        await tell(pod, status, client)
        return wait

    async def stop(self, pod: Pod, client: Client, now: float) -> After | None:
        meta = pod.metadata
        asked_at = from_rfc3339(meta.deletion_timestamp or "") - (meta.deletion_grace_period_seconds or 0)
        grace = float(meta.deletion_grace_period_seconds or 0)
        left = asked_at + min(life_of(pod, self.settings.pods).stops, grace) - now
        if left > 0 and not is_finished(pod):
            return After(left)
        if JOB_TRACKING in (meta.finalizers or ()) and not is_finished(pod):  # its Job waits to hear how it ended
            await tell(pod, ended(pod, STOPPED, rfc3339(now)), client)
        try:
            await client.delete(Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "", grace_seconds=0)
        except NotFound:
            pass
        self._in_use.discard(pod.status.pod_ip or "")
        return None

    def address(self) -> str:
        return next(address for address in self._addresses if address not in self._in_use)


async def tell(pod: Pod, status: PodStatus, client: Client) -> None:
    """As a kubelet does: only what has changed."""
    meta = pod.metadata
    patch = status_patch(meta.uid or "", pod.status, status)
    if patch is not None:
        await client.patch(Pod, meta.name or "", meta.namespace or "", patch, how="strategic", subresource="status")


FEATURES = (
    "GuaranteedQoSPodCPUResize",
    "InPlacePodLevelResourcesVerticalScaling",
)  # nothing runs, so anything may change
SOFTWARE = NodeSystemInfo(
    architecture="amd64", boot_id="simulated", container_runtime_version="kybern-simulated://0.1.0",
    kernel_version="simulated", kube_proxy_version="", kubelet_version="v1.37.0", machine_id="simulated",
    operating_system="linux", os_image="simulated", system_uuid="simulated",
)  # fmt: skip


def addresses_from(first: IPv4Address) -> Iterator[str]:
    """A /10's worth, again and again."""
    while True:
        for number in range(1 << 22):
            found = first + number
            if found.packed[3] not in (0, 255):
                yield str(found)


def needs_report(node: Node, now: float) -> bool:
    """Something is not as it is, or the last report is old."""
    for condition in node.status.conditions or ():
        if condition.type == "Ready" and condition.status == "True" and condition.last_heartbeat_time:
            return now - from_rfc3339(condition.last_heartbeat_time) >= REPORT_SECONDS
    return True


def conditions_of(status: NodeStatus, now: str) -> tuple[NodeCondition, ...]:
    known = {condition.type: condition for condition in status.conditions or ()}
    conditions = []
    for type, value in HEALTHY.items():
        before = known.get(type)
        same = before is not None and before.status == value
        since = before.last_transition_time if before is not None and same else now
        reason = "KubeletReady" if type == "Ready" else f"KubeletHasNo{type}"
        conditions.append(
            NodeCondition(type=type, status=value, reason=reason, last_heartbeat_time=now, last_transition_time=since)
        )
    return tuple(conditions)
