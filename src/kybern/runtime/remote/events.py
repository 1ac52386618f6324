"""What changed, as it happens: the runtime's own events where it tells them, else by listing once a second.

What this process changes itself it is told at once, whichever way the rest is learnt. What changed before the runtime had
begun to tell is found by telling of everything once, a moment later.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from kybern.aio.clock import Clock
from kybern.runtime.cri import RuntimeFault
from kybern.runtime.news import News
from kybern.runtime.remote.gate import Gate
from kybern.runtime.remote.messages import RUNTIME, classes
from kybern.runtime.remote.peer import UNIMPLEMENTED, RpcError

RELIST_SECONDS = 1.0  # upstream's


class Events:
    def __init__(self, gate: Gate, clock: Clock, states: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        self.gate, self.clock, self.states = gate, clock, states
        self.news = News()
        self.tell = self.news.tell

    def follow(self) -> AsyncIterator[str]:
        """RuntimeFault when the runtime is lost: whoever follows lists everything, and begins anew."""
        return self._follow(self.news.listen())

    async def _follow(self, told: AsyncIterator[str]) -> AsyncIterator[str]:
        news, learning = asyncio.ensure_future(anext(told)), asyncio.ensure_future(self._learn())
        looking = asyncio.ensure_future(self._tell_of_everything())
        try:
            while True:
                await asyncio.wait([news, learning], return_when=asyncio.FIRST_COMPLETED)
                if learning.done():
                    learning.result()
                    return
                yield news.result()
                news = asyncio.ensure_future(anext(told))
        finally:
            for task in (news, learning, looking):
                task.cancel()
            await asyncio.gather(news, learning, looking, return_exceptions=True)

    async def _tell_of_everything(self) -> None:
        await self.clock.sleep(RELIST_SECONDS)
        for known in await self.states():
            self.tell(known)

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
