"""The loop that keeps the node from running out: look, say so, give back what nobody uses, evict one pod, look again."""

import logging
from collections.abc import Callable, Mapping, Sequence

from kybern.aio.clock import Clock
from kybern.kubelet.eviction.ranking import (
    REASON,
    PodUsage,
    eviction_message,
    is_critical,
    is_limited,
    over_limits,
    ranked,
)
from kybern.kubelet.eviction.thresholds import (
    SIGNALS,
    Met,
    Observation,
    Threshold,
    conditions_seen,
    due,
    first_met,
    met,
    with_pods,
)
from kybern.kubelet.image_collection import ImageCollection
from kybern.kubelet.lifecycle import Stage
from kybern.kubelet.parts import Parts
from kybern.kubelet.status import Verdict
from kybern.kubelet.usage import Measured, measure_pod
from kybern.kubelet.worker import PodWorker
from kybern.runtime.cri import RuntimeFault

PERIOD_SECONDS = 10.0
CLEANUP_SECONDS = 30.0  # how long the next look waits for an evicted pod to be gone
HARD_GRACE_SECONDS = 1.0

log = logging.getLogger(__name__)


class Eviction:
    def __init__(
        self,
        parts: Parts,
        workers: Mapping[str, PodWorker],
        images: ImageCollection,
        observe: Callable[[], Mapping[str, Observation]],
    ) -> None:
        self.parts, self.workers, self.images, self.observe = parts, workers, images, observe
        self.since: dict[Threshold, float] = {}
        self.seen: dict[str, float] = {}
        self.reclaiming: frozenset[Threshold] = frozenset()

    @property
    def clock(self) -> Clock:
        return self.parts.clock

    async def run(self) -> None:
        while True:
            await self.clock.sleep(PERIOD_SECONDS)
            try:
                await self.look()
            except (RuntimeFault, OSError) as error:
                log.warning("what the node has left could not be found out: %s", error)

    async def look(self) -> None:
        evicted = await self._evict_over_limits()
        thresholds = with_pods(self.parts.config.eviction)
        now, found = self.clock.monotonic(), met(thresholds, self.observe(), self.reclaiming)
        self.since = first_met(self.since, found, now)
        self.seen = conditions_seen(self.seen, found, now, self.parts.config.pressure_seconds)
        self.parts.node.say_pressures(frozenset(self.seen))
        pressing = due(found, self.since, now)
        self.reclaiming = frozenset(each.threshold for each in pressing)
        if pressing and not evicted:
            evicted = await self._relieve(pressing)
        for worker in evicted:
            if not await worker.until_over(CLEANUP_SECONDS):
                text = "Container runtime did not kill the pod within specified grace period."
                self.parts.recorder.event(worker.pod, "Warning", "ExceededGracePeriod", text)

    async def _relieve(self, pressing: Sequence[Met]) -> list[PodWorker]:
        """The pod that was evicted; none where giving back what nobody uses was enough."""
        first = pressing[0]
        self.parts.tell_of_node("Warning", "EvictionThresholdMet", f"Attempting to reclaim {first.resource}")
        if SIGNALS[first.threshold.signal][1] == "DiskPressure":
            await self._remove_the_dead()
            await self.images.remove_unused()
            if not met([first.threshold], self.observe(), self.reclaiming):
                return []
        usages = {uid: await self._usage(worker) for uid, worker in self._living().items()}
        for usage in ranked(usages.values(), first.resource):
            worker = self.workers.get(usage.pod.metadata.uid or "")
            if worker is not None:
                self._evict(worker, eviction_message(first, usage), self._grace_of(first.threshold))
                return [worker]
        return []

    async def _remove_the_dead(self) -> None:
        """Containers of pods that are over: how they ended is in the API."""
        for worker in [w for w in self.workers.values() if w.stage is Stage.TERMINATED]:
            for status in worker.observed.containers:
                await self.parts.runtime.remove_container(status.id)
                await self.parts.pleg.note(status.id)

    async def _evict_over_limits(self) -> list[PodWorker]:
        evicted = []
        for worker in self._living().values():
            if not is_limited(worker.pod) or is_critical(worker.pod):
                continue
            measured = await self._measure(worker)
            sizes = {name: used.bytes for name, used in measured.empty_dirs.items()}
            message = over_limits(usage_of(measured), sizes)
            if message:
                self._evict(worker, message, HARD_GRACE_SECONDS)
                evicted.append(worker)
        return evicted

    def _living(self) -> dict[str, PodWorker]:
        return {
            uid: worker
            for uid, worker in self.workers.items()
            if worker.stage is Stage.SYNCING and worker.refused is None and worker.observed.sandboxes
        }

    async def _measure(self, worker: PodWorker) -> Measured:
        return await measure_pod(self.parts, worker.allocated, worker.observed)

    async def _usage(self, worker: PodWorker) -> PodUsage:
        return usage_of(await self._measure(worker))

    def _evict(self, worker: PodWorker, message: str, grace_seconds: float) -> None:
        self.parts.recorder.event(worker.pod, "Warning", REASON, message)
        worker.evict(Verdict(REASON, message, disrupts=True), grace_seconds)

    def _grace_of(self, threshold: Threshold) -> float:
        """A hard eviction does not wait; a soft one as long as the pod itself asks for, and no longer than was set."""
        return self.parts.config.soft_grace_seconds_max if threshold.grace_seconds else HARD_GRACE_SECONDS


def usage_of(measured: Measured) -> PodUsage:
    containers = {
        each.status.metadata.name: {
            "memory": each.stats.memory_working_set_bytes,
            "ephemeral-storage": each.disk_bytes,
            "inodes": each.stats.rootfs_inodes,
            "pids": each.stats.pids,
        }
        for each in measured.containers
    }
    whole = {
        name: sum(used[name] for used in containers.values())
        for name in ("memory", "ephemeral-storage", "inodes", "pids")
    }
    whole["ephemeral-storage"] += sum(used.bytes for used in measured.empty_dirs.values())
    whole["inodes"] += sum(used.inodes for used in measured.empty_dirs.values())
    return PodUsage(measured.pod, whole, containers)
