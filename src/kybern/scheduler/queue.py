"""The scheduling queue: pods that may be tried now, pods that wait out their back-off, pods that fit nowhere, pods at a gate.

- `pop` gives the most important pod that may be tried, among equals the one that waits longest, unless a plugin sorts.
- A pod that a PreEnqueue plugin keeps out is asked about again when it changes, or something that concerns that plugin.
- A pod that fits nowhere waits until something changes that concerns a rule that refused it, or for five minutes.
- After the n-th failure in a row a pod is not tried before its back-off of 1 to 10 seconds is over. While nobody else may
  be tried a tenth of it is enough, unless what failed was no refusal but a fault, or a crowd waits: others need processors.
- Time comes in as `now`; nothing here waits.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from kybern.aio.backoff import Backoff
from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import ANY, Change

BACKOFF = Backoff(first_seconds=1.0, max_seconds=10.0)
EARLY, EARLY_PODS_MAX = 0.1, 100
UNSCHEDULABLE_SECONDS_MAX = 300.0  # a change that nobody foresaw is made up for by then

NOBODY = ""  # in the place of a rule: there was no node to refuse the pod

Hint = Callable[[str, Pod], bool]


Gate = Callable[[Pod], str]
"""The name of the plugin that keeps a pod out; empty where none does."""
SortKey = Callable[[Pod, float], tuple[Any, ...]]


def open_gate(pod: Pod) -> str:
    return ""


def by_priority(pod: Pod, added: float) -> tuple[Any, ...]:
    return -(pod.spec.priority or 0), added


def always(rule: str, pod: Pod) -> bool:
    return True


@dataclass(slots=True)
class Entry:
    pod: Pod
    added: float
    failures: int = 0
    refused_by: frozenset[str] = frozenset()
    not_before: float = 0.0
    early: float = 0.0
    """Not before then either, though nobody else may be tried."""
    refused_at: float = 0.0
    ticket: int = 0
    """Of its place in a heap; places with another ticket are out of date."""


@dataclass(slots=True)
class SchedulingQueue:
    wakes: Mapping[str, Change]
    """Rule → the changes after which a pod that it refused is tried again."""
    entries: dict[str, Entry] = field(default_factory=dict)
    """Every pod that waits, by uid."""
    gate: Gate = open_gate
    sort_key: SortKey = by_priority
    backoff: Backoff = BACKOFF
    active: list[tuple[tuple[Any, ...], int, str]] = field(default_factory=list)
    backing_off: list[tuple[float, int, str]] = field(default_factory=list)
    early: list[tuple[float, int, str]] = field(default_factory=list)
    """The same ones, but for those that met a fault, by when they may be tried if nobody else may."""
    unschedulable: dict[str, Entry] = field(default_factory=dict)
    gated: dict[str, str] = field(default_factory=dict)
    """Pods at a gate, by uid: who keeps them out."""
    refusing: Counter[str] = field(default_factory=Counter)
    """How many of those each rule refused: most changes concern none of them."""
    tickets: Iterator[int] = field(default_factory=count)

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, pod: Pod, now: float) -> None:
        """A pod that is new, or has changed; a change is worth another try."""
        uid = pod.metadata.uid or ""
        entry = self.entries.get(uid)
        if entry is None:
            entry = self.entries[uid] = Entry(pod, now)
            self._enter(entry)
            return
        if uid in self.gated:
            entry.pod = pod
            self._enter(entry)
            return
        changed = entry.pod.spec != pod.spec or entry.pod.metadata.labels != pod.metadata.labels
        entry.pod = pod
        if changed and uid in self.unschedulable:
            self._try_again(entry, now)

    def remove(self, uid: str) -> None:
        self.entries.pop(uid, None)
        self.gated.pop(uid, None)
        self._released(uid)

    def knock(self, plugin: str) -> None:
        """Whom this plugin kept out is asked about again."""
        for uid in [uid for uid, keeper in self.gated.items() if keeper == plugin]:
            self._enter(self.entries[uid])

    def _enter(self, entry: Entry) -> None:
        uid = entry.pod.metadata.uid or ""
        keeper = self.gate(entry.pod)
        if keeper:
            self.gated[uid] = keeper
        else:
            self.gated.pop(uid, None)
            self._activate(entry)

    def pop(self, now: float) -> Entry | None:
        """The next pod to try, no longer in the queue; None where all have to wait."""
        self.flush(now)
        while self.active:
            _, ticket, uid = heapq.heappop(self.active)
            if self._is_there(ticket, uid):
                return self.entries.pop(uid)
        moment = self._early_moment()
        if moment is not None and moment <= now:
            return self.take(heapq.heappop(self.early)[2])
        return None

    def take(self, uid: str) -> Entry | None:
        """One that waits, out of its turn: others of its group are being tried, or nobody else may be."""
        self._released(uid)
        entry = None if uid in self.gated else self.entries.pop(uid, None)
        if entry is not None:
            entry.ticket = next(self.tickets)  # its places in the heaps are nobody's now
        return entry

    def refused(self, entry: Entry, rules: frozenset[str], now: float) -> None:
        """It fits nowhere: it waits for a change."""
        self._failed(entry, now)
        entry.refused_by, entry.refused_at = rules, now
        self.unschedulable[entry.pod.metadata.uid or ""] = entry
        self.refusing.update(rules or (NOBODY,))

    def failed(self, entry: Entry, now: float) -> None:
        """It could not be bound: it is tried again after its back-off."""
        self._failed(entry, now)
        self._back_off(entry, faulty=True)

    def changed(self, change: Change, now: float, hint: Hint = always) -> None:
        """Something that may make room. `hint`: whether it does for a pod, as far as a rule that refused it knows."""
        asked = {rule for rule in self.refusing if rule == NOBODY or change & self.wakes.get(rule, ANY)}
        if not asked:
            return
        for entry in list(self.unschedulable.values()):
            rules = entry.refused_by or {NOBODY}
            if any(rule in asked and (rule == NOBODY or hint(rule, entry.pod)) for rule in rules):
                self._try_again(entry, now)

    def flush(self, now: float) -> None:
        """Let those go on whose waiting is over."""
        while self.backing_off and self.backing_off[0][0] <= now:
            _, ticket, uid = heapq.heappop(self.backing_off)
            if self._is_there(ticket, uid):
                self._activate(self.entries[uid])
        for entry in list(self.unschedulable.values()):
            if entry.refused_at + UNSCHEDULABLE_SECONDS_MAX > now:
                break  # they are in the order in which they were refused
            self._try_again(entry, now)

    def seconds_to_wait(self, now: float) -> float | None:
        """How long until somebody may be tried if nothing happens; None where nobody waits."""
        moments = [self.backing_off[0][0]] if self.backing_off else []
        if (early := self._early_moment()) is not None:
            moments.append(early)
        if self.unschedulable:
            moments.append(next(iter(self.unschedulable.values())).refused_at + UNSCHEDULABLE_SECONDS_MAX)
        return max(0.0, min(moments) - now) if moments else None

    def _early_moment(self) -> float | None:
        """When the first of those who back off may be tried if nobody else may."""
        while self.early and not self._is_there(*self.early[0][1:]):
            heapq.heappop(self.early)
        return self.early[0][0] if self.early and len(self.backing_off) <= EARLY_PODS_MAX else None

    def _is_there(self, ticket: int, uid: str) -> bool:
        entry = self.entries.get(uid)
        return entry is not None and entry.ticket == ticket

    def _failed(self, entry: Entry, now: float) -> None:
        uid = entry.pod.metadata.uid or ""
        self._released(uid)
        entry.failures += 1
        delay = self.backoff.delay(entry.failures)
        entry.not_before, entry.early = now + delay, now + EARLY * delay
        self.entries[uid] = entry

    def _try_again(self, entry: Entry, now: float) -> None:
        self._released(entry.pod.metadata.uid or "")
        if entry.not_before > now:
            self._back_off(entry)
        else:
            self._activate(entry)

    def _released(self, uid: str) -> None:
        entry = self.unschedulable.pop(uid, None)
        if entry is not None:
            self.refusing -= Counter(entry.refused_by or (NOBODY,))

    def _activate(self, entry: Entry) -> None:
        entry.ticket = next(self.tickets)
        place = (self.sort_key(entry.pod, entry.added), entry.ticket, entry.pod.metadata.uid or "")
        heapq.heappush(self.active, place)

    def _back_off(self, entry: Entry, *, faulty: bool = False) -> None:
        entry.ticket, uid = next(self.tickets), entry.pod.metadata.uid or ""
        heapq.heappush(self.backing_off, (entry.not_before, entry.ticket, uid))
        if not faulty:
            heapq.heappush(self.early, (entry.early, entry.ticket, uid))
