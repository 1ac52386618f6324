"""The queue between what happens and what is done about it. Its contract:

- Fair: keys come out in the order in which they went in.
- Stingy: a key that waits already is not queued a second time.
- One at a time: a key that is being worked on is given out again only after `done`, and after a rest where there is one:
  what happens meanwhile is then seen together.
- A key that fails waits longer each time, until `forget`.

It holds at most one entry for each object that exists, which is its bound.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from kybern.aio.backoff import Backoff
from kybern.observe.histogram import Histogram

K = TypeVar("K", bound=Hashable)

RETRY = Backoff(first_seconds=0.005, max_seconds=1000.0)  # upstream's
BUCKETS_SECONDS = tuple(10.0**exponent for exponent in range(-8, 4))  # upstream's


class Queue(Generic[K]):
    def __init__(self, retry: Backoff = RETRY, rest_seconds: float = 0.0) -> None:
        self._retry = retry
        self._rest_seconds = rest_seconds
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._takers: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since: dict[K, float] = {}
        """When a key began to wait, or to be worked on."""
        self.adds = self.retries = 0
        self.waited, self.worked = Histogram(BUCKETS_SECONDS), Histogram(BUCKETS_SECONDS)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The one that it was first used in; to ask for the running one is a system call each time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        if key in self._waiting:
            return
        self._waiting.add(key)
        self.adds += 1
        if key not in self._working:
            self._queue(key)

    def _queue(self, key: K) -> None:
        self._since[key] = self.loop.time()
        self._ready.append(key)
        self._wake_one()

    def add_after(self, key: K, seconds: float) -> None:
        """Add it later; of several such wishes the earliest counts."""
        loop = self.loop
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(max(seconds, 0.0), self._due, key)

    def retry(self, key: K) -> None:
        """Add it again after its back-off."""
        self._failures[key] = self._failures.get(key, 0) + 1
        self.retries += 1
        self.add_after(key, self._retry.delay(self._failures[key]))

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """It went well: its next failure is a first one."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        while not self._ready:
            taker: asyncio.Future[None] = self.loop.create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                if taker.done() and not taker.cancelled():
                    self._wake_one()
                raise
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._working.add(key)
        now = self.loop.time()
        self.waited.observe(now - self._since[key])
        self._since[key] = now
        return key

    def seconds_under_way(self) -> float:
        """Of all keys that are worked on now."""
        now = self.loop.time()
        return sum(now - self._since[key] for key in self._working if key in self._since)

    def done(self, key: K) -> None:
        now = self.loop.time()
        self.worked.observe(now - self._since.pop(key, now))
        if self._rest_seconds:
            self.loop.call_later(self._rest_seconds, self._rested, key)
        else:
            self._rested(key)

    def _rested(self, key: K) -> None:
        self._working.discard(key)
        if key in self._waiting:
            self._queue(key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _wake_one(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return
