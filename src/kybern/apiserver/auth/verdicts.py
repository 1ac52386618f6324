"""What somebody else said about a token or a question, remembered for a while.

- Nothing of a token is kept but its SHA-256. At most `VERDICTS_MAX` verdicts are; the oldest go first.
- Who asks the same while it is being asked waits for that answer; of different ones at most `ASKING_MAX` are under way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from kybern.aio.clock import Clock

T = TypeVar("T")

VERDICTS_MAX = 10_000
ASKING_MAX = 100


class TooManyQuestions(Exception):
    """As many as may be are being asked already."""


class Verdicts(Generic[T]):
    def __init__(self, clock: Clock, seconds: Callable[[T], float]) -> None:
        """`seconds`: how long a verdict holds; 0 forgets it at once."""
        self.clock = clock
        self.seconds = seconds
        self._known: dict[bytes, tuple[T, float]] = {}
        self._asking: dict[bytes, asyncio.Task[T]] = {}

    async def get(self, key: bytes, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` raises is raised to everybody who waits, and not remembered. TooManyQuestions."""
        known = self._known.get(key)
        if known is not None and self.clock.monotonic() < known[1]:
            return known[0]
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= ASKING_MAX:
                raise TooManyQuestions
            asking = self._asking[key] = asyncio.ensure_future(self._ask(key, ask))
        return await asyncio.shield(asking)  # one of those who wait may go away

    async def _ask(self, key: bytes, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            verdict = await ask()
        finally:
            del self._asking[key]
        self._known.pop(key, None)
        seconds = self.seconds(verdict)
        if seconds > 0:
            if len(self._known) >= VERDICTS_MAX:
                del self._known[next(iter(self._known))]
            self._known[key] = (verdict, self.clock.monotonic() + seconds)
        return verdict
