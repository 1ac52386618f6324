"""What both ends of an HTTP/2 connection share: its streams, and the flow control of each in both directions.

- What arrived is credited to the peer as it is read, so no more than a window waits for a reader.
- What is sent waits for the peer's window; one that stays shut ends the stream (`stall_seconds`).
- A stream that is over is forgotten, and what nobody read of it is credited to the connection.
- While a peer does not take what it is sent, it is not read either: its pings would be answered into memory.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from kybern.aio.timeouts import timeout
from kybern.web.head import BadHeader
from kybern.web.http import Joined
from kybern.web.inflow import Inflow, Outflow, resume_reading

OF_ONE_CONNECTION = frozenset(
    ("connection", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-connection", "host", "http2-settings")
)

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Stream:
    inflow: Inflow
    owed: int = 0
    """Bytes of the window that the peer has used and has not been given back."""
    windows: list[asyncio.Future[None]] = field(default_factory=list)


class States(H2ConnectionStateMachine):
    """A peer that goes away finishes what it has begun (RFC 9113 section 6.8); `h2` takes that word for the end of all streams."""

    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        return [] if input_ is ConnectionInputs.RECV_GOAWAY else super().process_input(input_)


class Http2Connection(asyncio.Protocol):
    def __init__(self, *, is_client: bool, stall_seconds: float) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=is_client, header_encoding=None))
        self.h2.state_machine = States()
        self.stall_seconds = stall_seconds
        self.outflow = Outflow()
        self.streams: dict[int, Stream] = {}
        self.terminated = False
        """The peer takes no further stream."""

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except ProtocolError as error:
            self.flush()  # h2 has told the peer what was wrong
            self.broken(error)
            self.transport.close()
            return
        for event in events:
            self.handle(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.terminated = True
        self.outflow.lose()
        self.broken(exc)
        for number in list(self.streams):
            self.lose(number)

    def pause_writing(self) -> None:
        self.outflow.pause()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.outflow.resume()
        if not self.transport.is_closing():
            resume_reading(self.transport)

    # Events.

    def broken(self, error: Exception | None) -> None:
        """For those who want to know."""

    def handle(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            stream = self.streams.get(event.stream_id)
            if stream is None:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                return
            stream.owed += event.flow_controlled_length
            stream.inflow.feed(event.data)
            self.credit(event.stream_id)  # the padding at once
        elif isinstance(event, StreamEnded):
            if (stream := self.streams.get(event.stream_id)) is not None:
                stream.inflow.end()
        elif isinstance(event, StreamReset):
            self.lose(event.stream_id)
        elif isinstance(event, WindowUpdated) and event.stream_id:
            self.wake(event.stream_id)
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            for number in self.streams:
                self.wake(number)
        elif isinstance(event, ConnectionTerminated):
            self.terminated = True

    def open(self, number: int) -> Stream:
        made = self.streams[number] = Stream(Inflow(partial(self.credit, number)))
        return made

    def credit(self, number: int) -> None:
        """As much as was read."""
        stream = self.streams.get(number)
        if stream is not None and stream.owed > stream.inflow.size and not self.outflow.lost:
            read, stream.owed = stream.owed - stream.inflow.size, stream.inflow.size
            self.h2.acknowledge_received_data(read, number)
            self.flush()

    def lose(self, number: int) -> None:
        """The peer, or the connection, has given the stream up."""
        if (stream := self.streams.get(number)) is not None:
            stream.inflow.end(ConnectionResetError("the stream was given up"))
            self.forget(number)

    def forget(self, number: int) -> None:
        stream = self.streams.pop(number, None)
        if stream is not None:
            if stream.owed and not self.outflow.lost:
                self.h2.acknowledge_received_data(stream.owed, number)
            self.wake_all(stream)

    def reset(self, number: int, code: ErrorCodes) -> None:
        """Ours is the word that ends it; nothing where it has ended."""
        known = self.h2.streams.get(number)
        if number in self.streams and known is not None and not known.closed and not self.outflow.lost:
            try:
                self.h2.reset_stream(number, code)
            except ProtocolError:
                pass  # the connection is at its end
        self.forget(number)
        self.flush()

    def wake(self, number: int) -> None:
        self.wake_all(self.streams[number]) if number in self.streams else None

    @staticmethod
    def wake_all(stream: Stream) -> None:
        for waiter in stream.windows:
            if not waiter.done():
                waiter.set_result(None)
        stream.windows.clear()

    # Sending.

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    async def send_body(self, number: int, body: Iterable[bytes] | AsyncIterator[bytes]) -> None:
        """All but the end of the stream. ConnectionError where the peer takes no more."""
        if isinstance(body, AsyncIterator):
            async for piece in body:
                await self.send_piece(number, piece)
        else:
            for piece in body:
                await self.send_piece(number, piece)

    async def send_piece(self, number: int, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            room = await self.room(number)
            self.h2.send_data(number, left[:room].tobytes())
            self.flush()
            left = left[room:]
            if self.outflow.paused:
                await self.outflow.drain()

    async def room(self, number: int) -> int:
        while True:
            stream = self.streams.get(number)
            if stream is None or self.outflow.lost:
                raise ConnectionResetError("the stream is gone")
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room > 0:
                return room
            waiter = asyncio.get_running_loop().create_future()
            stream.windows.append(waiter)
            try:
                async with timeout(self.stall_seconds):
                    await waiter
            except TimeoutError:
                raise ConnectionResetError("the peer takes no more") from None

    def end(self, number: int, trailers: Mapping[str, str]) -> None:
        """Our side of the stream."""
        if number in self.streams:
            if trailers:
                self.h2.send_headers(number, passed(trailers), end_stream=True)
            else:
                self.h2.end_stream(number)
            self.flush()


def passed(headers: Mapping[str, str]) -> Headers:
    """As HTTP/2 has them: lower-case, and nothing about a connection. BadHeader for one that would end its line early."""
    found = [(name.lower(), value) for name, value in headers.items() if name.lower() not in OF_ONE_CONNECTION]
    for name, value in found:
        if any(letter in name + value for letter in "\r\n\0"):
            raise BadHeader(f"header {name!r} has a line end in it")
    return found


def pieces_of(body: bytes | Iterable[bytes] | Joined | AsyncIterator[bytes]) -> Iterable[bytes] | AsyncIterator[bytes]:
    return (body,) if isinstance(body, bytes) else body
