"""An HTTP/1.1 client: the same `Request -> Response` function as a handler, over pooled connections.

    async with Client("https://127.0.0.1:6443", ssl=context) as client:
        response = await client.send(Request("GET", "/version"))

- A body of at most `SMALL_BODY_BYTES_MAX` that announces its length comes as bytes; everything else streams.
  A stream holds its connection until it is read to its end or closed (`aclose`).
- A request is sent again only where its kept connection was found closed before any byte of an answer, and then only
  when it was not sent at all or reads only.
"""

import asyncio
import os
import ssl as tls
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from kybern.aio import timeouts
from kybern.web.client_connection import ClientConnection, ResponseStream
from kybern.web.client_errors import (
    BadResponse,
    ClientError,
    ConnectFailed,
    ConnectionLost,
    ResponseTimeout,
    StaleConnection,
)
from kybern.web.http import Connection, Request, Response

__all__ = [
    "BadResponse",
    "Client",
    "ClientError",
    "ConnectFailed",
    "ConnectionLost",
    "ResponseTimeout",
    "end_to_end_headers",
]

SMALL_BODY_BYTES_MAX = 64 * 1024
REFUSAL_BYTES_MAX = 1024 * 1024  # Of the answer that comes instead of an upgrade.
READ_ONLY = ("GET", "HEAD", "OPTIONS")
IDLE_CONNECTIONS_MAX = 32
CONNECT_SECONDS = 10.0
RESPONSE_SECONDS = 65.0  # A little more than a server's own limit of 60 s for one request.


class Client:
    def __init__(
        self,
        base_url: str,
        *,
        ssl: tls.SSLContext | None = None,
        unix_path: str | None = None,
        server_hostname: str | None = None,
        headers: Mapping[str, str] | None = None,
        authorization: Callable[[], str] | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        response_seconds: float = RESPONSE_SECONDS,
        idle_connections_max: int = IDLE_CONNECTIONS_MAX,
    ) -> None:
        """`headers` go with every request; `authorization` is asked each time, so that a token may be renewed.

        With `idle_connections_max` 0 every connection ends with its answer, and the client need not be closed.
        """
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not (url.hostname or unix_path):
            raise ValueError(f"not an HTTP address: {base_url!r}")
        self.secure = url.scheme == "https"
        self.host = url.hostname or "localhost"
        self.port = url.port or (443 if self.secure else 80)
        self.prefix = url.path.rstrip("/")
        self.authority = url.netloc.rpartition("@")[2] or "localhost"
        self.ssl = (ssl or tls.create_default_context()) if self.secure else None
        self.unix_path = unix_path
        self.server_hostname = server_hostname
        self.headers = dict(headers or {})
        self.authorization = authorization
        self.connect_seconds = connect_seconds
        self.response_seconds = response_seconds
        self.idle_connections_max = idle_connections_max
        self.idle: list[ClientConnection] = []
        self.open: set[ClientConnection] = set()
        self.closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        for connection in list(self.open):
            connection.abort()
        self.idle.clear()

    def close_idle(self) -> None:
        """Ends the connections that nothing is under way on; the others end when they are done."""
        self.idle_connections_max = 0
        for connection in list(self.idle):
            connection.abort()
        self.idle.clear()

    async def send(self, request: Request, *, timeout: float | None = None) -> Response:
        """The answer, whatever its status. `timeout` bounds the wait for its head (and for a small body)."""
        try:
            async with timeouts.timeout(timeout or self.response_seconds):
                connection, response = await self.exchange(request)
                return await self.finished(connection, response)
        except TimeoutError:
            raise ResponseTimeout(f"no answer to {request.method} {request.path} in time") from None

    async def upgrade(self, request: Request) -> tuple[Response, Connection | None]:
        """The answer, and with status 101 the connection; the caller closes it. Another answer comes with its body."""
        try:
            async with timeouts.timeout(self.response_seconds):
                connection, response = await self.exchange(request, fresh=True)
                if response.status == 101:
                    self.open.discard(connection)
                    return response, connection.take()
                try:
                    response.body = await response.read(REFUSAL_BYTES_MAX)
                finally:
                    connection.abort()
                return response, None
        except TimeoutError:
            raise ResponseTimeout(f"no answer to {request.method} {request.path} in time") from None

    async def exchange(self, request: Request, *, fresh: bool = False) -> tuple[ClientConnection, Response]:
        """Sends, and waits for the head of the answer."""
        while True:
            kept = None if fresh else self.kept()
            connection = kept or await self.connect()
            try:
                return connection, await connection.exchange(request, self.prefix, self.own_headers(request))
            except StaleConnection as error:
                self.open.discard(connection)
                replayable = isinstance(request.body, bytes) and (not error.sent or request.method in READ_ONLY)
                if kept is None or not replayable:
                    raise ConnectionLost("the server closed the connection without an answer") from error
            except BaseException:
                connection.abort()
                raise

    async def finished(self, connection: ClientConnection, response: Response) -> Response:
        stream = response.body
        if not isinstance(stream, ResponseStream):
            self.release(connection)
            return response
        if stream.length is None or stream.length > SMALL_BODY_BYTES_MAX:
            stream.on_end = self.release
            return response
        try:
            response.body = await response.read()
        except BaseException:
            connection.abort()
            raise
        self.release(connection)
        return response

    def own_headers(self, request: Request) -> dict[str, str]:
        headers = {"Host": self.authority, **self.headers}
        if self.authorization is not None and "authorization" not in request.headers:
            headers["Authorization"] = self.authorization()
        return headers

    def kept(self) -> ClientConnection | None:
        while self.idle:
            connection = self.idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    def release(self, connection: ClientConnection) -> None:
        """Keeps the connection for the next request where both sides agree to."""
        if connection.usable and not self.closed and len(self.idle) < self.idle_connections_max:
            self.idle.append(connection)
        else:
            connection.abort()

    async def connect(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        try:
            async with timeouts.timeout(self.connect_seconds):
                if self.unix_path is not None:
                    _, made = await loop.create_unix_connection(self.protocol, self.unix_path)
                else:
                    name = self.server_hostname or self.host if self.ssl else None
                    connect = fast_connector(loop) if self.ssl else loop.create_connection
                    _, made = await connect(self.protocol, self.host, self.port, ssl=self.ssl, server_hostname=name)
        except TimeoutError:
            raise ConnectFailed(f"{self.where()}: no connection within {self.connect_seconds:g} s") from None
        except (OSError, tls.CertificateError) as error:
            plain = isinstance(error, ConnectionError) and error.errno  # asyncio's own text only repeats the address.
            said = os.strerror(error.errno).lower() if plain and error.errno else error
            raise ConnectFailed(f"{self.where()}: {said}") from error
        self.open.add(made)
        return made

    def protocol(self) -> ClientConnection:
        return ClientConnection(self.forget)

    def forget(self, connection: ClientConnection) -> None:
        """It is gone."""
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def where(self) -> str:
        return self.unix_path or f"{self.host}:{self.port}"


def fast_connector(loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """aiofastnet's TLS saves a third of a request, for a longer import: right for processes that stay, which run uvloop."""
    if type(loop).__module__.startswith("uvloop"):
        with suppress(ImportError):
            import aiofastnet

            return partial(aiofastnet.create_connection, loop)
    return loop.create_connection


def end_to_end_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Without the headers that concern one connection only, as a proxy passes a message on (RFC 9110 section 7.6.1)."""
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    dropped = named | {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"}
    return {name: value for name, value in headers.items() if name.lower() not in dropped}
