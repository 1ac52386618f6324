"""Which events are one: what keeps a crash loop from filling the store. The limits are upstream's.

- The same event again raises the count of the one that exists.
- Beyond `SIMILAR_MAX` different messages in `SIMILAR_SECONDS`, similar events are combined into one.
- One source may write `BURST_EVENTS` events about one object, then one in `REFILL_SECONDS`; others are dropped.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kybern.api.core_v1 import ObjectReference

BURST_EVENTS = 25
REFILL_SECONDS = 300.0
SIMILAR_MAX = 10
SIMILAR_SECONDS = 600.0
REMEMBERED_MAX = 4096  # objects, and events, that are kept in mind

V = TypeVar("V")


class Remembered(Generic[V]):
    """A dict that forgets what was not used for longest."""

    def __init__(self, size_max: int = REMEMBERED_MAX) -> None:
        self.size_max = size_max
        self.entries: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        value = self.entries.pop(key, None)
        self.entries[key] = kept = make() if value is None else value
        if len(self.entries) > self.size_max:
            self.entries.popitem(last=False)
        return kept


@dataclass(slots=True)
class Bucket:
    tokens: float
    filled: float

    def take(self, now: float) -> bool:
        self.tokens = min(BURST_EVENTS, self.tokens + (now - self.filled) / REFILL_SECONDS)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class Similar:
    """The messages seen of one reason about one object."""

    last: float
    messages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Series:
    """One event in the store, and how often it happened."""

    first: float
    last: float = 0.0
    count: int = 0
    name: str = ""
    """Of the stored Event; empty until it was written."""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Occurrence:
    about: ObjectReference
    type: str
    reason: str
    message: str
    at: float


class Correlator:
    def __init__(self) -> None:
        self.buckets: Remembered[Bucket] = Remembered()
        self.similar: Remembered[Similar] = Remembered()
        self.series: Remembered[Series] = Remembered()

    def correlate(self, seen: Occurrence) -> tuple[Series, str] | None:
        """The series it belongs to and the message to show; None when it is to be dropped."""
        message = self._message(seen)
        about = identity(seen.about)
        series = self.series.get((about, seen.type, seen.reason, message), lambda: Series(seen.at))
        series.count += 1
        series.last = seen.at
        bucket = self.buckets.get(about, lambda: Bucket(BURST_EVENTS, seen.at))
        return (series, message) if bucket.take(seen.at) else None

    def _message(self, seen: Occurrence) -> str:
        key = (identity(seen.about), seen.type, seen.reason)
        similar = self.similar.get(key, lambda: Similar(seen.at))
        if seen.at - similar.last > SIMILAR_SECONDS:
            similar.messages.clear()
        similar.last = seen.at
        similar.messages.add(seen.message)
        if len(similar.messages) <= SIMILAR_MAX:
            return seen.message
        similar.messages.discard(seen.message)
        return COMBINED


COMBINED = "(combined from similar events): "


def identity(about: ObjectReference) -> Hashable:
    return (about.kind, about.namespace, about.name, about.uid, about.field_path)
