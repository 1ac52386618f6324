"""A network that is not to be trusted: requests that get lost, answers that get lost, watches that break. From a seed.

Whoever asks can also be killed while he asks, before the server has done it or after: at any of his awaits, since each
is a request.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.aio.clock import Clock
from kybern.client import Transport
from kybern.web.http import Body, Request, Response


@dataclass(slots=True)
class Faults:
    """How likely each fault is; all 0: a good network."""

    lost_request: float = 0.0
    lost_answer: float = 0.0
    broken_watch: float = 0.0
    """At each piece of its stream."""
    slow_seconds: float = 0.0
    """The longest that a request is held up."""
    killed: float = 0.0
    """Before a request is done, and after."""
    kill: Callable[[], None] = lambda: None
    """Ends, and later starts again, whoever sends the requests."""

    def stop(self) -> None:
        self.lost_request = self.lost_answer = self.broken_watch = self.slow_seconds = self.killed = 0.0


class Faulty:
    def __init__(self, transport: Transport, faults: Faults, clock: Clock, rng: random.Random) -> None:
        self.transport, self.faults, self.clock, self.rng = transport, faults, clock, rng

    async def send(self, request: Request) -> Response:
        if self.faults.slow_seconds:
            await self.clock.sleep(self.rng.random() * self.faults.slow_seconds)
        if self.rng.random() < self.faults.lost_request:
            raise ConnectionRefusedError("the request was lost")
        await self._perhaps_die()
        response = await self.transport.send(request)
        await self._perhaps_die()
        if self.rng.random() < self.faults.lost_answer:
            raise ConnectionResetError("the answer was lost")
        return replace(response, body=self._breaking(response.body))

    async def _perhaps_die(self) -> None:
        if self.rng.random() < self.faults.killed:
            self.faults.kill()
            await asyncio.Event().wait()  # being cancelled is how it ends

    def _breaking(self, body: Body) -> Body:
        return self._stream(body) if isinstance(body, AsyncIterator) else body

    async def _stream(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async with aclosing(body) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                if self.rng.random() < self.faults.broken_watch:
                    raise ConnectionResetError("the watch broke")
                yield piece
