"""An HTTP/2 client for a server that is known to speak it (h2c by prior knowledge): requests share connections, and the request's
body goes on while the answer comes, as gRPC's streams need it.

The same `Request -> Response` as `web.client`. `response.trailers` is filled once the body is at its end.
"""

import asyncio
from collections.abc import AsyncIterator

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from kybern.web.client_errors import ClientError, ConnectFailed, ConnectionLost, ResponseTimeout
from kybern.web.head import add_header
from kybern.web.http import BadRequest, Request, Response
from kybern.web.http2.connection import Http2Connection, passed, pieces_of

CONNECT_SECONDS = 5.0
RESPONSE_SECONDS = 65.0
STALL_SECONDS = 60.0
CONNECTIONS_MAX = 32


class Http2Client:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.connections: list[ClientHttp2] = []
        self.one_at_a_time = asyncio.Lock()
        self.group: asyncio.TaskGroup | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def send(self, request: Request) -> Response:
        """The answer, as soon as its head is there. ClientError where there is none."""
        try:
            async with asyncio.timeout(RESPONSE_SECONDS):
                async with self.one_at_a_time:  # those who come together share what the first one opens
                    connection = await self.connected()
                return await self.exchange(connection, request)
        except TimeoutError:
            raise ResponseTimeout(f"no answer to {request.method} {request.path} in time") from None

    async def connected(self) -> "ClientHttp2":
        self.connections = [each for each in self.connections if not each.outflow.lost]
        for connection in self.connections:
            if connection.has_room():
                return connection
        if len(self.connections) >= CONNECTIONS_MAX:
            raise ConnectFailed(f"{self.host}:{self.port} takes no further request")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, made = await asyncio.get_running_loop().create_connection(ClientHttp2, self.host, self.port)
                await made.greeted.wait()  # how many requests it takes at once is among the first it says
        except (OSError, TimeoutError) as error:
            raise ConnectFailed(f"cannot connect to {self.host}:{self.port}: {error}") from error
        if made.outflow.lost:
            raise ConnectFailed(f"{self.host}:{self.port} does not speak HTTP/2")
        self.connections.append(made)
        return made

    async def exchange(self, connection: "ClientHttp2", request: Request) -> Response:
        number = connection.begin(request)
        try:
            if request.body == b"":
                connection.end(number, {})
            else:
                await self._send(connection, number, request)
            return await connection.heads[number]
        except Refused as error:
            connection.forget(number)
            # Nobody looked at it, so it may be sent again, where it can be: a stream has been read by now.
            kind = ConnectFailed if isinstance(request.body, bytes) else ConnectionLost
            raise kind(str(error)) from error
        except BaseException:
            connection.reset(number, ErrorCodes.CANCEL)
            raise
        finally:
            connection.heads.pop(number, None)

    async def _send(self, connection: "ClientHttp2", number: int, request: Request) -> None:
        if self.group is None:
            self.group = asyncio.TaskGroup()
            await self.group.__aenter__()
        task = self.group.create_task(connection.pump(number, request), name="http/2 request body")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        for connection in self.connections:
            connection.transport.abort()

    def close_idle(self) -> None:
        """The others end when they are done."""
        for connection in self.connections:
            connection.ends_when_idle()


class Refused(Exception):
    """The server has not begun with the request."""


class ClientHttp2(Http2Connection):
    def __init__(self) -> None:
        super().__init__(is_client=True, stall_seconds=STALL_SECONDS)
        self.heads: dict[int, asyncio.Future[Response]] = {}
        self.responses: dict[int, Response] = {}
        self.greeted = asyncio.Event()
        self.last = False

    def has_room(self) -> bool:
        if self.terminated or self.last:
            return False
        return self.h2.open_outbound_streams < self.h2.remote_settings.max_concurrent_streams

    def ends_when_idle(self) -> None:
        self.last = True
        if not self.streams and not self.outflow.lost:
            self.transport.close()

    def begin(self, request: Request) -> int:
        number = self.h2.get_next_available_stream_id()
        target = f"{request.path}?{request.query}" if request.query else request.path
        special = [
            (":method", request.method),
            (":scheme", "http"),
            (":authority", request.headers.get("host", "")),
            (":path", target),
        ]
        try:
            self.h2.send_headers(number, [*special, *passed(request.headers), ("te", "trailers")])
        except ProtocolError as error:
            self.last = True
            raise ConnectionLost(f"the request cannot be sent: {error}") from error
        self.open(number)
        self.heads[number] = asyncio.get_running_loop().create_future()
        self.flush()
        return number

    async def pump(self, number: int, request: Request) -> None:
        try:
            await self.send_body(number, pieces_of(request.body))
            self.end(number, {})
        except (ConnectionError, ProtocolError, BadRequest, ClientError) as error:
            # Ours, or that of whoever the body comes from: whoever waits for the answer is told.
            self.reset(number, ErrorCodes.CANCEL)
            self.fail(number, ConnectionLost(f"the request was cut off: {error}"))

    def broken(self, error: Exception | None) -> None:
        self.greeted.set()
        for number in list(self.heads):
            self.fail(number, ConnectionLost("the connection ended without an answer"))

    def fail(self, number: int, error: ClientError | Refused) -> None:
        head = self.heads.get(number)
        if head is not None and not head.done():
            head.set_exception(error)

    def handle(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            self.answer(event)
            return
        if isinstance(event, TrailersReceived):
            response = self.responses.get(event.stream_id)
            if response is not None and isinstance(response.trailers, dict):
                for name, value in event.headers:
                    add_header(response.trailers, bytes(name), bytes(value))
            return
        super().handle(event)
        if isinstance(event, RemoteSettingsChanged):
            self.greeted.set()
        elif isinstance(event, StreamReset):
            refused = event.error_code == ErrorCodes.REFUSED_STREAM
            lost = ConnectionLost("the server gave the stream up without an answer")
            self.fail(event.stream_id, Refused("the server refused the stream") if refused else lost)
        elif isinstance(event, ConnectionTerminated):
            for number in [each for each in self.heads if each > (event.last_stream_id or 0)]:
                self.fail(number, Refused("the server goes away"))

    def answer(self, event: ResponseReceived) -> None:
        number, headers = event.stream_id, dict[str, str]()
        status = 0
        for name, value in event.headers:
            if bytes(name) == b":status":
                status = int(bytes(value))
            else:
                add_header(headers, bytes(name), bytes(value))
        response = Response(status, headers)
        if event.stream_ended is None:
            response.body = AnswerBody(self, number)
            self.responses[number] = response
        head = self.heads.get(number)
        if head is not None and not head.done():
            head.set_result(response)

    def forget(self, number: int) -> None:
        super().forget(number)
        self.responses.pop(number, None)
        if self.last:
            self.ends_when_idle()


class AnswerBody(AsyncIterator[bytes]):
    def __init__(self, connection: ClientHttp2, number: int) -> None:
        self.connection, self.number = connection, number
        self.inflow = connection.streams[number].inflow

    async def __anext__(self) -> bytes:
        try:
            piece = await self.inflow.next()
        except ConnectionError as error:
            raise ConnectionLost("the stream ended within a response") from error
        if not piece:
            self.connection.forget(self.number)
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Gives the rest up, if there is any."""
        self.connection.reset(self.number, ErrorCodes.CANCEL)
