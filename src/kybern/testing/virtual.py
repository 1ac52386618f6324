"""Virtual time: an event loop that never waits. When nothing is ready, its clock jumps to the next timer.

- Hours pass in milliseconds, and what runs from one seed runs the same way again.
- It holds only while no real thread or socket takes part: simulations use the in-memory transport, store and runtime, and
  what is meant for a thread is done at once (while one worked, days would pass).
- When nothing is ready and no timer is set, nothing can ever happen again: `Deadlock`.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

RESOLUTION_SECONDS = 1e-6
"""The least by which time moves: whoever waits for a rounding error's worth would wait, and wake, for ever."""


class Deadlock(Exception):
    """Every task waits, and nothing will wake them."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its own round, for a simulation is little else than short callbacks and timers: those lie in a heap of plain tuples,
    and there is nothing to be asked of the kernel."""

    _ready: deque[asyncio.Handle]
    _stopping: bool
    _process_events: Callable[[Any], None]

    def __init__(self) -> None:
        self._sockets = selectors.SelectSelector()
        super().__init__(self._sockets)
        self._now = 0.0
        self.moments = 0
        """At how many of them something happened."""
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = count()

    def time(self) -> float:
        return self._now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        when = max(when, self._now + RESOLUTION_SECONDS)
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._count), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It lies there until its time comes."""

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        if len(self._sockets.get_map()) > 1:  # more than what the loop wakes itself by
            self._process_events(self._sockets.select(0))
        if not ready and not self._stopping:
            self._jump()
        while timers and timers[0][0] <= self._now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _jump(self) -> None:
        while self._timers:
            when, _, timer = self._timers[0]
            if not timer.cancelled():
                self.moments += when > self._now
                self._now = max(self._now, when)
                return
            heappop(self._timers)
        raise Deadlock

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, is for whoever waits
            done.set_exception(error)
        return done


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
