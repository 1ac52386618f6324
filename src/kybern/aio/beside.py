"""Long work beside the loop that others wait for, in a thread that takes turns with it. Without effects, whatever it is.

    found = await beside(lambda: parsed(body), len(body) > LARGE_BYTES)
    found = await soon(lambda: judged(obj))     # at once, or beside the loop where `judged` finds that it takes long

There are two threads, more of them would leave the loop less, and nobody has both: whoever sends dear work over and over
leaves one to others. Of these comes next who has had the least since nobody waited.
"""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

THREADS = 2
SECONDS_AT_ONCE = 0.004
"""Of a processor, for work that may turn out to take long."""


class TakesLong(Exception):
    """More than may be done while others wait. It is nobody's fault, and no value either."""


_others_wait: ContextVar[bool] = ContextVar("others_wait", default=False)
_asker: ContextVar[str] = ContextVar("asker", default="")


def others_wait() -> bool:
    """Whether work that takes long is to raise TakesLong, having been asked for by `soon`."""
    return _others_wait.get()


@contextmanager
def asked_by(asker: str) -> Iterator[None]:
    """Whose turn it is that the work within this takes; the server's own where nobody says so."""
    token = _asker.set(asker)
    try:
        yield
    finally:
        _asker.reset(token)


async def beside(work: Callable[[], T], is_long: bool = True) -> T:
    """What is not long is done at once."""
    return await asyncio.get_running_loop().run_in_executor(TURNS, work) if is_long else work()


async def soon(work: Callable[[], T]) -> T:
    """Work that knows when it takes long is done at once as far as that goes, and else begun anew beside the loop."""
    try:
        return at_once(work)
    except TakesLong:
        return await beside(work)


def at_once(work: Callable[[], T]) -> T:
    token = _others_wait.set(True)
    try:
        return work()
    finally:
        _others_wait.reset(token)


class Turns(Executor):
    """As many wait as requests are under way, which flow control bounds. An executor, so that a loop of virtual time can do
    the work itself: while a thread worked, days would pass there."""

    def __init__(self, clock: Callable[[], float] = time.thread_time, threads: int = THREADS) -> None:
        self.clock = clock
        self._threads = ThreadPoolExecutor(threads, "beside")
        self._lock = Lock()
        self._waiting: dict[str, deque[tuple[Callable[[], Any], Future[Any]]]] = {}
        self._busy: set[str] = set()
        self._used: dict[str, float] = {}
        """Seconds that each has had, since nobody waited."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return self.put(_asker.get(), lambda: fn(*args, **kwargs))

    def put(self, asker: str, work: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()
        with self._lock:
            self._waiting.setdefault(asker, deque()).append((work, done))
        done.add_done_callback(partial(self._leave, asker))
        self._threads.submit(self._take)
        return done

    def _leave(self, asker: str, done: Future[Any]) -> None:
        """Who goes away takes along what the work holds: its turn may come late, and it may be megabytes."""
        if not done.cancelled():
            return
        with self._lock:
            left = deque(one for one in self._waiting.pop(asker, ()) if one[1] is not done)
            if left:
                self._waiting[asker] = left

    def _take(self) -> None:
        with self._lock:
            free = [one for one in self._waiting if one not in self._busy]
            if not free:
                return  # who is busy will look again
            asker = min(free, key=lambda one: self._used.get(one, 0.0))
            self._busy.add(asker)
            work, done = self._waiting[asker].popleft()
            if not self._waiting[asker]:
                del self._waiting[asker]
        began = self.clock()
        if done.set_running_or_notify_cancel():
            finish(work, done)
        with self._lock:
            self._busy.remove(asker)
            self._used[asker] = self._used.get(asker, 0.0) + self.clock() - began
            if not self._waiting:
                self._used.clear()
                return
        self._threads.submit(self._take)


def finish(work: Callable[[], T], done: "Future[T]") -> None:
    try:
        with UNCOLLECTED:
            result = work()
    except BaseException as error:  # noqa: BLE001 it is raised where the result is awaited
        done.set_exception(error)
    else:
        done.set_result(result)


class Uncollected:
    """Python's collector holds everybody up while it looks at a large tree, over and over while that grows. Who leaves first
    turns it on again, whoever else is within: threads that take turns would keep it off for good."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_off = False
        """By us."""

    def __enter__(self) -> None:
        with self._lock:
            self._is_off = self._is_off or gc.isenabled()
            gc.disable()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._is_off:
                gc.enable()
            self._is_off = False


UNCOLLECTED = Uncollected()
TURNS = Turns()
