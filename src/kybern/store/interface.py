"""What a store is: one log of changes to keys, in one order, and the map that the log adds up to.

- Every successful write gets the next revision; revisions are never reused or lowered, also across restarts.
- When a write returns, it is durable, and every reader and every subscriber of this store object has seen it.
- Subscribers get every change after the revision they name, once, in order.
- `compact(r)` forgets what was overwritten or deleted before `r`; reading or watching before it raises Compacted.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from msgspec import Struct


class Entry(Struct, frozen=True, gc=False):
    """A key's value and the revisions at which it was created and last written."""

    key: str
    value: bytes
    created: int
    revision: int


class Change(Struct, frozen=True, gc=False):
    """One write. `value` is None for a deletion; `previous` is the entry before it, None for a creation."""

    key: str
    revision: int
    value: bytes | None
    previous: Entry | None


class StoreError(Exception):
    """Any failure of a store.

    StoreError
    ├── Conflict       the key is not at the revision the writer named
    ├── Compacted      the revision asked for is no longer known
    ├── FutureRevision the revision asked for does not exist yet
    └── Unavailable    nothing can be written now: disk full, I/O error, closed, or no connection
    """


class Conflict(StoreError):
    def __init__(self, key: str, current: Entry | None) -> None:
        super().__init__(key)
        self.key, self.current = key, current


class Compacted(StoreError):
    def __init__(self, oldest: int) -> None:
        super().__init__(f"compacted; the oldest revision is {oldest}")
        self.oldest = oldest


class FutureRevision(StoreError):
    def __init__(self, current: int) -> None:
        super().__init__(f"the current revision is {current}")
        self.current = current


class Unavailable(StoreError):
    pass


class Store(Protocol):
    """A key is text that begins with `/`; a prefix ends with `/`."""

    @property
    def revision(self) -> int:
        """The revision of the last write that is durable."""

    @property
    def oldest(self) -> int:
        """The oldest revision that can still be read or watched from."""

    @property
    def refusal(self) -> str:
        """Why nothing can be written any more, before somebody opens the store anew; empty when it can."""

    async def get(self, key: str) -> Entry | None: ...

    async def list(self, prefix: str, *, at: int = 0) -> tuple[Sequence[Entry], int]:
        """All entries below `prefix` in key order, and the revision they show: `at`, or now when it is 0."""

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        """Write and return the revision.

        `expected`: None writes whatever is there; 0 only creates; a revision only replaces exactly that one.
        Conflict otherwise.
        """

    async def delete(self, key: str, *, expected: int | None = None) -> int | None:
        """Delete and return the revision; None when there was nothing. `expected` as in `put`."""

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        """Batches of changes below `prefix` with revisions greater than `after`, until closed or cut.

        Compacted when `after` lies before `oldest`. A reader that falls behind the store's bound is ended with
        Compacted too, and lists again.
        """

    async def changes(self, prefix: str, *, after: int) -> Sequence[Change]:
        """The changes below `prefix` after a revision, up to now. Compacted when `after` lies before `oldest`."""

    def subscribe(self, prefix: str, call: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """`call` every batch of changes below `prefix` from now on, before its writers are answered; what is returned
        ends it. A subscriber must be quick and must not raise."""

    def head(self, key: str) -> Entry | None:
        """What the next write of a key would replace. It may not be durable yet, so it serves to compute that write and
        nothing else: a caller that answers from it without writing calls `settle` first."""

    async def settle(self) -> None:
        """Returns when every write that was begun before is durable. Unavailable where one is not going to be."""

    async def compact(self, before: int) -> None:
        """Forget versions superseded before this revision."""

    async def close(self) -> None: ...
