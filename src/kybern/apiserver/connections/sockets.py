"""Streams for browsers, which read them only over WebSocket: a watch's events and a log, a message at a time.

- A watch: each event is a message, text for JSON. Any one subprotocol that the client names is taken.
- A log: `binary.k8s.io`, or `base64.binary.k8s.io` for clients that can read only text; binary where none is named.
- The stream ends when the client closes, and the socket when the stream does.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from kybern.web.http import Request, Response
from kybern.web.websocket import WebSocket, accept

BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"
TOKEN_PREFIX = "base64url.bearer.authorization.k8s.io."
LENGTH_BYTES = 4

Messages = Callable[[bytes], Iterable[bytes | str]]


def wants_websocket(request: Request) -> bool:
    return (
        request.headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in request.headers.get("connection", "").lower()
    )


def watch_over_websocket(request: Request, response: Response, *, binary: bool) -> Response:
    offered = offered_by(request)
    return carried(request, response, offered[:1], lambda protocol: framed_messages if binary else lines)


def log_over_websocket(request: Request, response: Response) -> Response:
    def messages(protocol: str) -> Messages:
        return as_base64 if protocol == BASE64 else as_it_is

    return carried(request, response, [BINARY, BASE64], messages)


def carried(
    request: Request, response: Response, subprotocols: list[str], messages: Callable[[str], Messages]
) -> Response:
    """The answer's body as messages; the answer itself where it is a refusal."""
    if response.status != 200:
        return response

    async def serve(socket: WebSocket) -> None:
        await send_all(socket, response.body, messages(socket.subprotocol))

    asked = {**request.headers, "sec-websocket-protocol": ", ".join(offered_by(request))}
    return accept(Request(request.method, request.path, request.query, asked), subprotocols, serve, required=False)


def offered_by(request: Request) -> list[str]:
    """The subprotocols that a client speaks, without the one that is its token."""
    names = (name.strip() for name in request.headers.get("sec-websocket-protocol", "").split(","))
    return [name for name in names if name and not name.startswith(TOKEN_PREFIX)]


async def send_all(socket: WebSocket, body: Any, messages: Messages) -> None:
    async def until_closed() -> None:
        while await socket.receive() is not None:
            pass
        sending.cancel()

    async def send() -> None:
        async for piece in pieces_of(body):
            for message in messages(piece):
                await socket.send(message)

    try:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(send())
            reading = tasks.create_task(until_closed())
            sending.add_done_callback(lambda _: reading.cancel())
    except* ConnectionError:
        pass
    finally:
        if close := getattr(body, "aclose", None):
            await close()
        await socket.close()


async def pieces_of(body: Any) -> AsyncIterator[bytes]:
    if isinstance(body, AsyncIterator):
        async for piece in body:
            yield piece
    else:
        yield body if isinstance(body, bytes) else b"".join(body)


def lines(piece: bytes) -> Iterator[str]:
    return (line.decode() for line in piece.splitlines(keepends=True))


def framed_messages(piece: bytes) -> Iterator[bytes]:
    """Without the length that stands before each event in a plain stream."""
    at = 0
    while at < len(piece):
        end = at + LENGTH_BYTES + int.from_bytes(piece[at : at + LENGTH_BYTES], "big")
        yield piece[at + LENGTH_BYTES : end]
        at = end


def as_it_is(piece: bytes) -> Iterator[bytes]:
    if piece:
        yield piece


def as_base64(piece: bytes) -> Iterator[str]:
    if piece:
        yield base64.b64encode(piece).decode()
