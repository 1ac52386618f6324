"""One HTTP/1.1 connection of the client: a request to bytes, bytes to a response."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import cast

import httptools

from kybern.web.client_errors import BadResponse, ClientError, ConnectionLost, StaleConnection
from kybern.web.head import add_header, request_head
from kybern.web.http import Request, Response
from kybern.web.inflow import Inflow, Outflow, resume_reading
from kybern.web.taken import TakenConnection

READ_BUFFER_BYTES_MAX = 256 * 1024
HEAD_BYTES_MAX = 1024 * 1024


class ResponseStream(AsyncIterator[bytes]):
    """A response body on its way. `length` is None where the response does not announce it."""

    def __init__(self, connection: "ClientConnection", inflow: Inflow, length: int | None) -> None:
        self.connection = connection
        self.inflow = inflow
        self.length = length
        self.on_end: Callable[[ClientConnection], None] | None = None

    async def __anext__(self) -> bytes:
        try:
            piece = await self.inflow.next()
        except ConnectionError as error:
            raise ConnectionLost("the connection ended within a response") from error
        if not piece:
            if self.on_end is not None:
                self.on_end(self.connection)
                self.on_end = None
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Gives the stream up. The rest of it is not read, so the connection ends."""
        if self.on_end is not None or not self.inflow.ended:
            self.on_end = None
            self.connection.abort()


class ClientConnection(asyncio.Protocol):
    def __init__(self, on_lost: Callable[["ClientConnection"], None]) -> None:
        self.on_lost = on_lost
        self.outflow = Outflow()
        self.inflow = Inflow(self.pace)
        self.head: asyncio.Future[Response] | None = None
        self.reading = True
        self.busy = False
        self.taken = False
        self.keeps = True

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return self.keeps and not self.busy and not self.taken and not self.outflow.lost

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.taken:
            self.inflow.feed(data)
            self.pace()
            return
        if not self.busy:
            self.abort()  # Nobody asked.
            return
        self.wrapping_bytes += len(data)
        try:
            self.parser.feed_data(data)
            if self.busy and self.wrapping_bytes > HEAD_BYTES_MAX:
                raise BadResponse("the head or the trailer of the response is too large")
        except httptools.HttpParserUpgrade as upgrade:
            self.finish_upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            self.fail(BadResponse(str(error).lower()))
        except BadResponse as error:
            self.fail(error)
        self.pace()

    def eof_received(self) -> bool:
        if self.taken:
            self.inflow.end()
            return self.transport.get_extra_info("ssl_object") is None
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.outflow.lose()
        if exc is None and self.busy and not self.in_head and self.until_close:
            self.inflow.end()
        self.inflow.end(ConnectionResetError("the connection is gone"))
        if self.head is not None and not self.head.done():
            lost = (
                ConnectionLost("the connection ended within a response")
                if self.wrapping_bytes
                else StaleConnection(sent=True)
            )
            self.head.set_exception(lost)
        self.on_lost(self)

    def pause_writing(self) -> None:
        self.outflow.pause()

    def resume_writing(self) -> None:
        self.outflow.resume()

    # The parser calls these.

    def on_message_begin(self) -> None:
        self.headers: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:
            add_header(self.headers, name, value)

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200 and status != 101:
            return  # An interim response; the real one follows.
        self.in_head = False
        length, chunked = self.headers.get("content-length"), "transfer-encoding" in self.headers
        bodyless = self.method == "HEAD" or status in (101, 204, 304) or (length == "0" and not chunked)
        self.until_close = not bodyless and length is None and not chunked
        self.response = Response(status, self.headers)
        if bodyless:
            if self.method == "HEAD":
                self.complete(keeps=length is None or length == "0")
            self.answer()
        else:
            self.response.body = ResponseStream(self, self.inflow, int(length) if length is not None else None)
            self.answer()

    def on_body(self, body: bytes) -> None:
        self.wrapping_bytes = 0
        self.inflow.feed(body)

    def on_message_complete(self) -> None:
        if not self.in_head:
            self.complete(keeps=self.parser.should_keep_alive() and not self.until_close)

    # From here on it is ours.

    async def exchange(self, request: Request, prefix: str, own_headers: Mapping[str, str]) -> Response:
        """Sends the request and waits for the head of its answer."""
        if self.outflow.lost or self.transport.is_closing():
            raise StaleConnection(sent=False)
        self.method = request.method
        self.parser = httptools.HttpResponseParser(self)
        self.inflow = Inflow(self.pace)
        self.in_head, self.until_close, self.busy = True, False, True
        self.wrapping_bytes = 0  # since the last byte of the body: what the parser keeps of heads and trailers
        self.head = asyncio.get_running_loop().create_future()
        target = f"{prefix}{request.path}{'?' + request.query if request.query else ''}"
        headers = {name.lower(): value for each in (own_headers, request.headers) for name, value in each.items()}
        if isinstance(request.body, bytes):
            bodied = request.body or request.method in ("POST", "PUT", "PATCH")
            extra = f"Content-Length: {len(request.body)}\r\n" if bodied else ""
            self.transport.write(request_head(request.method, target, headers, extra, request.repeated) + request.body)
        else:
            extra = "Transfer-Encoding: chunked\r\n"
            self.transport.write(request_head(request.method, target, headers, extra, request.repeated))
            await self.send_stream(request.body)
        return await self.head

    async def send_stream(self, body: AsyncIterator[bytes]) -> None:
        """Stops early where the answer is there before the body has ended."""
        assert self.head is not None
        with suppress(ConnectionError):
            async for piece in body:
                if self.head.done():
                    self.keeps = False
                    return
                if piece:
                    self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await self.outflow.drain()
            self.transport.write(b"0\r\n\r\n")

    def answer(self) -> None:
        if self.head is not None and not self.head.done():
            self.head.set_result(self.response)

    def complete(self, *, keeps: bool) -> None:
        self.keeps = self.keeps and keeps
        self.busy = False
        self.inflow.end()

    def finish_upgrade(self, rest: bytes) -> None:
        """A 101 (or an answer that claims an upgrade nobody asked for): what follows is not HTTP any more."""
        self.taken = True
        self.inflow = Inflow(self.pace)
        self.inflow.feed(rest)

    def fail(self, error: ClientError) -> None:
        if self.head is not None and not self.head.done():
            self.head.set_exception(error)
        self.inflow.end(error)
        self.abort()

    def take(self) -> TakenConnection:
        self.taken = True
        return TakenConnection(self.transport, self.inflow, self.outflow)

    def pace(self) -> None:
        full = self.inflow.size > READ_BUFFER_BYTES_MAX
        if full == self.reading and not self.outflow.lost:
            self.reading = not full
            if full:
                self.transport.pause_reading()
            else:
                resume_reading(self.transport)

    def abort(self) -> None:
        self.keeps = False
        self.transport.abort()
