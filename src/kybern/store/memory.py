"""A store that forgets everything with its process: for tests, simulations and throw-away clusters."""

from collections.abc import AsyncIterator, Callable, Sequence
from weakref import WeakSet

from kybern.store.interface import Change, Conflict, Entry, Unavailable
from kybern.store.log import Log, Subscriber
from kybern.store.watch import Watch


class MemoryStore:
    def __init__(self) -> None:
        self._log = Log({}, [], revision=0, oldest=0)
        self._watches: WeakSet[Watch] = WeakSet()
        self._closed = False

    @property
    def revision(self) -> int:
        return self._log.revision

    @property
    def oldest(self) -> int:
        return self._log.oldest

    @property
    def refusal(self) -> str:
        return "the store is closed" if self._closed else ""

    async def get(self, key: str) -> Entry | None:
        return self._log.entries.get(key)

    async def list(self, prefix: str, *, at: int = 0) -> tuple[Sequence[Entry], int]:
        return self._log.range(prefix, at)

    def head(self, key: str) -> Entry | None:
        return self._log.entries.get(key)

    async def settle(self) -> None:
        """Every write here is settled when it returns."""

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        return self._write(key, value, expected)

    async def delete(self, key: str, *, expected: int | None = None) -> int | None:
        if self.head(key) is None and not expected:
            return None
        return self._write(key, None, expected)

    def _write(self, key: str, value: bytes | None, expected: int | None) -> int:
        if self.refusal:
            raise Unavailable(self.refusal)
        previous = self.head(key)
        if not meets(previous, expected):
            raise Conflict(key, previous)
        change = Change(key, self._log.revision + 1, value, previous)
        self._log.apply([change])
        return change.revision

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        watch = Watch(self._log, prefix, after)
        self._watches.add(watch)
        return watch

    async def changes(self, prefix: str, *, after: int) -> Sequence[Change]:
        return self._log.since(prefix, after)

    def subscribe(self, prefix: str, call: Subscriber) -> Callable[[], None]:
        return self._log.subscribe(prefix, call)

    async def compact(self, before: int) -> None:
        self._log.compact(before)

    async def close(self) -> None:
        self._closed = True
        for watch in list(self._watches):
            await watch.aclose()


def meets(current: Entry | None, expected: int | None) -> bool:
    """Whether a key is at the revision that a writer named: None any, 0 absent."""
    return expected is None or expected == (current.revision if current else 0)
