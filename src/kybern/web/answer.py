"""A response as bytes on a connection: framing by length, or chunked, or by the end of the connection (HTTP/1.0)."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from kybern.web.http import PIECE_BYTES, Joined, PushedStream, Response
from kybern.web.incoming import Incoming

if TYPE_CHECKING:
    from kybern.web.http1 import ServerProtocol

TURN_BYTES = 1024 * 1024  # of one answer, before other connections get their turn
LENGTH = "Content-Length"
COPIED_BYTES_MAX = (
    128 * 1024
)  # Copying small pieces together is far cheaper than a TLS record and a system call for each.
BLOCK_BYTES_MIN = PIECE_BYTES // 2  # A piece that is as long goes as it is, without another copy.
KEEP_ALIVE = {
    (True, False): "",
    (False, False): "Connection: close\r\n",
    (True, True): "Connection: keep-alive\r\n",
    (False, True): "",
}


async def write_answer(to: "ServerProtocol", response: Response, incoming: Incoming, keep_alive: bool) -> None:
    extra = KEEP_ALIVE[keep_alive, incoming.http10]
    body, head_only = response.body, incoming.request.method == "HEAD"
    if isinstance(body, AsyncIterator):
        await write_stream(to, response, body, extra, incoming.http10, head_only)
        return
    pieces = (body,) if isinstance(body, bytes) else body
    length = pieces.length if isinstance(pieces, Joined) else sum(map(len, pieces))
    bodyless = response.status in (204, 304) or response.status < 200
    if not bodyless and not (head_only and LENGTH in response.headers):
        extra += f"Content-Length: {length}\r\n"
    head = to.server.head(response, extra)
    if head_only or bodyless or not length:
        to.transport.write(head)
    elif length <= COPIED_BYTES_MAX:
        to.transport.write(b"".join((head, *pieces)))
    else:
        written = 0
        for block in blocks(chain((head,), pieces)):
            await to.write(block)
            written += len(block)
            if written >= TURN_BYTES:
                written = 0
                await asyncio.sleep(0)


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """The same bytes in blocks of about `PIECE_BYTES`: what is on its way to somebody slow is no more than that."""
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) <= COPIED_BYTES_MAX:
            small.append(piece)
            size += len(piece)
        if small and (size >= BLOCK_BYTES_MIN or len(piece) > COPIED_BYTES_MAX):
            yield b"".join(small)
            small.clear()
            size = 0
        if len(piece) > COPIED_BYTES_MAX:
            view = memoryview(piece)
            yield from (view[start : start + PIECE_BYTES] for start in range(0, len(piece), PIECE_BYTES))
    if small:
        yield b"".join(small)


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


shared_chunk = lru_cache(maxsize=1)(chunk)  # one piece goes to many connections in a row


async def write_stream(
    to: "ServerProtocol", response: Response, body: AsyncIterator[bytes], extra: str, http10: bool, head_only: bool
) -> None:
    """A stream that fails midway ends without its last chunk, so nobody takes it for whole.

    One whose length is known, by a `Content-Length` among its headers, is written as it is.
    """
    chunked = not http10 and LENGTH not in response.headers
    if chunked:
        extra += "Transfer-Encoding: chunked\r\n"
    try:
        to.transport.write(to.server.head(response, extra))
        if head_only:
            return
        to.streaming = True
        if isinstance(body, PushedStream):
            body.push = to.push_chunk if chunked else to.push
        size = 0
        async for piece in body:
            if piece:
                size += len(piece)
                await to.write(chunk(piece) if chunked else piece)
        if chunked:
            to.transport.write(b"0\r\n\r\n")
        elif LENGTH in response.headers and size != int(response.headers[LENGTH]):
            raise ConnectionError(f"the body has {size} bytes, {response.headers[LENGTH]} were announced")
    finally:
        to.streaming = False
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
