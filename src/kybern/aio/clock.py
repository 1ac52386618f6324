"""Time as an input: who needs the time is given a `Clock`, so a simulation can give it another.

- `wall()` is for what people and certificates see; it may jump.
- `monotonic()` is for intervals, leases, timeouts and back-off; it never goes back.
- `sleep()` waits on the running event loop, whose own clock may be virtual.
"""

import asyncio
import math
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

HALF_MICROSECOND = 5e-7  # sums of fractions end a little before a whole second


class Clock(Protocol):
    def wall(self) -> float:
        """Seconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LoopClock:
    """The clock of the event loop in which it is first asked, started at a given moment: under a virtual-time loop, a
    virtual clock."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        self.start = start  # 2026-01-01T00:00:00Z
        self._loop: asyncio.AbstractEventLoop | None = None

    def wall(self) -> float:
        return self.start + self.monotonic()

    def monotonic(self) -> float:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # once: to ask for it is a system call each time
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def until_tick(now: float, seconds: float) -> float:
    """How long to sleep for what comes up every so many seconds: between half of that and one and a half, so that all who
    sleep so wake together. A process that sleeps long pays for each time it wakes, however little it does then."""
    rest = seconds - now % seconds
    return rest if rest >= seconds / 2 else rest + seconds


def rfc3339(seconds: float) -> str:
    """The moment as the API writes a Time: UTC, whole seconds."""
    return _in_words(math.floor(seconds + HALF_MICROSECOND))


@lru_cache(maxsize=256)
def _in_words(second: int) -> str:
    """What happens in one second is told many times over."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """The moment as the API writes a MicroTime: UTC, six decimals."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_rfc3339(text: str) -> float:
    """Seconds since 1970 of a Time or MicroTime; ValueError where it is neither."""
    return datetime.fromisoformat(text).timestamp()
