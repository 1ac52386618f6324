"""The warden, seen from the node's agent: calls and their answers, and the news it sends.

The warden may be restarted at any time. Calls that were under way then fail with ConnectionError; the connection is
made again, and `on_connect` reads afresh how things stand.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kybern.aio.backoff import Backoff
from kybern.aio.timeouts import timeout
from kybern.runtime.warden.messages import Broken, Inbox, Outbox

RECONNECT = Backoff(first_seconds=0.02, max_seconds=1.0)
CALL_SECONDS = 120.0
RETURN_SECONDS = 10.0

Event = Mapping[str, Any]


class WardenError(Exception):
    """The warden said no; `code` is the exit code that goes with it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class WardenClient:
    def __init__(
        self,
        path: str,
        *,
        on_event: Callable[[Event], None],
        on_connect: Callable[[], Awaitable[None]],
        on_lost: Callable[[], None],
    ) -> None:
        self.path, self.on_event, self.on_connect, self.on_lost = path, on_event, on_connect, on_lost
        self.socket: socket.socket | None = None
        self.inbox, self.outbox = Inbox(), Outbox()
        self.waiting: dict[int, asyncio.Future[tuple[Event, list[int]]]] = {}
        self.sequence = 0
        self.lost = asyncio.Event()
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        failures = 0
        try:
            while True:
                try:
                    self._connect()
                    await self.on_connect()
                    self.connected.set()
                    failures = 0
                    await self.lost.wait()
                except (OSError, WardenError):
                    pass
                self._disconnect()
                failures += 1
                await asyncio.sleep(RECONNECT.delay(failures))
        finally:
            self._disconnect()

    async def call(self, op: str, **fields: Any) -> tuple[Event, list[int]]:
        """The answer and its descriptors, which are the caller's to close."""
        if self.socket is None:
            await self._wait_connected()
        self.sequence += 1
        number = self.sequence
        future: asyncio.Future[tuple[Event, list[int]]] = asyncio.get_running_loop().create_future()
        self.waiting[number] = future
        self.outbox.put({"op": op, "id": number, **fields})
        self._send()
        try:
            async with timeout(CALL_SECONDS):
                return await future
        except TimeoutError:
            raise ConnectionError(f"no answer in {CALL_SECONDS:.0f} s") from None
        finally:
            self.waiting.pop(number, None)

    def tell(self, op: str, **fields: Any) -> None:
        """Without waiting for an answer; nothing when there is no warden."""
        if self.socket is not None:
            self.outbox.put({"op": op, "id": 0, **fields})
            self._send()

    async def _wait_connected(self) -> None:
        """A warden that was killed is back in a moment."""
        try:
            async with timeout(RETURN_SECONDS):
                await self.connected.wait()
        except TimeoutError:
            raise ConnectionError("the warden is not running") from None

    def _connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.connect(self.path)
        except OSError:
            made.close()
            raise
        made.setblocking(False)
        self.socket = made
        self.inbox, self.outbox = Inbox(), Outbox()
        self.lost.clear()
        asyncio.get_running_loop().add_reader(made, self._readable)

    def _disconnect(self) -> None:
        self.connected.clear()
        if self.socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.socket)
            loop.remove_writer(self.socket)
            self.socket.close()
            self.socket = None
        self.inbox.close()
        self.outbox.close()
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("the connection to the warden was lost"))
        self.waiting.clear()
        self.on_lost()

    def _readable(self) -> None:
        assert self.socket is not None
        alive = self.inbox.receive(self.socket)
        try:
            for message, descriptors in self.inbox.messages():
                self._take(message, descriptors)
        except Broken:
            alive = False
        if not alive:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.lost.set()

    def _take(self, message: Event, descriptors: list[int]) -> None:
        if "event" in message:
            self.on_event(message)
            return
        future = self.waiting.pop(message["id"], None)
        if future is None or future.done():
            self._decline(message, descriptors)
        elif "error" in message:
            future.set_exception(WardenError(message["error"], message["code"]))
        else:
            future.set_result((message["ok"], descriptors))

    def _decline(self, message: Event, descriptors: list[int]) -> None:
        """An answer that nobody waits for any more: its streams are closed, and a process that was started ends."""
        for descriptor in descriptors:
            os.close(descriptor)
        if "exec" in message.get("ok", {}):
            self.tell("kill_exec", exec=message["ok"]["exec"])

    def _send(self) -> None:
        if self.socket is None:
            return
        loop = asyncio.get_running_loop()
        try:
            done = self.outbox.flush(self.socket)
        except OSError:
            self.lost.set()
            return
        if done:
            loop.remove_writer(self.socket)
        else:
            loop.add_writer(self.socket, self._send)
