"""An HTTP server for one handler, over TCP, TLS or a unix socket.

    server = await serve(handler, host="127.0.0.1", port=0, ssl=context)
    ...
    await server.close()

- The handler is `async (Request) -> Response`; whatever it raises is logged and answered by `on_error`.
- Every connection has one task, all of them children of the server: after `close` none is left.
- `close` stops listening, lets requests finish that will, and cuts streams and upgraded connections, which have no end.
"""

import asyncio
import logging
import os
import socket
import ssl as tls
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from kybern.aio.clock import Clock, SystemClock
from kybern.web.head import DateHeader, response_head
from kybern.web.http import BadRequest, BodyTooLarge, Handler, Request, Response
from kybern.web.http1 import ServerProtocol
from kybern.web.http2.choosing import Choosing
from kybern.web.limits import DEFAULT_LIMITS, Limits

log = logging.getLogger(__name__)

SWEEP_SECONDS = 2.0
BACKLOG = 1024
RECORD_BYTES = 16 * 1024 + 64  # of TLS, at most
INCOMING_BYTES, OUTGOING_BYTES = 4 * RECORD_BYTES, 2 * RECORD_BYTES
"""What each connection has of TLS for itself, for as long as it lasts: hundreds that are sent long lists at once must not take
as much again as all that the server knows. Twice as much is a tenth quicker for a list of some megabytes, and no more for others.
"""


def plain_error(error: Exception) -> Response:
    """What a handler's exception becomes where nobody gave a better answer."""
    status, text = 500, b"internal server error\n"
    if isinstance(error, BodyTooLarge):
        status, text = 413, b"request body too large\n"
    return Response(status, {"Content-Type": "text/plain; charset=utf-8"}, text)


def no_handshake_failures(record: logging.LogRecord) -> bool:
    """A peer that breaks off its handshake is no event of ours (and aiofastnet's record of it cannot be formatted)."""
    return not str(record.msg).startswith("SSL handshake failed")


class ServedConnection(Protocol):
    """What the server knows of a connection, of whichever version of HTTP."""

    transport: asyncio.Transport
    task: asyncio.Task[None] | None

    @property
    def answering(self) -> bool:
        """Whether somebody waits for an answer."""

    @property
    def streaming(self) -> bool:
        """Whether the answer has no end of its own."""

    def overdue(self, now: float) -> bool: ...

    async def run(self) -> None: ...


class Server:
    def __init__(
        self,
        handler: Handler,
        on_error: Callable[[Exception], Response],
        limits: Limits,
        clock: Clock | None = None,
        http2: bool = False,
    ) -> None:
        self.http2 = http2
        self.handler = handler
        self.on_error = on_error
        self.limits = limits
        self.clock = clock or SystemClock()
        self.loop = asyncio.get_running_loop()
        self.date = DateHeader()
        self.closing = False
        self.connections: set[ServedConnection] = set()
        self.undecided: set[asyncio.Transport] = set()
        """Of connections that have not said yet which HTTP they speak."""
        self.tasks = asyncio.TaskGroup()
        self.listeners: list[asyncio.AbstractServer] = []
        self.sweeping: asyncio.TimerHandle | None = None
        shortest = min(limits.head_seconds, limits.idle_seconds, limits.body_stall_seconds, limits.write_stall_seconds)
        self.sweep_seconds = min(SWEEP_SECONDS, shortest / 4)

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return next(int(name[1]) for name in self.addresses() if isinstance(name, tuple))

    def addresses(self) -> list[object]:
        return [sock.getsockname() for listener in self.listeners for sock in getattr(listener, "sockets", ())]

    # For the connections.

    def has_room(self) -> bool:
        return not self.closing and len(self.connections) + len(self.undecided) < self.limits.connections_max

    def start(self, connection: ServedConnection) -> asyncio.Task[None] | None:
        if not self.has_room():
            connection.transport.abort()
            return None
        self.connections.add(connection)
        if self.sweeping is None:
            self.sweeping = self.loop.call_later(self.sweep_seconds, self.sweep)
        return self.tasks.create_task(connection.run(), name="http connection")

    def forget(self, connection: ServedConnection) -> None:
        self.connections.discard(connection)

    def sweep(self) -> None:
        """Ends the connections that are overdue: one timer for all of them."""
        now = self.loop.time()
        for connection in [each for each in self.connections if each.overdue(now)]:
            connection.transport.abort()
        self.sweeping = self.loop.call_later(self.sweep_seconds, self.sweep) if self.connections else None

    async def respond(self, request: Request) -> Response:
        """The handler's answer, or the one for its exception. The only place that catches what handlers raise."""
        try:
            return await self.handler(request)
        except BadRequest as error:
            return Response(error.status, {"Content-Type": "text/plain; charset=utf-8"}, f"{error}\n".encode())
        except Exception as error:
            if not isinstance(error, BodyTooLarge):
                log.error("%s %s failed", request.method, request.path, exc_info=error)
            return self.on_error(error)

    def head(self, response: Response, extra: str) -> bytes:
        return response_head(response.status, response.headers, self.date.at(self.clock.wall()) + extra)

    # For the owner.

    async def close(self, grace_seconds: float = 5.0) -> None:
        if self.closing:
            return
        self.closing = True
        for listener in self.listeners:
            listener.close()
        for transport in list(self.undecided):
            transport.abort()
        for connection in list(self.connections):
            if connection.task is not None and (connection.streaming or not connection.answering):
                connection.task.cancel()
        grace = self.loop.call_later(grace_seconds, self.cancel_all)
        await self.tasks.__aexit__(None, None, None)
        grace.cancel()
        for connection in list(self.connections):  # Those whose task never ran, and those that still flush.
            connection.transport.close()
        if self.sweeping is not None:
            self.sweeping.cancel()

    def cancel_all(self) -> None:
        for connection in list(self.connections):
            if connection.task is not None:
                connection.task.cancel()


