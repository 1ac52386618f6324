"""WebSocket (RFC 6455) over a connection that was taken over; `websockets` does the protocol, this does the I/O.

    response = accept(request, ["v5.channel.k8s.io"], serve)        # in a handler
    socket = await connect(client, request, ["v5.channel.k8s.io"])  # the other side

Pings are answered, fragments are joined, a message beyond `MESSAGE_BYTES_MAX` ends the connection with 1009.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidState, NegotiationError
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.http11 import Request as HandshakeRequest
from websockets.http11 import Response as HandshakeResponse
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from kybern.aio.timeouts import timeout
from kybern.web.client import Client
from kybern.web.http import Connection, Request, Response, Upgrade

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
CLOSE_SECONDS = 1.0  # How long a peer may take to answer a close.


class HandshakeRefused(Exception):
    """The server did not take the connection over as a WebSocket; `response` is what it said, with its body."""

    def __init__(self, message: str, response: Response) -> None:
        super().__init__(message)
        self.response = response


class WebSocket:
    def __init__(self, connection: Connection, protocol: ServerProtocol | ClientProtocol, subprotocol: str) -> None:
        self.connection = connection
        self.protocol = protocol
        self.subprotocol = subprotocol
        self.parts: list[bytes] = []
        self.messages: list[bytes | str] = []
        self.opcode = Opcode.BINARY
        self.receiving = False
        self.ended = asyncio.Event()

    async def receive(self) -> bytes | str | None:
        """The next message: bytes for a binary one, str for text. None when the peer closed or is gone."""
        self.receiving = True
        try:
            while not self.messages and not self.ended.is_set():
                await self.receive_more()
        finally:
            self.receiving = False
        return self.messages.pop(0) if self.messages else None

    async def receive_more(self) -> None:
        try:
            data = await self.connection.receive()
        except ConnectionError:
            self.ended.set()
            return
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        found = [self.message(event) for event in self.protocol.events_received()]
        self.messages.extend(message for message in found if message is not None)
        with suppress(ConnectionError):
            await self.flush()
        if not data or self.protocol.state is not OPEN:
            self.ended.set()

    def message(self, event: object) -> bytes | str | None:
        """The message that this frame completes."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            return None
        if event.opcode is not Opcode.CONT:
            self.opcode = event.opcode
        self.parts.append(bytes(event.data))
        if not event.fin:
            return None
        whole = b"".join(self.parts)
        self.parts.clear()
        return whole.decode("utf-8", "replace") if self.opcode is Opcode.TEXT else whole

    async def send(self, message: bytes | str) -> None:
        try:
            if isinstance(message, str):
                self.protocol.send_text(message.encode())
            else:
                self.protocol.send_binary(message)
        except InvalidState as error:
            raise ConnectionResetError("the WebSocket is closed") from error
        await self.flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Says goodbye, waits a moment for the answer, and ends the connection. Another task may be receiving."""
        with suppress(ConnectionError, TimeoutError, InvalidState):
            if self.protocol.state is OPEN:
                self.protocol.send_close(code, reason)
                await self.flush()
            async with timeout(CLOSE_SECONDS):
                while not self.ended.is_set():
                    if self.receiving:
                        await self.ended.wait()
                    else:
                        await self.receive_more()
        self.connection.close()

    async def flush(self) -> None:
        data = b"".join(self.protocol.data_to_send())
        if data:
            await self.connection.send(data)


class WebSocketConnection:
    """A `Connection` whose bytes travel in binary messages; where one ends and the next begins has no meaning."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket

    async def receive(self) -> bytes:
        message = b""
        while message == b"":
            arrived = await self.socket.receive()
            if arrived is None:
                return b""
            message = arrived if isinstance(arrived, bytes) else arrived.encode()
        return message

    async def send(self, data: bytes) -> None:
        await self.socket.send(data)

    async def send_eof(self) -> None:
        """A WebSocket has no half-close."""

    def close(self) -> None:
        self.socket.connection.close()


def accept(
    request: Request,
    subprotocols: Sequence[str],
    serve: Callable[[WebSocket], Awaitable[None]],
    *,
    required: bool = True,
) -> Response:
    """An `Upgrade` that runs `serve`, or the refusal. The client's first subprotocol that we know is taken.

    A client that asks for none is refused where one is `required`.
    """
    header = request.headers.get("sec-websocket-protocol", "")
    offered = [name.strip() for name in header.split(",") if name.strip()]
    chosen = next((name for name in offered if name in subprotocols), "")
    if not chosen and (required or offered):
        text = f"unable to negotiate protocol: client supports {offered}, server accepts {list(subprotocols)}"
        return Response(400, {"Content-Type": "text/plain; charset=utf-8"}, text.encode())
    protocol = ServerProtocol(state=OPEN, max_size=MESSAGE_BYTES_MAX)
    handshake = HandshakeRequest(request.path, Headers(without_subprotocol(request.headers)), method=request.method)
    answer = protocol.accept(handshake)
    if answer.status_code != 101:
        return Response(answer.status_code, {"Content-Type": "text/plain; charset=utf-8"}, bytes(answer.body))

    async def takeover(connection: Connection) -> None:
        await serve(WebSocket(connection, protocol, chosen))

    headers = {name: answer.headers[name] for name in ("Upgrade", "Sec-WebSocket-Accept")}
    return Upgrade(101, {**headers, **({"Sec-WebSocket-Protocol": chosen} if chosen else {})}, takeover=takeover)


async def connect(client: Client, request: Request, subprotocols: Sequence[str]) -> WebSocket:
    """HandshakeRefused with the server's answer where it does not take the connection over."""
    uri = WebSocketURI(client.secure, client.host, client.port, request.path, request.query, None, None)
    protocol = ClientProtocol(uri, state=OPEN, max_size=MESSAGE_BYTES_MAX)
    asked = {name.lower(): value for name, value in protocol.connect().headers.raw_items() if name.lower() != "host"}
    if subprotocols:
        asked["sec-websocket-protocol"] = ", ".join(subprotocols)
    response, connection = await client.upgrade(
        Request("GET", request.path, request.query, {**asked, **request.headers})
    )
    if connection is None:
        raise HandshakeRefused(f"the server answered {response.status}", response)
    chosen = response.headers.get("sec-websocket-protocol", "")
    try:
        protocol.process_response(HandshakeResponse(101, "", Headers(without_subprotocol(response.headers))))
        if chosen and chosen not in subprotocols:
            raise NegotiationError(f"the server chose {chosen!r}, which was not offered")
    except InvalidHandshake as error:
        connection.close()
        raise HandshakeRefused(str(error), response) from error
    return WebSocket(connection, protocol, chosen)


def without_subprotocol(headers: Mapping[str, str]) -> dict[str, str]:
    """`websockets` takes tokens only (RFC 6455 section 4.1), and Kubernetes has `SPDY/3.1+portforward.k8s.io`."""
    return {name: value for name, value in headers.items() if name.lower() != "sec-websocket-protocol"}
