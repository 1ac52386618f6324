"""A watch on a store: a bounded buffer between the log, which never waits, and a reader that may."""

import asyncio
from collections.abc import Sequence

from kybern.store.interface import Change, Compacted
from kybern.store.log import Log

WATCH_BUFFER_CHANGES_MAX = 10_000  # a reader further behind than this lists again, at less cost for everyone


class Watch:
    """An async iterator over batches of changes; ends with Compacted where the reader fell behind."""

    def __init__(self, log: Log, prefix: str, after: int) -> None:
        self._log = log
        self._after = after
        self._buffer: list[Change] = log.since(prefix, after) if after < log.revision else []
        self._woken = asyncio.Event()
        self._open = True
        self._cut = False
        self._unsubscribe = log.subscribe(prefix, self._take)

    def _take(self, changes: Sequence[Change]) -> None:
        self._buffer.extend(change for change in changes if change.revision > self._after)
        if len(self._buffer) > WATCH_BUFFER_CHANGES_MAX:
            self._buffer.clear()
            self._cut = True
            self._unsubscribe()
        self._woken.set()

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Sequence[Change]:
        while not self._buffer and self._open and not self._cut:
            self._woken.clear()
            await self._woken.wait()
        if self._cut:
            raise Compacted(self._log.oldest)
        if not self._open:
            raise StopAsyncIteration
        batch, self._buffer = self._buffer, []
        return batch

    async def aclose(self) -> None:
        self._unsubscribe()
        self._open = False
        self._woken.set()
