"""One HTTP/1.1 connection of the server: bytes to requests, responses to bytes.

- `httptools` parses; what it lets pass and RFC 9112 does not is refused here, and the connection ends.
- One task per connection answers one request after the other, in order, so pipelining is safe. The task belongs
  to the server and is cancelled when the peer goes: a handler never works for nobody.
- Reading pauses while too much waits for the handler, writing waits while too much waits for the peer.
"""

import asyncio
import logging
from collections import deque
from math import inf
from typing import TYPE_CHECKING, cast

import httptools

from kybern.web.answer import shared_chunk, write_answer
from kybern.web.head import JOINT, BadHeader, add_header
from kybern.web.http import BadRequest, Peer, Request, Response, Upgrade
from kybern.web.incoming import SINGLE, Incoming, check_head, peer_of, split_target
from kybern.web.inflow import IncomingBody, Inflow, Outflow, resume_reading
from kybern.web.taken import TakenConnection

if TYPE_CHECKING:
    from kybern.web.server import Server

log = logging.getLogger(__name__)

PIPELINED_MAX = 16  # Requests that wait behind the one being answered before reading pauses.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ServerProtocol(asyncio.Protocol):
    def __init__(self, server: "Server") -> None:
        self.server = server
        self.limits = server.limits
        self.loop = server.loop
        self.outflow = Outflow()
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: deque[Incoming] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.peer: Peer | None = None
        self.fresh = True
        self.answering = False
        self.streaming = False
        self.in_head = False
        self.ended = False  # No further request is read: refused, upgraded, or closing.
        self.lingers = False
        self.handed_over = False
        self.taken: Inflow | None = None
        self.reading = True
        self.body: Inflow | None = None
        self.body_pieces: list[bytes] = []
        self.wrapping_bytes = 0  # Of a chunked body, since its last byte: chunk extensions and trailers.
        self.deadline = inf
        self.write_checked = inf
        self.write_left = 0

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's and aiofastnet's are no subclasses of it
        self.transport.set_write_buffer_limits(high=self.limits.write_buffer_bytes_max)
        self.deadline = self.loop.time() + self.limits.head_seconds
        self.task = self.server.start(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.outflow.lose()
        gone = ConnectionResetError("the peer went away")
        for inflow in (self.body, self.taken):
            if inflow is not None:
                inflow.end(gone)
        if self.task is not None and not self.handed_over:
            self.task.cancel()
        self.server.forget(self)
        del (
            self.parser
        )  # it holds our methods: what a connection has, buffers of TLS above all, goes with it, not some time later

    def eof_received(self) -> bool:
        """A peer that stops sending stops waiting too, except on an upgraded connection, which may be half-closed."""
        if self.taken is None:
            return False
        self.taken.end()
        return self.transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        self.outflow.pause()
        self.write_checked = self.loop.time()
        self.write_left = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self.write_checked = inf
        self.outflow.resume()

    def data_received(self, data: bytes) -> None:
        if self.taken is not None:
            self.taken.feed(data)
            self.pace()
            return
        if self.ended:
            return
        if self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > self.limits.head_bytes_max:
                self.refuse(431, "request header fields too large")
                return
        elif self.body is not None:
            self.deadline = self.loop.time() + self.limits.body_stall_seconds
            self.wrapping_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.ended = True
            self.taken = Inflow(self.pace)
            self.taken.feed(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, BadRequest):
                raise
            self.refuse(cause.status, str(cause))
        except httptools.HttpParserError as error:
            self.refuse(400, str(error).lower())
        if self.body is not None and self.wrapping_bytes > self.limits.head_bytes_max:
            self.refuse(431, "trailer fields too large")  # The parser would keep them all.
        self.pace()

    # The parser calls these.

    def on_message_begin(self) -> None:
        self.in_head = True
        self.head_bytes = 0
        self.url = b""
        self.headers: dict[str, str] = {}
        self.repeated: dict[str, list[str]] = {}
        self.header_count = 0
        self.body_pieces = []
        if not self.answering:
            self.deadline = self.loop.time() + self.limits.head_seconds

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.limits.target_bytes_max:
            raise BadRequest("the request target is too long", 414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.header_count += 1
        if self.header_count > self.limits.headers_max:
            raise BadRequest("too many request header fields", 431)
        if not self.in_head:
            return  # A trailer: nobody asked for it.
        repeated = add_header(self.headers, name, value)
        if repeated is None:
            return
        if repeated in SINGLE:
            raise BadRequest(f"more than one {name.decode()} header")
        text = value.decode("latin-1")
        first = self.headers[repeated][: -len(JOINT + text)]
        self.repeated.setdefault(repeated, [first]).append(text)

    def on_headers_complete(self) -> None:
        self.in_head = False
        headers, parser = self.headers, self.parser
        version = parser.get_http_version()
        incoming = Incoming(
            self.request(),
            keep_alive=parser.should_keep_alive(),
            http10=version == "1.0",
            upgrade=parser.should_upgrade(),
        )
        check_head(version, headers)
        self.incoming = incoming
        self.body = None
        length = int(headers.get("content-length", 0))
        if incoming.upgrade and (length or "transfer-encoding" in headers):
            raise BadRequest("an upgrade request with a body")  # The parser would take the body for the new protocol.
        expects = "expect" in headers and headers["expect"].lower() == "100-continue"
        if length > self.limits.small_body_bytes_max or "transfer-encoding" in headers or (expects and length):
            self.wrapping_bytes = 0
            self.body = incoming.inflow = Inflow(self.pace)
            incoming.request.body = IncomingBody(self.body, self.send_continue if expects else None)
            self.accept(incoming)

    def on_body(self, body: bytes) -> None:
        if self.body is not None:
            self.wrapping_bytes = 0
            self.body.feed(body)
        else:
            self.body_pieces.append(body)

    def on_message_complete(self) -> None:
        if self.body is not None:
            self.body.end()
            self.body = None
            if self.answering:
                self.deadline = inf
            return
        if self.body_pieces:
            self.incoming.request.body = b"".join(self.body_pieces)
        self.accept(self.incoming)

    # From here on it is ours.

    def request(self) -> Request:
        method = self.parser.get_method().decode()
        path, query = split_target(method, self.url)
        if self.peer is None:
            self.peer = peer_of(self.transport)
        return Request(method, path, query, self.headers, b"", self.peer, pairs(self.repeated) if self.repeated else ())

    def accept(self, incoming: Incoming) -> None:
        if not incoming.keep_alive:
            self.ended = incoming.inflow is None and not incoming.upgrade
        self.deadline = inf if incoming.inflow is None else self.loop.time() + self.limits.body_stall_seconds
        self.waiting.append(incoming)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def refuse(self, status: int, message: str) -> None:
        """The last answer on this connection; a body that was being read ends with the same refusal."""
        self.ended = self.lingers = True
        if self.body is not None:
            self.body.end(BadRequest(message, status))
            self.body = None
            return
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        refusal = Response(status, headers, f"{status} {message}\n".encode())
        self.accept(Incoming(Request("GET", "/"), refusal=refusal))

    def send_continue(self) -> None:
        if self.body is not None and not self.outflow.lost:
            self.transport.write(CONTINUE)

    def pace(self) -> None:
        """Pauses or resumes reading, by what waits for the handler."""
        inflow = self.taken or self.body
        full = len(self.waiting) > PIPELINED_MAX
        full = full or (inflow is not None and inflow.size > self.limits.read_buffer_bytes_max)
        if full == self.reading and not self.outflow.lost:
            self.reading = not full
            if full:
                self.transport.pause_reading()
            else:
                resume_reading(self.transport)

    def overdue(self, now: float) -> bool:
        """Whether the peer took too long to send, or too long to take, its bytes."""
        if now > self.deadline and self.reading:
            return True
        if now > self.write_checked + self.limits.write_stall_seconds:
            left = self.transport.get_write_buffer_size()
            if left >= self.write_left:
                return True
            self.write_checked, self.write_left = now, left
        return False

    # The task.

    async def run(self) -> None:
        try:
            while await self.answer(await self.next_request()):
                pass
            await self.finish()
        except Exception as error:
            if not is_disconnect(error):
                log.error("a response was cut off", exc_info=error)
            self.transport.abort()
        finally:
            self.ended = self.reading = True
            self.deadline = self.loop.time() + self.limits.write_stall_seconds
            self.transport.close()
            self.task = None  # what it ended with holds its frames, and they hold us

    async def next_request(self) -> Incoming:
        self.answering = False
        while not self.waiting:
            seconds = self.limits.head_seconds if self.in_head or self.fresh else self.limits.idle_seconds
            self.deadline = self.loop.time() + seconds
            self.waiter = self.loop.create_future()
            await self.waiter
        self.answering, self.fresh = True, False
        incoming = self.waiting.popleft()
        if incoming.inflow is None or incoming.inflow.ended:
            self.deadline = inf
        if not self.reading:
            self.pace()
        return incoming

    async def answer(self, incoming: Incoming) -> bool:
        """Whether another request may follow."""
        response = incoming.refusal or await self.server.respond(incoming.request)
        if isinstance(response, Upgrade) and response.takeover is not None and incoming.upgrade:
            await self.hand_over(response)
            return False
        body = incoming.inflow
        more = incoming.keep_alive and not incoming.upgrade and not self.server.closing
        more = more and (body is None or (body.ended and body.error is None))
        try:
            await write_answer(self, response, incoming, more)
        except BadHeader as error:
            log.error("%s %s was not answered: %s", incoming.request.method, incoming.request.path, error)
            more = False
            await write_answer(self, Response(500), incoming, more)
        if self.outflow.paused:
            await self.outflow.drain()
        return more and not self.server.closing

    async def write(self, data: bytes | memoryview) -> None:
        """Returns when the peer has room for more."""
        if self.transport.is_closing():
            raise ConnectionResetError("the peer went away")
        self.transport.write(data)
        if self.outflow.paused:
            await self.outflow.drain()

    def push(self, data: bytes) -> bool:
        """Writes at once, or says that it is to be waited for."""
        if self.outflow.paused or self.transport.is_closing():
            return False
        self.transport.write(data)
        return True

    def push_chunk(self, data: bytes) -> bool:
        return self.push(shared_chunk(data))

    async def hand_over(self, response: Upgrade) -> None:
        assert response.takeover is not None and self.taken is not None
        self.streaming = self.handed_over = True
        self.transport.write(self.server.head(response, "Connection: Upgrade\r\n"))
        await response.takeover(TakenConnection(self.transport, self.taken, self.outflow))

    async def finish(self) -> None:
        """Lets the peer see its last answer: closing while it still sends would reset the connection under it."""
        self.ended = True
        if self.body is not None:
            self.body.end(ConnectionResetError("nobody reads this body"))
            self.body = None
            self.lingers = True
        if self.lingers and self.taken is None and not self.transport.is_closing():
            if not self.reading:
                resume_reading(self.transport)
            if self.transport.can_write_eof():
                self.transport.write_eof()
            await asyncio.sleep(self.limits.linger_seconds)


def is_disconnect(error: BaseException) -> bool:
    """Whether it says no more than that the peer is gone, which `connection_lost` has said already."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_disconnect, error.exceptions))
    return isinstance(error, ConnectionError)


def pairs(repeated: dict[str, list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, values in repeated.items() for value in values)
