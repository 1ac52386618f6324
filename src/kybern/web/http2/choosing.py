"""Which HTTP a connection of a server speaks: what TLS agreed on (ALPN), or what its first bytes are (RFC 9113 section 3.4)."""

import asyncio
from typing import TYPE_CHECKING, cast

from kybern.web.http1 import ServerProtocol

if TYPE_CHECKING:
    from kybern.web.server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Choosing(asyncio.Protocol):
    """Until it is known; then the transport is another protocol's. The server counts it, and ends it, like the others."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.seen = b""
        self.late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if not self.server.has_room():
            self.transport.abort()
            return
        self.server.undecided.add(self.transport)
        tls = transport.get_extra_info("ssl_object")
        self.late = self.server.loop.call_later(self.server.limits.head_seconds, self.transport.abort)
        if tls is not None:
            self.become(http2=tls.selected_alpn_protocol() == "h2")

    def data_received(self, data: bytes) -> None:
        self.seen += data
        if not PREFACE.startswith(self.seen[: len(PREFACE)]):
            self.become(http2=False)
        elif len(self.seen) >= len(PREFACE):
            self.become(http2=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self.decided()

    def decided(self) -> None:
        self.server.undecided.discard(self.transport)
        if self.late is not None:
            self.late.cancel()

    def become(self, *, http2: bool) -> None:
        self.decided()
        chosen: asyncio.Protocol
        if http2:
            from kybern.web.http2.server import ServerHttp2  # with h2, which takes a while to import

            chosen = ServerHttp2(self.server)
        else:
            chosen = ServerProtocol(self.server)
        self.transport.set_protocol(chosen)
        chosen.connection_made(self.transport)
        if self.seen:
            chosen.data_received(self.seen)
