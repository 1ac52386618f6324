"""The committed log in memory: every store reads from one of these, whatever it writes to.

- `apply` takes changes in revision order, once they are durable; subscribers have seen them when it returns.
- `history` holds every change after `oldest`, so the state at any revision since then can be rebuilt by undoing.
- Subscribers are found by the prefixes of the changed key, so a change costs the depth of its key, not their number.
"""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from kybern.store.interface import Change, Compacted, Entry, FutureRevision

log = logging.getLogger(__name__)

Subscriber = Callable[[Sequence[Change]], None]

AFTER_SLASH = "0"  # the character that follows "/": the end of a prefix's range

revision_of = attrgetter("revision")


class Log:
    def __init__(self, entries: dict[str, Entry], history: list[Change], *, revision: int, oldest: int) -> None:
        self.entries = entries
        self.history = history
        self.revision = revision
        self.oldest = oldest
        self._sorted_keys: list[str] | None = None
        self._subscribers: dict[str, list[Subscriber]] = {}

    def keys(self, prefix: str) -> Sequence[str]:
        """The keys below a prefix, in order."""
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self.entries)
        first = bisect_left(self._sorted_keys, prefix)
        last = bisect_left(self._sorted_keys, prefix[:-1] + AFTER_SLASH)
        return self._sorted_keys[first:last]

    def range(self, prefix: str, at: int = 0) -> tuple[Sequence[Entry], int]:
        """The entries below a prefix now, or as they were at a revision."""
        if at in (0, self.revision):
            return [self.entries[key] for key in self.keys(prefix)], self.revision
        if at > self.revision:
            raise FutureRevision(self.revision)
        shown: dict[str, Entry | None] = {key: self.entries[key] for key in self.keys(prefix)}
        for change in reversed(self.since(prefix, at)):
            shown[change.key] = change.previous
        return [entry for _, entry in sorted(shown.items()) if entry is not None], at

    def since(self, prefix: str, after: int) -> list[Change]:
        """The changes below a prefix after a revision, in order."""
        if after < self.oldest:
            raise Compacted(self.oldest)
        first = bisect_right(self.history, after, key=revision_of)
        return [change for change in self.history[first:] if change.key.startswith(prefix)]

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is None:
                self.entries.pop(change.key, None)
                self._sorted_keys = None
            else:
                if change.previous is None:
                    self._sorted_keys = None
                self.entries[change.key] = entry_of(change)
        self.history.extend(changes)
        self.revision = changes[-1].revision
        for subscriber, seen in self._addressed(changes):
            try:
                subscriber(seen)
            except Exception:  # what is durable must be answered, whatever a subscriber makes of it
                log.exception("a subscriber failed on revision %d", seen[-1].revision)

    def _addressed(self, changes: Iterable[Change]) -> Iterable[tuple[Subscriber, Sequence[Change]]]:
        """Each subscriber with the changes below its prefix."""
        found: dict[Subscriber, list[Change]] = {}
        for change in changes:
            slash = 0
            while slash >= 0:
                for subscriber in self._subscribers.get(change.key[: slash + 1], ()):
                    found.setdefault(subscriber, []).append(change)
                slash = change.key.find("/", slash + 1)
        return found.items()

    def subscribe(self, prefix: str, call: Subscriber) -> Callable[[], None]:
        self._subscribers.setdefault(prefix, []).append(call)

        def unsubscribe() -> None:
            calls = self._subscribers.get(prefix, [])
            if call in calls:
                calls.remove(call)
                if not calls:
                    del self._subscribers[prefix]

        return unsubscribe

    def compact(self, before: int) -> list[Change]:
        """Forget the history up to a revision; the forgotten changes, for whoever kept them elsewhere too."""
        before = min(before, self.revision)
        if before <= self.oldest:
            return []
        first_kept = bisect_right(self.history, before, key=revision_of)
        forgotten = self.history[:first_kept]
        del self.history[:first_kept]
        self.oldest = before
        return forgotten


def entry_of(change: Change) -> Entry:
    """The entry that a change leaves behind."""
    assert change.value is not None
    created = change.previous.created if change.previous else change.revision
    return Entry(change.key, change.value, created, change.revision)
