"""When a node runs short: signals, thresholds on them, and the conditions that say so. All values.

A hard threshold counts at once; a soft one after it was met for its grace period.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kybern.api.quantity import value

MEMORY, PIDS = "memory.available", "pid.available"
PODS_MEMORY = "allocatableMemory.available"
"""What the cgroup around all pods has left of its limit: the kernel would kill in it however much the machine has."""
NODE_DISK, NODE_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGE_DISK, IMAGE_INODES = "imagefs.available", "imagefs.inodesFree"

# signal -> (the resource in messages, the condition of the node)
SIGNALS: Mapping[str, tuple[str, str]] = {
    MEMORY: ("memory", "MemoryPressure"),
    PODS_MEMORY: ("memory", "MemoryPressure"),
    NODE_DISK: ("ephemeral-storage", "DiskPressure"),
    NODE_INODES: ("inodes", "DiskPressure"),
    IMAGE_DISK: ("ephemeral-storage", "DiskPressure"),
    IMAGE_INODES: ("inodes", "DiskPressure"),
    PIDS: ("pids", "PIDPressure"),
}


@dataclass(frozen=True, slots=True)
class Observation:
    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Threshold:
    signal: str
    amount: str
    amount_max: str = ""
    """What a share is at most: a tenth of a large disk is no need."""
    grace_seconds: float = 0.0
    reclaim: str = ""
    """How much more than the threshold is given back once it was met."""

    def bytes_of(self, capacity: int) -> int:
        found = amount_of(self.amount, capacity)
        return min(found, value(self.amount_max)) if self.amount_max else found


def amount_of(text: str, capacity: int) -> int:
    """`100Mi`, or a share of the capacity: `10%`."""
    return capacity * int(text[:-1]) // 100 if text.endswith("%") else value(text)


# Upstream's, but that shares of a disk end at 10 GiB.
HARD: tuple[Threshold, ...] = (
    Threshold(MEMORY, "100Mi"),
    Threshold(NODE_DISK, "10%", "10Gi"),
    Threshold(NODE_INODES, "5%"),
    Threshold(IMAGE_DISK, "15%", "10Gi"),
    Threshold(IMAGE_INODES, "5%"),
)


@dataclass(frozen=True, slots=True)
class Met:
    threshold: Threshold
    observed: Observation

    @property
    def resource(self) -> str:
        return SIGNALS[self.threshold.signal][0]

    @property
    def quantity(self) -> int:
        return self.threshold.bytes_of(self.observed.capacity)


def with_pods(thresholds: Sequence[Threshold]) -> Sequence[Threshold]:
    """A hard threshold for the machine's memory is one for that of its pods too."""
    hard = (each for each in thresholds if each.signal == MEMORY and not each.grace_seconds)
    return (*thresholds, *(replace(each, signal=PODS_MEMORY) for each in hard))


def met(
    thresholds: Iterable[Threshold], observed: Mapping[str, Observation], reclaiming: Collection[Threshold] = ()
) -> list[Met]:
    """Those that are met, memory first. One that the node is reclaiming for is met until there is as much more."""
    found = [
        Met(threshold, seen)
        for threshold in thresholds
        if (seen := observed.get(threshold.signal)) is not None
        and seen.available < _enough(threshold, seen.capacity, reclaiming=threshold in reclaiming)
    ]
    return sorted(found, key=lambda each: SIGNALS[each.threshold.signal][0] != "memory")


def _enough(threshold: Threshold, capacity: int, *, reclaiming: bool) -> int:
    more = amount_of(threshold.reclaim, capacity) if reclaiming and threshold.reclaim else 0
    return threshold.bytes_of(capacity) + more


def first_met(before: Mapping[Threshold, float], now_met: Sequence[Met], now: float) -> dict[Threshold, float]:
    """Since when each threshold is met."""
    return {each.threshold: before.get(each.threshold, now) for each in now_met}


def due(now_met: Sequence[Met], since: Mapping[Threshold, float], now: float) -> list[Met]:
    """Those whose grace period is over."""
    return [each for each in now_met if now - since[each.threshold] >= each.threshold.grace_seconds]


def conditions_seen(
    before: Mapping[str, float], now_met: Sequence[Met], now: float, lasting_seconds: float
) -> dict[str, float]:
    """When each condition was last met; those that have not been for long are gone."""
    found = {kind: at for kind, at in before.items() if now - at < lasting_seconds}
    return found | {SIGNALS[each.threshold.signal][1]: now for each in now_met}


def reserved(thresholds: Iterable[Threshold], capacity: Mapping[str, int]) -> dict[str, int]:
    """What hard eviction keeps free of a node, by resource: pods may not ask for it."""
    signals = {MEMORY: "memory", NODE_DISK: "ephemeral-storage"}
    return {
        name: threshold.bytes_of(capacity[name])
        for threshold in thresholds
        if (name := signals.get(threshold.signal, "")) in capacity and not threshold.grace_seconds
    }
