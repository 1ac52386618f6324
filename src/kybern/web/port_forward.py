"""Port-forward: connections to ports of a pod, over SPDY, over SPDY inside a WebSocket, and over plain WebSocket.

- SPDY `portforward.k8s.io`: for each connection the client opens a stream for data and one for errors, which belong
  together by their header `requestID` and name the port.
- WebSocket `SPDY/3.1+portforward.k8s.io` (kubectl from 1.31) carries the bytes of that same SPDY session.
- WebSocket `v4.channel.k8s.io`: one connection for each port named in the URL, on the channels 2n and 2n+1, each of
  which starts with the port's number.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from kybern.web.addresses import is_port
from kybern.web.channel import Channel
from kybern.web.http import Connection, Request, Response, Upgrade
from kybern.web.remote_spdy import negotiate, refusal, upgrade_headers
from kybern.web.spdy import SpdySession, SpdyStream

log = logging.getLogger(__name__)

Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects to a port; the text of the OSError that it raises goes to the client."""

SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
READ_BYTES_MAX = 32 * 1024
PAIRS_MAX = 1000


def accept_port_forward(request: Request, ports: Sequence[int], connect: Connect) -> Response:
    """`ports` are those of the URL, which only the plain WebSocket protocol uses."""
    protocol = request.headers.get("upgrade", "").lower()
    if protocol == "websocket":
        return accept_websocket(request, ports, connect)
    if protocol != "spdy/3.1":
        return Response(400, {"Content-Type": "text/plain"}, b"Upgrade request required")
    version = negotiate(request, (SPDY_PROTOCOL,))
    if version is None:
        return refusal((SPDY_PROTOCOL,))

    async def takeover(connection: Connection) -> None:
        await forward_session(connection, connect)

    return Upgrade(101, upgrade_headers(version), takeover=takeover)


def accept_websocket(request: Request, ports: Sequence[int], connect: Connect) -> Response:
    from kybern.web import websocket  # websockets takes 80 ms to import
    from kybern.web.remote_websocket import SocketChannels

    async def takeover(socket: websocket.WebSocket) -> None:
        if socket.subprotocol == TUNNEL_PROTOCOL:
            await forward_session(websocket.WebSocketConnection(socket), connect)
            await socket.close()
            return
        async with asyncio.TaskGroup() as group:
            channels = SocketChannels(socket, count=2 * len(ports))
            reading = group.create_task(channels.run())
            forwards = []
            for index, port in enumerate(ports):
                data, error = channels[2 * index], channels[2 * index + 1]
                for channel in (data, error):
                    await channel.send(port.to_bytes(2, "little"))
                forwards.append(group.create_task(forward(port, data, error, connect)))
            await asyncio.wait([reading, *forwards], return_when=asyncio.ALL_COMPLETED)
            await socket.close()

    if not ports and TUNNEL_PROTOCOL not in request.headers.get("sec-websocket-protocol", ""):
        return Response(400, {"Content-Type": "text/plain"}, b'query parameter "port" is required')
    return websocket.accept(request, (TUNNEL_PROTOCOL, *WEBSOCKET_PROTOCOLS), takeover)


async def forward_session(connection: Connection, connect: Connect) -> None:
    """Serves a SPDY session until it ends; the connections made for it end with it."""
    session = SpdySession(connection, server=True)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(session.run())
        halves: dict[str, SpdyStream] = {}
        while (stream := await session.accept()) is not None:
            other = await pair(halves, stream)
            if other is not None:
                data, error = (stream, other) if stream.headers["streamtype"] == "data" else (other, stream)
                group.create_task(forward(int(data.headers["port"]), data, error, connect))
        await asyncio.wait([reading])
        connection.close()


async def pair(halves: dict[str, SpdyStream], stream: SpdyStream) -> SpdyStream | None:
    """The stream's other half when it is there already; refuses what is no half of anything."""
    headers = stream.headers
    kind, port, key = headers.get("streamtype"), headers.get("port", ""), headers.get("requestid", "")
    well_formed = kind in ("data", "error") and is_port(port)
    key = f"{key} {port}"
    other = halves.pop(key, None)
    if not well_formed or len(halves) >= PAIRS_MAX or (other is not None and other.headers["streamtype"] == kind):
        await stream.reset()
        return None
    if other is None:
        halves[key] = stream
    await stream.reply()
    return other


async def forward(port: int, data: Channel, error: Channel, connect: Connect) -> None:
    """One connection, from its first byte to the end of both directions."""
    try:
        try:
            reader, writer = await connect(port)
        except OSError as failed:
            await error.send(str(failed).encode())
            return
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(to_port(data, writer))
                await from_port(reader, data)
                await data.close()
                await error.close()
                sending.cancel()
        finally:
            writer.close()
    except* ConnectionError:
        log.debug("a forwarded connection to port %d broke", port)
    finally:
        data.ignore()
        await quietly_close(data, error)


async def to_port(data: Channel, writer: asyncio.StreamWriter) -> None:
    while piece := await data.receive():
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def from_port(reader: asyncio.StreamReader, data: Channel) -> None:
    while piece := await reader.read(READ_BYTES_MAX):
        await data.send(piece)


async def quietly_close(*channels: Channel) -> None:
    for channel in channels:
        try:
            await channel.close()
        except ConnectionError:
            return
