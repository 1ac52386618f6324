"""What changed, as it happens: the runtime's own events where it tells them, else by listing once a second.

What this process changes itself it is told at once, whichever way the rest is learnt.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from kybern.aio.clock import Clock
from kybern.runtime.cri import RuntimeFault
from kybern.runtime.remote.gate import Gate
from kybern.runtime.remote.messages import RUNTIME, classes
from kybern.runtime.remote.peer import UNIMPLEMENTED, RpcError

RELIST_SECONDS = 1.0  # upstream's
EVENTS_MAX = 10_000


class Events:
    def __init__(self, gate: Gate, clock: Clock, states: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        self.gate, self.clock, self.states = gate, clock, states
        self.listeners: list[asyncio.Queue[str]] = []

    def tell(self, changed: str) -> None:
        for queue in self.listeners:
            if not queue.full():  # who does not listen lists again
                queue.put_nowait(changed)

    async def follow(self) -> AsyncIterator[str]:
        """RuntimeFault when the runtime is lost: whoever follows lists everything, and begins anew."""
        queue: asyncio.Queue[str] = asyncio.Queue(EVENTS_MAX)
        self.listeners.append(queue)
        news, learning = asyncio.ensure_future(queue.get()), asyncio.ensure_future(self._learn())
        try:
            while True:
                await asyncio.wait([news, learning], return_when=asyncio.FIRST_COMPLETED)
                if learning.done():
                    learning.result()
                    return
                yield news.result()
                news = asyncio.ensure_future(queue.get())
        finally:
            self.listeners.remove(queue)
            for task in (news, learning):
                task.cancel()
            await asyncio.gather(news, learning, return_exceptions=True)

    async def _learn(self) -> None:
        try:
            async for body in self.gate.stream(f"{RUNTIME}GetContainerEvents", b""):
                self.tell(classes()["ContainerEventResponse"].FromString(body).container_id)
        except RpcError as error:
            if error.code != UNIMPLEMENTED:
                raise RuntimeFault("NotFound", str(error)) from error
            await self._relist()

    async def _relist(self) -> None:
        known = await self.states()
        while True:
            await self.clock.sleep(RELIST_SECONDS)
            now = await self.states()
            for changed in known.keys() | now.keys():
                if known.get(changed) != now.get(changed):
                    self.tell(changed)
            known = now
