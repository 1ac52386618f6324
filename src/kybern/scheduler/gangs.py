"""Gangs: pods that run all at once or not at all, by two annotations.

    kybern.io/gang: training          pods of one namespace with one value are a gang
    kybern.io/gang-size: "4"          so many of them must have room at one moment; none is bound before

They are decided about together, in one step, so two gangs never hold half of what each of them needs.
"""

from dataclasses import dataclass, field

from kybern.api.core_v1 import Pod
from kybern.scheduler.extension_points import PreEnqueuePlugin
from kybern.scheduler.framework import Change
from kybern.scheduler.snapshot import Snapshot

GANG, SIZE = "kybern.io/gang", "kybern.io/gang-size"
MEMBERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Gang:
    namespace: str
    name: str
    size: int


def gang_of(pod: Pod) -> Gang | None:
    """A size that is no number is one that nobody reaches: the pod waits, and is told so."""
    told = pod.metadata.annotations or {}
    name, size = told.get(GANG), told.get(SIZE, "1")
    if not name:
        return None
    known = int(size) if size.isdecimal() and 0 < len(size) < 9 else MEMBERS_MAX + 1
    return Gang(pod.metadata.namespace or "", name, known)


@dataclass(slots=True)
class Gangs:
    members: dict[tuple[str, str], dict[str, Pod]] = field(default_factory=dict)
    """Of each gang, by uid: pods that wait or run."""

    def join(self, pod: Pod) -> Gang | None:
        gang = gang_of(pod)
        if gang is not None:
            self.members.setdefault((gang.namespace, gang.name), {})[pod.metadata.uid or ""] = pod
        return gang

    def leave(self, pod: Pod) -> None:
        gang = gang_of(pod)
        if gang is None:
            return
        key = (gang.namespace, gang.name)
        self.members.get(key, {}).pop(pod.metadata.uid or "", None)
        if not self.members.get(key):
            self.members.pop(key, None)

    def of(self, gang: Gang) -> dict[str, Pod]:
        return self.members.get((gang.namespace, gang.name), {})


@dataclass(frozen=True, slots=True)
class GangScheduling(PreEnqueuePlugin):
    """Keeps a gang out of the queue until there are enough of it."""

    gangs: Gangs
    name = "GangScheduling"
    wakes_on = Change(0)

    def pre_enqueue(self, pod: Pod, snapshot: Snapshot) -> str:
        gang = gang_of(pod)
        if gang is None:
            return ""
        if gang.size > MEMBERS_MAX:
            return f"{SIZE} must be a number from 1 to {MEMBERS_MAX}"
        missing = gang.size - len(self.gangs.of(gang))
        return f"gang {gang.name}: waiting for {missing} more pods" if missing > 0 else ""
