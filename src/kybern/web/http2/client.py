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

from kybern.aio.timeouts import timeout
from kybern.web.client_errors import BadResponse, ClientError, ConnectFailed, ConnectionLost, ResponseTimeout
from kybern.web.head import add_header
from kybern.web.http import Request, Response
from kybern.web.http2.connection import Http2Connection, passed, pieces_of

CONNECT_SECONDS = 5.0
RESPONSE_SECONDS = 65.0
STALL_SECONDS = 60.0
CONNECTIONS_MAX = 32
STREAMS_MAX = 256
WINDOW_BYTES = 65_535  # of a stream, where nobody says otherwise; of a connection that of all streams that it may have


class Http2Client:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.connections: list[ClientHttp2] = []
        self.one_at_a_time = asyncio.Lock()
        self.group: asyncio.TaskGroup | None = None

    async def send(self, request: Request) -> Response:
        """The answer, as soon as its head is there. ClientError where there is none."""
        try:
            async with timeout(RESPONSE_SECONDS):
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
            async with timeout(CONNECT_SECONDS):
                _, made = await asyncio.get_running_loop().create_connection(ClientHttp2, self.host, self.port)
                await made.greets()
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
        pump = connection.pump(number, request)
        connection.pumps[number] = self.group.create_task(pump, name="http/2 request body")

    def close(self) -> None:
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
        self.pumps: dict[int, asyncio.Task[None]] = {}
        self.greeted = asyncio.Event()
        self.last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # The requests are of many people: one who does not read what comes must not hold back what comes for the others.
        self.h2.increment_flow_control_window((STREAMS_MAX - 1) * WINDOW_BYTES)
        self.flush()

    async def greets(self) -> None:
        """How many requests it takes at once is among the first it says. One that says nothing is not kept."""
        try:
            await self.greeted.wait()
        except BaseException:
            self.transport.abort()
            raise

    def has_room(self) -> bool:
        if self.terminated or self.last:
            return False
        return self.h2.open_outbound_streams < min(STREAMS_MAX, self.h2.remote_settings.max_concurrent_streams)

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
        except Exception as error:  # noqa: BLE001 - ours, or that of whoever the body comes from: who waits is told
            self.fail(number, ConnectionLost(f"the request was cut off: {error}"))
            self.pumps.pop(number, None)
            self.reset(number, ErrorCodes.CANCEL)
        finally:
            self.pumps.pop(number, None)

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
        status = b""
        for name, value in event.headers:
            if bytes(name) == b":status":
                status = bytes(value)
            else:
                add_header(headers, bytes(name), bytes(value))
        head = self.heads.get(number)
        if head is None or head.done() or number not in self.streams:
            return
        if not (status.isdigit() and len(status) == 3):
            head.set_exception(BadResponse("the answer has no status"))
            return
        response = Response(int(status), headers)
        head.set_result(response)
        if event.stream_ended is None:
            response.body = AnswerBody(self, number)
            self.responses[number] = response
        else:
            self.finish(number)

    def finish(self, number: int) -> None:
        """The answer is at its end, or nobody wants the rest: what is left of the request goes nowhere either."""
        self.reset(number, ErrorCodes.CANCEL)

    def forget(self, number: int) -> None:
        super().forget(number)
        self.responses.pop(number, None)
        if (pump := self.pumps.pop(number, None)) is not None:
            pump.cancel()
        if self.last or self.terminated:
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
            self.connection.finish(self.number)
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Gives the rest up, if there is any."""
        self.connection.finish(self.number)
