"""A SPDY/3.1 session: streams over one connection, opened by either side.

- `run` reads the connection until it ends; somebody must await it beside the streams.
- Streams that the peer opens come out of `accept`; each must be answered with `reply` or `reset`.
- Flow control is the connection's own. The implementation in Go, which is behind every Kubernetes client, never sends
  WINDOW_UPDATE, so honouring the window would stop a stream for ever after 64 KiB; ours are sent for peers that wait
  for them, and theirs are ignored.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from kybern.web.channel import Channel, pieces_of
from kybern.web.http import Connection
from kybern.web.spdy_frames import (
    FIN,
    GOAWAY,
    HEADERS,
    PING,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SYN_REPLY,
    SYN_STREAM,
    WINDOW_UPDATE,
    Decoder,
    Encoder,
    Frame,
    SpdyError,
)

STREAMS_MAX = 2048
UNACCEPTED_MAX = 256


class SpdyStream(Channel):
    def __init__(self, session: "SpdySession", number: int, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.session = session
        self.number = number
        self.headers = headers
        self.replied: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        self.sends = True

    async def receive(self) -> bytes:
        data = await super().receive()
        if data and self.number in self.session.streams:
            await self.session.send(Frame(WINDOW_UPDATE, self.number, number=len(data)))
        return data

    async def send(self, data: bytes) -> None:
        for piece in pieces_of(data):
            if not self.sends:
                raise ConnectionResetError("the stream is closed")
            await self.session.send(Frame(None, self.number, data=piece))

    async def close(self) -> None:
        if self.sends:
            self.sends = False
            await self.session.send(Frame(None, self.number, FIN))
            self.session.forget_if_done(self)

    async def reply(self, headers: Mapping[str, str] | None = None) -> None:
        await self.session.send(Frame(SYN_REPLY, self.number, headers=headers or {}))

    async def reset(self, status: int = REFUSED_STREAM) -> None:
        self.end(ConnectionResetError("the stream was reset"))
        self.session.streams.pop(self.number, None)
        await self.session.send(Frame(RST_STREAM, self.number, number=status))

    def end(self, error: Exception | None) -> None:
        self.sends = False
        self.inflow.end(error)
        self.room.set()
        if not self.replied.done():
            self.replied.cancel()


class SpdySession:
    def __init__(self, connection: Connection, *, server: bool) -> None:
        self.connection = connection
        self.encoder, self.decoder = Encoder(), Decoder()
        self.streams: dict[int, SpdyStream] = {}
        self.opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue(UNACCEPTED_MAX)
        self.next_number = 2 if server else 1
        self.newest_of_peer = 0
        self.ended = False

    async def accept(self) -> SpdyStream | None:
        """The next stream that the peer opens; None when there will be no more."""
        return None if self.ended and self.opened.empty() else await self.opened.get()

    async def open(self, headers: Mapping[str, str]) -> SpdyStream:
        """A new stream, once the peer has accepted it. ConnectionError when it does not."""
        if self.ended:
            raise ConnectionResetError("the session has ended")
        stream = SpdyStream(self, self.next_number, headers)
        self.next_number += 2
        self.streams[stream.number] = stream
        await self.send(Frame(SYN_STREAM, stream.number, headers=headers))
        try:
            await stream.replied
        except asyncio.CancelledError:
            if stream.replied.cancelled() and stream.inflow.ended:
                raise ConnectionResetError("the stream was refused") from None
            raise
        return stream

    async def run(self) -> None:
        """Reads until the connection ends; then every stream has ended too."""
        try:
            while data := await self.connection.receive():
                for frame in self.decoder.feed(data):
                    await self.handle(frame)
        except SpdyError:
            with suppress(ConnectionError):
                await self.send(Frame(GOAWAY, self.newest_of_peer, number=PROTOCOL_ERROR))
        except ConnectionError:
            pass
        finally:
            self.end()

    def end(self) -> None:
        self.ended = True
        for stream in list(self.streams.values()):
            stream.end(ConnectionResetError("the session has ended"))
        self.streams.clear()
        if self.opened.full():
            self.opened.get_nowait()
        self.opened.put_nowait(None)

    async def send(self, frame: Frame) -> None:
        await self.connection.send(self.encoder.encode(frame))

    async def handle(self, frame: Frame) -> None:
        stream = self.streams.get(frame.stream)
        match frame.kind:
            case None:
                await self.data(frame, stream)
            case 1:
                await self.syn_stream(frame)
            case _ if frame.kind in (SYN_REPLY, HEADERS):
                if stream is not None:
                    if not stream.replied.done():
                        stream.replied.set_result(frame.headers)
                    self.fin(frame, stream)
            case _ if frame.kind == RST_STREAM:
                if stream is not None:
                    del self.streams[frame.stream]
                    stream.end(ConnectionResetError("the stream was reset"))
            case _ if frame.kind == PING:
                if frame.number % 2 != self.next_number % 2:
                    await self.send(frame)

    async def data(self, frame: Frame, stream: SpdyStream | None) -> None:
        if stream is None:
            return  # Of a stream that we have reset: it was under way.
        await stream.put(frame.data)
        self.fin(frame, stream)

    async def syn_stream(self, frame: Frame) -> None:
        number = frame.stream
        if number % 2 == self.next_number % 2 or number <= self.newest_of_peer:
            raise SpdyError(f"stream {number} is out of order")
        self.newest_of_peer = number
        if len(self.streams) >= STREAMS_MAX or self.opened.full():
            await self.send(Frame(RST_STREAM, number, number=REFUSED_STREAM))
            return
        stream = self.streams[number] = SpdyStream(self, number, frame.headers)
        self.fin(frame, stream)
        self.opened.put_nowait(stream)

    def fin(self, frame: Frame, stream: SpdyStream) -> None:
        if frame.fin:
            stream.inflow.end()
            self.forget_if_done(stream)

    def forget_if_done(self, stream: SpdyStream) -> None:
        if stream.inflow.ended and not stream.sends:
            self.streams.pop(stream.number, None)
