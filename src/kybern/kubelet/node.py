"""The node's own place in the API: registered at the start, reported on as it changes, its lease renewed as a sign of life."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from msgspec.structs import replace

from kybern.aio.backoff import Backoff
from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import Node, NodeSpec, NodeStatus, NodeSystemInfo, Pod
from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.quantity import milli, value
from kybern.client.leases import keep_node_lease
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.eviction.thresholds import reserved
from kybern.kubelet.machine import architecture, measure, swap_bytes, system_info
from kybern.kubelet.node_status import has_news, news, node_status, node_status_patch
from kybern.kubelet.parts import Parts
from kybern.kubelet.shutdown import FAULT
from kybern.linux.mounts import may_stay_in_memory
from kybern.reconcile.nodes import node_is_ready
from kybern.runtime.cri import Image, RuntimeFault

STARTING_SECONDS = 5.0
NOT_IN_MEMORY = (
    "The tmpfs noswap option is not supported. Memory-backed volumes (e.g. secrets, emptyDirs, etc.) might be swapped to"
    " disk and should no longer be considered secure."
)
RETRY = Backoff(first_seconds=0.05, max_seconds=7.0)

log = logging.getLogger(__name__)


def reserved_of(config: KubeletConfig, capacity: Mapping[str, str]) -> dict[str, int]:
    """In thousandths: what is kept for others, and what eviction keeps free."""
    kept = {name: milli(amount) for name, amount in config.reserved.items()}
    amounts = {name: value(amount) for name, amount in capacity.items()}
    for name, amount in reserved(config.eviction, amounts).items():
        kept[name] = kept.get(name, 0) + amount * 1000
    return kept


class NodeReporter:
    def __init__(self, parts: Parts, active_pods: Callable[[], Sequence[Pod]]) -> None:
        self.parts, self.active_pods = parts, active_pods
        self.node: Node | None = None
        self.capacity = parts.config.capacity or measure(parts.config.data_directory, parts.config.pods_max)
        self.reserved = {} if parts.config.capacity else reserved_of(parts.config, self.capacity)
        self.registered = asyncio.Event()
        self.reported_at = 0.0
        parts.node.allocatable = self.capacity
        parts.node.memory_bytes = value(self.capacity.get("memory", "0"))
        parts.node.swap_bytes = 0 if parts.config.capacity else swap_bytes()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._report_forever())
            await self.registered.wait()
            config = self.parts.config
            tasks.create_task(keep_node_lease(self.parts.client, config.node_name, lambda: self.uid, self.parts.clock))

    @property
    def uid(self) -> str:
        return (self.node.metadata.uid if self.node else None) or ""

    async def _report_forever(self) -> None:
        failures = 0
        while True:
            try:
                self.parts.node.news.clear()
                await self.report()
                failures = 0
                await self._wait(self.parts.config.heartbeat_seconds)
            except ApiError as error:
                failures += 1
                log.info("the node's status could not be reported: %s", error.message)
                await self.parts.clock.sleep(RETRY.delay(failures))

    async def _wait(self, seconds: float) -> None:
        try:
            async with timeout(seconds):
                await self.parts.node.news.wait()
        except TimeoutError:
            pass

    async def report(self) -> None:
        """Register where there is no such Node; write the status where it has news, or none was written for long."""
        try:
            found = await self.parts.client.get(Node, self.parts.config.node_name)
        except NotFound:
            found = await self._register()
        found = await self._with_labels(found)
        if not self.registered.is_set() and node_is_ready(found):
            await self._until_network()
        status = await self._status(found.status)
        if self.parts.node.on_disk:
            self._tell_of_itself(found, status)
        for reason in news(found.status, status):
            self._tell_status(reason)
        self.node = replace(found, status=status)
        self.parts.node.allocatable = status.allocatable or {}
        now = self.parts.clock.monotonic()
        due = not self.registered.is_set() or now - self.reported_at >= self.parts.config.status_report_seconds
        if due or has_news(found.status, status):
            patch = node_status_patch(found.status, status)
            name = self.parts.config.node_name
            self.node = await self.parts.client.patch(Node, name, "", patch, how="strategic", subresource="status")
            self.reported_at = now
        self.registered.set()

    async def _until_network(self) -> None:
        """For a moment: a node is not said to be unready, and its pods with it, because its agent has just started."""
        with suppress(TimeoutError, RuntimeFault, OSError):
            async with timeout(STARTING_SECONDS):
                while await self.parts.runtime.network_fault():
                    await self.parts.node.news.wait()
                    self.parts.node.news.clear()

    def _tell_of_itself(self, found: Node, status: NodeStatus) -> None:
        """That it starts, that its machine has, and whether it is to get more pods."""
        name = self.parts.config.node_name
        if self.node is None:
            self.parts.tell_of_node("Normal", "Starting", "Starting kubelet.")
            if self.parts.node.swap_bytes and not may_stay_in_memory():
                self.parts.tell_of_node("Warning", "PossibleMemoryBackedVolumesOnDisk", NOT_IN_MEMORY)
        before, now = (each.node_info.boot_id if each.node_info else "" for each in (found.status, status))
        if before and before != now:
            self.parts.tell_of_node("Warning", "Rebooted", f"Node {name} has been rebooted, boot id: {now}")
        if self.node is not None and bool(self.node.spec.unschedulable) != bool(found.spec.unschedulable):
            self._tell_status("NodeNotSchedulable" if found.spec.unschedulable else "NodeSchedulable")

    def _tell_status(self, reason: str) -> None:
        self.parts.tell_of_node("Normal", reason, f"Node {self.parts.config.node_name} status is now: {reason}")

    async def _register(self) -> Node:
        config = self.parts.config
        node = Node(
            metadata=ObjectMeta(name=config.node_name, labels=self._labels()),
            spec=NodeSpec(provider_id=config.provider_id or None),
            status=await self._status(NodeStatus()),
        )
        try:
            return await self.parts.client.create(node)
        except AlreadyExists:
            return await self.parts.client.get(Node, config.node_name)

    def _labels(self) -> dict[str, str]:
        config = self.parts.config
        return {
            "kubernetes.io/hostname": config.node_name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": architecture(),
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": architecture(),
            **config.node_labels,
        }

    async def _with_labels(self, node: Node) -> Node:
        """A Node that somebody else made, or an older kubelet, may lack some."""
        lacking = {k: v for k, v in self._labels().items() if (node.metadata.labels or {}).get(k) != v}
        if not lacking:
            return node
        return await self.parts.client.patch(
            Node, self.parts.config.node_name, "", {"metadata": {"labels": lacking}}, how="strategic"
        )

    async def _status(self, old: NodeStatus) -> NodeStatus:
        config = self.parts.config
        info, images, fault = await self._ask_runtime(old)
        handlers = await self.parts.runtime.handlers()
        return node_status(
            old,
            capacity=self.capacity,
            reserved=self.reserved,
            info=info,
            addresses=config.node_ips,
            hostname=config.node_name,
            port=config.port,
            images=images,
            fault=fault,
            pressures=self.parts.node.pressures,
            devices=self.parts.devices.amounts(),
            handlers=handlers,
            gives_cpus=config.cpus.static,
            now=self.parts.clock.wall(),
        )

    async def _ask_runtime(self, old: NodeStatus) -> tuple[NodeSystemInfo, Sequence[Image], str]:
        """Who it is, what it has, and what is wrong with it."""
        try:
            name, version = await self.parts.runtime.version()
            fault = await self.parts.runtime.network_fault()
            said = f"container runtime network not ready: {fault}" if fault else ""
            if self.parts.node.shutting_down:
                said = FAULT
            return system_info(name, version), await self.parts.runtime.list_images(), said
        except (RuntimeFault, OSError) as error:
            log.warning("the container runtime does not answer: %s", error)
            return old.node_info or system_info("kybern", "unknown"), (), "container runtime is down"
