"""Bytes that arrived and wait for one reader, and the flow control in both directions.

- `Inflow` never drops bytes: while more than its bound wait, `pace` is told, and the transport pauses.
- `Outflow` is the transport's own write buffer; `drain` waits while it is above its bound.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable

log = logging.getLogger(__name__)


def resume_reading(transport: asyncio.Transport) -> None:
    """Goes on where `pause_reading` stopped. aiofastnet's TLS then asks the socket first, and where nothing more has come it
    leaves alone what it had taken from there before: the last kilobytes of an answer would wait until the connection ends.
    No public call of its makes it look there."""
    transport.resume_reading()
    read_what_is_there = getattr(transport, "_do_read", None)
    if read_what_is_there is not None:
        asyncio.get_running_loop().call_soon(read_rest, transport, read_what_is_there)


def read_rest(transport: asyncio.Transport, read: Callable[[], None]) -> None:
    """It reads nothing while reading is paused again. Whatever is wrong, the connection is over, as where the engine reads by
    itself; what the peer or the network did (also ssl's errors are OSErrors) is no fault of ours, all else is told."""
    if transport.is_closing():
        return
    try:
        read()
    except OSError as error:
        log.debug("a connection broke off: %s", error)
        transport.abort()
    except BaseException:
        transport.abort()
        raise


class Inflow:
    """One writer (the protocol) and one reader; `b""` is the end."""

    __slots__ = ("ended", "error", "pace", "pieces", "size", "waiter")

    def __init__(self, pace: Callable[[], None]) -> None:
        self.pace = pace
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.ended = False
        self.error: Exception | None = None
        self.waiter: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        if data:
            self.pieces.append(data)
            self.size += len(data)
            self.wake()

    def end(self, error: Exception | None = None) -> None:
        """No more bytes will come. What arrived before is still read, then `error` is raised where there is one."""
        if not self.ended:
            self.ended, self.error = True, error
            self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def next(self) -> bytes:
        while not self.pieces:
            if self.error is not None:
                raise self.error
            if self.ended:
                return b""
            if self.waiter is not None and not self.waiter.done():
                raise RuntimeError("two tasks read the same bytes")
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        piece = self.pieces.popleft()
        self.size -= len(piece)
        self.pace()
        return piece


class IncomingBody(AsyncIterator[bytes]):
    """The body of a message as a stream. `on_first_read` is where a server sends `100 Continue`."""

    __slots__ = ("inflow", "on_first_read")

    def __init__(self, inflow: Inflow, on_first_read: Callable[[], None] | None = None) -> None:
        self.inflow = inflow
        self.on_first_read = on_first_read

    async def __anext__(self) -> bytes:
        if self.on_first_read is not None:
            self.on_first_read()
            self.on_first_read = None
        piece = await self.inflow.next()
        if not piece:
            raise StopAsyncIteration
        return piece


class Outflow:
    """Whether the transport takes more; `drain` raises ConnectionError once it is gone."""

    __slots__ = ("lost", "paused", "waiters")

    def __init__(self) -> None:
        self.paused = False
        self.lost = False
        self.waiters: list[asyncio.Future[None]] = []

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self.wake()

    def lose(self) -> None:
        self.lost = True
        self.wake()

    def wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    async def drain(self) -> None:
        while self.paused and not self.lost:
            waiter = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await waiter
        if self.lost:
            raise ConnectionResetError("the connection is gone")
