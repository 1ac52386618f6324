"""Stopping a container: its signal, some time, then SIGKILL; and a start that is under way is broken off.

The warden is asked, and tells of the end by itself: what is waited for is the news.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from kybern.aio.timeouts import timeout
from kybern.runtime.containers import ContainerRecords
from kybern.runtime.cri import RuntimeFault
from kybern.runtime.machine import DEFAULT_SIGNAL, signal_number

KILL_SECONDS = 30.0  # a process that SIGKILL does not end hangs in the kernel
FAULT = "KillContainerError"


class Stopping:
    def __init__(self, records: ContainerRecords, call: Callable[..., Awaitable[tuple[Any, list[int]]]]) -> None:
        """`call` asks the warden, with the reason of the fault where it refuses."""
        self.records, self.call = records, call
        self.news: dict[str, asyncio.Event] = {}

    def changed(self, container_id: str) -> None:
        """The warden has told something new of it."""
        if (waiting := self.news.get(container_id)) is not None:
            waiting.set()

    def forget(self, container_id: str) -> None:
        self.news.pop(container_id, None)

    async def stop(self, container_id: str, timeout_seconds: float) -> None:
        if self.records.unstarted(container_id):
            await self._abandon(container_id)
        if not self.records.running(container_id):
            return
        if timeout_seconds > 0:
            wanted = self.records.get(container_id).config.stop_signal or DEFAULT_SIGNAL
            await self._signal(container_id, signal_number(wanted))
            if await self._ended(container_id, timeout_seconds):
                return
        await self._signal(container_id, signal.SIGKILL)
        if not await self._ended(container_id, KILL_SECONDS):
            raise RuntimeFault(FAULT, f"container {container_id!r} does not end")

    async def _abandon(self, container_id: str) -> None:
        """A start that is under way, perhaps for an agent that was killed, is broken off."""
        answer, _ = await self.call(FAULT, "abandon", container=container_id)
        if answer["starting"]:
            await self._until(container_id, lambda: not self.records.unstarted(container_id), KILL_SECONDS)

    async def _signal(self, container_id: str, number: int) -> None:
        await self.call(FAULT, "signal", container=container_id, number=int(number))

    async def _ended(self, container_id: str, seconds: float) -> bool:
        return await self._until(container_id, lambda: not self.records.running(container_id), seconds)

    async def _until(self, container_id: str, holds: Callable[[], bool], seconds: float) -> bool:
        try:
            async with timeout(seconds):
                while not holds():
                    waiting = self.news.setdefault(container_id, asyncio.Event())
                    waiting.clear()
                    await waiting.wait()
        except TimeoutError:
            return False
        return True
