"""A call of somebody else's function that ends after a while, whether it wants to or not.

The server calls rules on its own loop, so one that does not return would stop everything. An alarm interrupts it (SIGALRM:
it ends a busy loop as well as a sleep), again and again should it hold on. A function that had to be interrupted once is
not called any more: it would take the same time from everybody at every request. When its file is loaded again, it is a
new function.

Alarms reach the main thread, where servers and simulations run; called in another one, a function takes what it takes.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakSet

SECONDS_MAX = 1.0  # a rule looks at values; whoever needs longer waits for something, and is a controller
LOAD_SECONDS_MAX = 10.0  # a file imports what it needs
AGAIN_SECONDS = 0.05

GIVEN_UP: WeakSet[Callable[..., Any]] = WeakSet()


class Interrupted(BaseException):
    """Not an Exception, so that a rule which catches those goes on with nothing."""


class Overdue(Exception):
    """It did not return in time, now or before."""


def bounded(function: Callable[..., Any], *args: Any) -> Any:
    """What it returns. Overdue; otherwise what it raises."""
    if function in GIVEN_UP:
        raise Overdue(f"it took longer than {SECONDS_MAX:g} s before, and is not asked again until its file changes")
    try:
        with at_most(SECONDS_MAX):
            return function(*args)
    except Interrupted:
        GIVEN_UP.add(function)
        raise Overdue(f"it took longer than {SECONDS_MAX:g} s") from None


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises Interrupted in what runs longer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    counts = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        if counts:
            raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        try:
            yield
        finally:
            counts = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
