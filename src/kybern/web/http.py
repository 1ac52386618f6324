"""A request and a response, the same two values on both sides of a connection and without any connection at all.

- A server is a function: `Handler = async (Request) -> Response`.
- A client is the same function pointing the other way, so a handler can stand in for a network in tests.
- A response body is bytes, several pieces that are written as one (some `Joined` only then), or an async iterator that
  streams.
- An `Upgrade` is a response that takes the connection over (RFC 9110 section 7.8).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from kybern.web.escapes import pairs_of

BODY_BYTES_MAX = 3 * 1024 * 1024  # upstream's limit for one request body
PARAMS_MAX = 4_000
"""All are read at once, and before it is known who asks. A command that exec runs has one for each of its arguments."""

PIECE_BYTES = 32 * 1024  # what a long body is joined by: a record or two on the way out for each connection


class Joined:
    """A long body that is joined piece by piece as it is written: of many that are under way, each holds little but what
    they share."""

    def __init__(self, head: bytes, items: Sequence[bytes], separator: bytes, tail: bytes) -> None:
        self.head, self.items, self.separator, self.tail = head, items, separator, tail
        between = len(separator) * max(len(items) - 1, 0)
        self.length = len(head) + sum(map(len, items)) + between + len(tail)

    def __iter__(self) -> Iterator[bytes]:
        """In pieces of about `PIECE_BYTES`, each copied once."""
        if not self.items:
            yield self.head + self.tail
            return
        count = max(1, PIECE_BYTES * len(self.items) // self.length)
        for first in range(0, len(self.items), count):
            some = [*self.items[first : first + count]]
            some[0] = (self.separator if first else self.head) + some[0]
            if first + count >= len(self.items):
                some[-1] += self.tail
            yield self.separator.join(some)


Body = bytes | Sequence[bytes] | Joined | AsyncIterator[bytes]


class Peer(Struct, frozen=True):
    """Who is at the other end."""

    address: str = ""
    """`IP:port`, or a path for a unix socket; empty in memory."""
    certificate: bytes | None = None
    """The client's verified certificate (DER), leaf only."""
    authority: bytes | None = None
    """The certificate (DER) that the verified chain ends in. None where TLS does not tell."""


NOBODY = Peer()


class BodyTooLarge(Exception):
    """The body is longer than the reader allows."""


class BadRequest(Exception):
    """What arrived is not HTTP as RFC 9112 has it; `status` says which refusal fits."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Request(Struct):
    method: str
    path: str
    """Percent-encoded, as it came, without the query."""
    query: str = ""
    """As it came, without the question mark."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; a repeated header is joined with `, `."""
    body: bytes | AsyncIterator[bytes] = b""
    peer: Peer = NOBODY
    repeated: tuple[tuple[str, str], ...] = ()
    """Headers to be sent one line for each, where what reads them knows no commas; of a request that came, the lines of
    those that came more than once."""

    async def read(self, bytes_max: int = BODY_BYTES_MAX) -> bytes:
        """The whole body. BodyTooLarge as soon as it is known to be longer than `bytes_max`."""
        if not isinstance(self.body, bytes):
            pieces, size = [], 0
            async for piece in self.body:
                size += len(piece)
                if size > bytes_max:
                    raise BodyTooLarge
                pieces.append(piece)
            self.body = b"".join(pieces)
        if len(self.body) > bytes_max:
            raise BodyTooLarge
        return self.body

    def lines(self, name: str) -> list[str]:
        """A header's values, one for each time it came: a comma in one of them is not the end of it."""
        several = [value for key, value in self.repeated if key == name]
        return several or ([self.headers[name]] if name in self.headers else [])

    def params(self) -> dict[str, list[str]]:
        """The query, decoded: every name with its values in order. BadRequest where there are too many of them."""
        found: dict[str, list[str]] = {}
        if self.query.count("&") >= PARAMS_MAX:
            raise BadRequest(f"more than {PARAMS_MAX} query parameters")
        for name, value in pairs_of(self.query):
            found.setdefault(name, []).append(value)
        return found


class Response(Struct):
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    trailers: Mapping[str, str] = field(default_factory=dict)
    """What follows the body, known once that is at its end; only HTTP/2 carries it on."""

    async def read(self, bytes_max: int | None = None) -> bytes:
        """The whole body, however it is held; where there is a bound, no more than the beginning of it."""
        if isinstance(self.body, bytes):
            return self.body[:bytes_max]
        if not isinstance(self.body, AsyncIterator):
            return b"".join(self.body)[:bytes_max]
        pieces, size = [], 0
        async for piece in self.body:
            pieces.append(piece)
            size += len(piece)
            if bytes_max is not None and size >= bytes_max:
                break
        return b"".join(pieces)[:bytes_max]


class PushedStream(AsyncIterator[bytes]):
    """A stream whose source may also write by itself, so that a piece for a thousand connections wakes no thousand tasks.

    While somebody waits for the next piece, and only then, `push` puts one on the connection ahead of it. False: the
    connection has no room, or is gone, and the piece has to be waited for like any other.
    """

    push: Callable[[bytes], bool] | None = None
    """Set by the connection that carries the stream; nothing sets it where there is none."""


class Connection(Protocol):
    """A taken-over connection: bytes both ways."""

    async def receive(self) -> bytes:
        """The next bytes, as they come; `b""` when the other side will send no more."""

    async def send(self, data: bytes) -> None:
        """Returns when the bytes are buffered and the buffer is below its limit. ConnectionError when it is gone."""

    async def send_eof(self) -> None:
        """Half-close where the transport can (TCP, not TLS); otherwise nothing."""

    def close(self) -> None: ...


class Upgrade(Response):
    """101: once it is written, `takeover` owns the connection until it returns."""

    takeover: Callable[[Connection], Awaitable[None]] | None = None


Handler = Callable[[Request], Awaitable[Response]]
