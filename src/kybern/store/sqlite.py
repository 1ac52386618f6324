"""The default store: a SQLite file that one thread writes, in front of it the whole log in memory.

A write is checked against the head of its key in memory, queued, committed together with everything else that is queued
(group commit), and only then shown: to readers, to subscribers, and last to its writer.

- At most one batch is at the disk; what arrives meanwhile forms the next one.
- Full disk: that batch and the ones computed upon it fail with Unavailable; the next write tries again.
- Any other failure of a commit: nothing is known about the disk any more, so the store is read-only until reopened.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from weakref import WeakSet

from kybern.store.interface import Change, Conflict, Entry, Unavailable
from kybern.store.log import Log, Subscriber, entry_of
from kybern.store.memory import meets
from kybern.store.seal import OPEN, Seal
from kybern.store.sqlite_file import DELETIONS_PER_BATCH_MAX, Batch, SqliteFile, unreachable
from kybern.store.watch import Watch

QUEUED_WRITES_MAX = 20_000  # a disk that falls this far behind refuses writes instead of filling the memory

Written = Callable[[Batch, Exception | None], None]


class SqliteStore:
    """Use `await SqliteStore.open(path)`. Belongs to the event loop that opened it."""

    def __init__(self, file: SqliteFile) -> None:
        loaded = file.load()
        self._log = Log(loaded.entries, loaded.history, revision=loaded.revision, oldest=loaded.oldest)
        self._superseded = loaded.superseded
        self._compacted = 0
        self._assigned = loaded.revision
        self._heads: dict[str, Change] = {}
        """The last change of each key that is not yet durable."""
        self._queue: list[tuple[Change, asyncio.Future[None]]] = []
        self._at_disk: list[tuple[Change, asyncio.Future[None]]] = []
        self._busy = False
        self._refusal = ""
        self._watches: WeakSet[Watch] = WeakSet()
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        self._inbox: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = Thread(target=self._write_batches, args=(file,), name="store", daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, path: Path, seal: Seal = OPEN) -> "SqliteStore":
        """`seal` says what is encrypted on disk."""
        file = SqliteFile(path, seal)
        try:
            return cls(file)
        except Unavailable:
            file.close()
            raise

    @property
    def revision(self) -> int:
        return self._log.revision

    @property
    def oldest(self) -> int:
        return self._log.oldest

    @property
    def refusal(self) -> str:
        return self._refusal

    async def get(self, key: str) -> Entry | None:
        return self._log.entries.get(key)

    async def list(self, prefix: str, *, at: int = 0) -> tuple[Sequence[Entry], int]:
        return self._log.range(prefix, at)

    def head(self, key: str) -> Entry | None:
        change = self._heads.get(key)
        if change is None:
            return self._log.entries.get(key)
        return None if change.value is None else entry_of(change)

    async def settle(self) -> None:
        newest = self._queue or self._at_disk
        if newest:
            await asyncio.shield(newest[-1][1])

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        return await self._write(key, value, expected)

    async def delete(self, key: str, *, expected: int | None = None) -> int | None:
        if self.head(key) is None and not expected:
            await self.settle()
            return None
        return await self._write(key, None, expected)

    async def _write(self, key: str, value: bytes | None, expected: int | None) -> int:
        previous = self.head(key)
        if not meets(previous, expected):
            await self.settle()  # a writer may be told of a newer version only when that one is durable
            raise Conflict(key, previous)
        if self._refusal or len(self._queue) >= QUEUED_WRITES_MAX:
            raise Unavailable(self._refusal or "too many writes wait for the disk")
        self._assigned += 1
        change = Change(key, self._assigned, value, previous)
        done: asyncio.Future[None] = self._loop.create_future()
        self._heads[key] = change
        self._queue.append((change, done))
        self._wake()
        await asyncio.shield(done)  # a writer that goes away does not take its write back
        return change.revision

    def _wake(self) -> None:
        """Hand a batch over soon, so that all writers that are ready now share it."""
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._at_disk, self._queue = self._queue, []
        superseded = self._superseded[:DELETIONS_PER_BATCH_MAX]
        del self._superseded[:DELETIONS_PER_BATCH_MAX]
        compacted, self._compacted = self._compacted, 0
        self._inbox.put(Batch([change for change, _ in self._at_disk], superseded, compacted))

    def _write_batches(self, file: SqliteFile) -> None:
        """The store's thread."""
        while (batch := self._inbox.get()) is not None:
            failure: Exception | None = None
            try:
                file.commit(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, the writers must hear of it
                failure = error
            self._loop.call_soon_threadsafe(self._after_commit, batch, failure)
        file.close()

    def _after_commit(self, batch: Batch, failure: Exception | None) -> None:
        if failure is None:
            self._show(batch)
        else:
            self._give_up(batch, failure)
        self._busy = False
        if self._queue or (self._superseded and not failure):
            self._wake()
        else:
            self._idle.set()

    def _show(self, batch: Batch) -> None:
        written, self._at_disk = self._at_disk, []
        for change in batch.changes:
            if self._heads[change.key] is change:
                del self._heads[change.key]
        if batch.changes:
            self._log.apply(batch.changes)
        for _, done in written:
            if not done.done():
                done.set_result(None)

    def _give_up(self, batch: Batch, failure: Exception) -> None:
        """Fail the batch, and what is queued behind it: those writes were computed upon it."""
        full = getattr(failure, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
        if not full:
            self._refusal = f"the store is read-only after a failed write: {failure}"
        self._superseded[:0] = batch.superseded
        self._compacted = max(self._compacted, batch.compacted)
        failed, self._at_disk, self._queue = self._at_disk + self._queue, [], []
        self._heads.clear()
        for _, done in failed:
            if not done.done():
                done.set_exception(Unavailable(f"the write failed: {failure}"))
                done.exception()  # whoever waits gets it; nobody has to

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        watch = Watch(self._log, prefix, after)
        self._watches.add(watch)
        return watch

    async def changes(self, prefix: str, *, after: int) -> Sequence[Change]:
        return self._log.since(prefix, after)

    def subscribe(self, prefix: str, call: Subscriber) -> Callable[[], None]:
        return self._log.subscribe(prefix, call)

    async def compact(self, before: int) -> None:
        """What is forgotten is deleted from the disk bit by bit, with the next batches."""
        forgotten = self._log.compact(before)
        if forgotten and not self._refusal:
            self._compacted = self._log.oldest
            self._superseded += unreachable(forgotten)
            self._wake()

    async def close(self) -> None:
        """Finish what is queued, then close the file."""
        self._refusal = self._refusal or "the store is closed"
        await self._idle.wait()
        for watch in list(self._watches):
            await watch.aclose()
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)
