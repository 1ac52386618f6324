"""One HTTP/2 connection of the server: every request is a task of the server's that ends with the connection; answers carry trailers.

A peer that opens streams only to give them up again is sent away (CVE-2023-44487); how many may be open at once, and how long
a head may be, `h2` holds to what its settings say.
"""

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.events import Event, RequestReceived, StreamReset
from h2.settings import SettingCodes

from kybern.web.head import BadHeader, add_header
from kybern.web.http import BadRequest, Request, Response
from kybern.web.http2.connection import Http2Connection, passed, pieces_of
from kybern.web.incoming import SINGLE, peer_of, split_target
from kybern.web.inflow import IncomingBody

if TYPE_CHECKING:
    from kybern.web.server import Server

log = logging.getLogger(__name__)

STREAMS_MAX = 100  # upstream's limit for one connection
RESETS_MAX = 1000  # more than were answered: who gives up what lasts, as watches do, gives up all of it
BODYLESS = (204, 304)
PSEUDO = b":"


class ServerHttp2(Http2Connection):
    def __init__(self, server: "Server") -> None:
        super().__init__(is_client=False, stall_seconds=server.limits.write_stall_seconds)
        self.server = server
        self.h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = STREAMS_MAX
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.over = asyncio.Event()
        self.resets = 0
        self.idle_until = self.taken_until = inf

    @property
    def answering(self) -> bool:
        return bool(self.streams)

    streaming = False  # when the server closes, streams are answered to their end like short answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=self.server.limits.write_buffer_bytes_max)
        self.rest()
        self.task = self.server.start(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.server.forget(self)

    def broken(self, error: Exception | None) -> None:
        self.over.set()
        for task in self.tasks.values():
            task.cancel()  # a handler never works for nobody

    def pause_writing(self) -> None:
        super().pause_writing()
        self.taken_until = self.server.loop.time() + self.server.limits.write_stall_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self.taken_until = inf

    def overdue(self, now: float) -> bool:
        return now > min(self.idle_until, self.taken_until)

    def rest(self) -> None:
        """While no request is under way, the connection may wait for one as long as any other may."""
        self.idle_until = inf if self.streams else self.server.loop.time() + self.server.limits.idle_seconds
        if self.server.closing and not self.streams:
            self.over.set()

    async def run(self) -> None:
        try:
            await self.over.wait()
        finally:
            for task in self.tasks.values():
                task.cancel()
            if self.tasks:
                await asyncio.wait(list(self.tasks.values()))
            if not self.outflow.lost:
                self.h2.close_connection()
                self.flush()
            self.transport.close()

    def handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.begin(event)
            return
        super().handle(event)
        if isinstance(event, StreamReset):
            self.resets += 1
            if (task := self.tasks.get(event.stream_id)) is not None:
                task.cancel()
            if self.resets > RESETS_MAX:
                self.h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                self.over.set()

    def begin(self, event: RequestReceived) -> None:
        number = event.stream_id
        stream = self.open(number)
        if self.task is None or self.server.closing or self.over.is_set() or len(self.tasks) >= STREAMS_MAX:
            self.reset(number, ErrorCodes.REFUSED_STREAM)
            return
        body = b"" if event.stream_ended is not None else IncomingBody(stream.inflow)
        self.idle_until = inf
        self.tasks[number] = self.server.tasks.create_task(self.serve(number, event, body), name="http/2 stream")

    async def serve(self, number: int, event: RequestReceived, body: bytes | IncomingBody) -> None:
        code = ErrorCodes.NO_ERROR
        try:
            try:
                request = self.request_of(event, body)
                response = await self.server.respond(request)
            except BadRequest as error:
                response = Response(error.status, {"content-type": "text/plain; charset=utf-8"}, f"{error}\n".encode())
            await self.answer(number, response, head_only=event_method(event) == b"HEAD")
        except asyncio.CancelledError:
            code = ErrorCodes.CANCEL
            raise
        except Exception as error:
            code = ErrorCodes.INTERNAL_ERROR
            if not isinstance(error, ConnectionError):
                log.error("a response was cut off", exc_info=error)
        finally:
            self.tasks.pop(number, None)
            stream = self.streams.get(number)
            if code is not ErrorCodes.NO_ERROR or (stream is not None and not stream.inflow.ended):
                self.reset(number, code)  # also where the rest of the request is nobody's any more
            self.forget(number)
            self.rest()

    def request_of(self, event: RequestReceived, body: bytes | IncomingBody) -> Request:
        special: dict[bytes, bytes] = {}
        headers: dict[str, str] = {}
        for name, value in event.headers:
            if bytes(name).startswith(PSEUDO):
                special[bytes(name)] = bytes(value)
            elif add_header(headers, bytes(name), bytes(value)) in SINGLE:
                raise BadRequest(f"more than one {bytes(name).decode()} header")
        if b":authority" in special:
            headers["host"] = special[b":authority"].decode("latin-1")
        if not headers.get("host"):
            raise BadRequest("missing required Host header")
        method = special.get(b":method", b"").decode("latin-1")
        path, query = split_target(method, special.get(b":path", b""))
        return Request(method, path, query, headers, body, peer_of(self.transport))

    async def answer(self, number: int, response: Response, *, head_only: bool) -> None:
        try:
            await self.send(number, response, head_only=head_only)
        except BadHeader as error:
            log.error("a request was not answered: %s", error)
            await self.send(number, Response(500), head_only=head_only)
        finally:
            if close := getattr(response.body, "aclose", None):
                await close()

    async def send(self, number: int, response: Response, *, head_only: bool) -> None:
        headers = [(":status", str(response.status)), *passed(response.headers)]
        if number not in self.streams:
            return
        empty = head_only or response.status in BODYLESS or response.body == b""
        if isinstance(response.body, bytes) and not empty and not any(name == "content-length" for name, _ in headers):
            headers.append(("content-length", str(len(response.body))))
        self.h2.send_headers(number, headers, end_stream=empty)
        self.resets = max(0, self.resets - 1)
        self.flush()
        if not empty:
            await self.send_body(number, pieces_of(response.body))
            self.end(number, response.trailers)


def event_method(event: RequestReceived) -> bytes:
    return next((bytes(value) for name, value in event.headers if bytes(name) == b":method"), b"")