async def serve(
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl: tls.SSLContext | None = None,
    limits: Limits = DEFAULT_LIMITS,
    sock: socket.socket | None = None,
    unix_path: str | None = None,
    on_error: Callable[[Exception], Response] = plain_error,
    clock: Clock | None = None,
    http2: bool = False,
) -> Server:
    """Listens on `host:port`, or on `sock`, or on a unix socket that it makes with mode 0600. `http2`: who wants that gets it,
    where TLS offers it (`tls.server_context`) or from the first byte on."""
    server = Server(handler, on_error, limits, clock, http2)
    await server.tasks.__aenter__()
    server.listeners.append(await listen(server, host, port, ssl, sock, unix_path))
    return server


async def listen(
    server: Server, host: str, port: int, ssl: tls.SSLContext | None, sock: socket.socket | None, unix_path: str | None
) -> asyncio.AbstractServer:
    loop = server.loop

    def protocol() -> asyncio.Protocol:
        return Choosing(server) if server.http2 else ServerProtocol(server)

    if unix_path is not None:
        sock = unix_socket(unix_path)
    elif sock is not None and sock.family != socket.AF_UNIX:
        # Connections inherit it. Else a second event would wait until the peer, in its own time, acknowledged the first.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if ssl is None:
        if sock is None:
            return await loop.create_server(protocol, host, port, backlog=BACKLOG)
        if sock.family == socket.AF_UNIX:
            return await loop.create_unix_server(protocol, sock=sock, backlog=BACKLOG)
        return await loop.create_server(protocol, sock=sock, backlog=BACKLOG)
    logging.getLogger("asyncio").addFilter(no_handshake_failures)
    where: dict[str, Any] = {"sock": sock} if sock is not None else {"host": host, "port": port}
    options = {"ssl": ssl, "backlog": BACKLOG, "ssl_handshake_timeout": server.limits.handshake_seconds, **where}
    try:
        import aiofastnet
    except ImportError:  # Optional: the event loop's own TLS does the same, slower.
        return await loop.create_server(protocol, **options)
    if ssl.sni_callback is not None:  # Its engine has no object to hand to the callback, and crashes.
        return await loop.create_server(protocol, **options)
    listener: asyncio.AbstractServer = await aiofastnet.create_server(
        loop, protocol, **options, ssl_incoming_bio_size=INCOMING_BYTES, ssl_outgoing_bio_size=OUTGOING_BYTES
    )
    return listener


def unix_socket(path: str) -> socket.socket:
    """A socket that only its owner may connect to; one left behind by a dead server is replaced."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(mask)
    return sock
