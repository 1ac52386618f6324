"""The HTTP server, spoken to in raw bytes."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kybern.web.answer import COPIED_BYTES_MAX
from kybern.web.http import (
    PARAMS_MAX,
    PIECE_BYTES,
    BodyTooLarge,
    Connection,
    Joined,
    PushedStream,
    Request,
    Response,
    Upgrade,
)
from kybern.web.limits import Limits
from kybern.web.server import Server, serve

LIMITS = Limits(linger_seconds=0.05)
HOST = b"Host: a\r\n"


async def echo(request: Request) -> Response:
    return Response(
        200, {"X-Path": request.path, "X-Query": request.query, "X-Method": request.method}, await request.read()
    )


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Awaitable[Response]] = echo, limits: Limits = LIMITS, **options: object
) -> AsyncIterator[Server]:
    server = await serve(handler, limits=limits, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        await server.close(grace_seconds=0)


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 5)

    async def answer(self) -> tuple[int, bytes]:
        head = await self.head()
        status = int(head.split()[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        return status, await asyncio.wait_for(self.reader.readexactly(int(fields.get(b"content-length", 0))), 5)


@asynccontextmanager
async def wire(server: Server) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def ask(raw: bytes, handler: Callable[[Request], Awaitable[Response]] = echo, limits: Limits = LIMITS) -> bytes:
    async with serving(handler, limits) as server, wire(server) as peer:
        await peer.send(raw)
        return await peer.rest()


CLOSE = HOST + b"Connection: close\r\n"


async def test_a_request_is_answered_with_its_length_and_the_date() -> None:
    answer = await ask(b"GET /a%20b?c=d HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"X-Path: /a%20b\r\nX-Query: c=d\r\n" in answer
    assert b"\r\nDate: " in answer and b"\r\nContent-Length: 0\r\n" in answer


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def handler(request: Request) -> Response:
        if request.path == "/slow":
            await asyncio.sleep(0.02)
        return Response(200, {}, request.path.encode())

    raw = (
        b"GET /slow HTTP/1.1\r\n"
        + HOST
        + b"\r\nGET /b HTTP/1.1\r\n"
        + HOST
        + b"\r\nGET /c HTTP/1.1\r\n"
        + CLOSE
        + b"\r\n"
    )
    answer = await ask(raw, handler)
    assert answer.index(b"/slow") < answer.index(b"/b") < answer.index(b"/c")


async def test_many_pipelined_requests_are_all_answered() -> None:
    count = 500
    answer = await ask((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * count + b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == count + 1


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with serving() as server, wire(server) as peer:
        for _ in range(3):
            await peer.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc")
            assert await peer.answer() == (200, b"abc")
        assert len(server.connections) == 1


async def test_a_chunked_body_is_streamed_to_the_handler() -> None:
    answer = await ask(
        b"POST / HTTP/1.1\r\n"
        + CLOSE
        + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    )
    assert answer.endswith(b"\r\n\r\nabcde")


@pytest.mark.parametrize("wrapping", [b"0\r\nX: ", b"1;x="], ids=["trailer", "chunk extension"])
async def test_what_wraps_a_body_is_bounded_too(wrapping: bytes) -> None:
    begun = asyncio.Event()

    async def reading(request: Request) -> Response:
        begun.set()
        return await echo(request)

    async with serving(reading, replace(LIMITS, head_bytes_max=10_000)) as server, wire(server) as peer:
        await peer.send(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n" + wrapping)
        await begun.wait()
        for _ in range(20):
            await peer.send(b"a" * 1000)
        assert (await peer.answer())[0] == 431


async def test_a_long_body_waits_for_the_handler_and_not_in_memory() -> None:
    go = asyncio.Event()

    async def handler(request: Request) -> Response:
        await go.wait()
        return Response(200, {}, str(len(await request.read(1 << 26))).encode())

    limits = replace(LIMITS, read_buffer_bytes_max=1000, small_body_bytes_max=10)
    async with serving(handler, limits) as server, wire(server) as peer:
        size = 20_000_000
        peer.writer.write(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
        while not server.connections or next(iter(server.connections)).reading:
            await asyncio.sleep(0)
        held = next(iter(server.connections)).body
        assert held is not None and held.size < 1_000_000
        go.set()
        assert await peer.answer() == (200, str(size).encode())


async def test_pieces_are_sent_as_one_body() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, {}, [b"a" * 20_000, b"b", b"c"])

    answer = await ask(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n", handler)
    assert b"Content-Length: 20002\r\n" in answer and answer.endswith(b"aabc")


@pytest.mark.parametrize(
    "sizes",
    [
        [300_000],
        [1] * 5,
        [100_000, 200_000, 0, 700_000, 3],
        [COPIED_BYTES_MAX] * 20,
        [PIECE_BYTES],
        [5, COPIED_BYTES_MAX + 1, 7],
    ],
)
async def test_a_large_body_arrives_whole(sizes: list[int]) -> None:
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]

    async def handler(request: Request) -> Response:
        return Response(200, {}, pieces)

    answer = await ask(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n", handler)
    assert answer.partition(b"\r\n\r\n")[2] == b"".join(pieces)


@pytest.mark.parametrize(("count", "size"), [(0, 0), (1, 5), (3, 1), (5_000, 300), (7, PIECE_BYTES), (2, 1_000_000)])
async def test_a_body_that_is_joined_on_the_way_is_the_same_bytes(count: int, size: int) -> None:
    items = [bytes([number % 256]) * size for number in range(count)]
    body = Joined(b"[", items, b",", b"]")
    whole = b"[" + b",".join(items) + b"]"
    assert (body.length, b"".join(body)) == (len(whole), whole)

    async def handler(request: Request) -> Response:
        return Response(200, {}, body)

    answer = await ask(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n", handler)
    assert answer.partition(b"\r\n\r\n")[2] == whole


async def test_what_nobody_reads_is_not_joined() -> None:
    """Of a long answer under way, a connection holds a few pieces, however long it is."""
    joined: list[int] = []
    item = b"x" * 1000

    class Items(list[bytes]):
        def __getitem__(self, at: Any) -> Any:
            joined.append(at.stop)
            return super().__getitem__(at)

    async def handler(request: Request) -> Response:
        return Response(200, {}, Joined(b"", Items([item] * 200_000), b"", b""))

    async with serving(handler) as server, wire(server) as peer:
        await peer.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await peer.head()
        seen = 0
        while len(joined) > seen:  # until it waits for us: the kernel's buffers are full
            seen = len(joined)
            await asyncio.sleep(0.1)
        assert 0 < max(joined) < 100_000
        assert len(await peer.reader.readexactly(200_000_000 // 4)) == 50_000_000


async def lines() -> AsyncIterator[bytes]:
    for piece in (b"one", b"", b"two"):
        yield piece


async def test_a_stream_is_sent_in_chunks() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, {}, lines())

    answer = await ask(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n", handler)
    assert answer.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_a_stream_for_http_1_0_ends_with_the_connection() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, {}, lines())

    assert (await ask(b"GET / HTTP/1.0\r\n\r\n", handler)).endswith(b"\r\n\r\nonetwo")


async def test_a_stream_that_fails_has_no_last_chunk(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("lost")

    async def handler(request: Request) -> Response:
        return Response(200, {}, broken())

    async with serving(handler) as server, wire(server) as peer:
        await peer.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await peer.head()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(peer.reader.readuntil(b"0\r\n\r\n"), 5)


async def test_head_has_the_length_and_no_body() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, {}, b"12345")

    answer = await ask(b"HEAD / HTTP/1.1\r\n" + CLOSE + b"\r\n", handler)
    assert b"Content-Length: 5\r\n" in answer and answer.endswith(b"\r\n\r\n")


async def test_a_reader_that_stops_stops_the_stream() -> None:
    produced = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal produced
        while True:
            produced += 1
            yield bytes(100_000)

    async def handler(request: Request) -> Response:
        return Response(200, {}, endless())

    async with serving(handler) as server, wire(server) as peer:
        await peer.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        while not server.connections or not next(iter(server.connections)).outflow.paused:
            await asyncio.sleep(0)
        before = produced
        await asyncio.sleep(0.05)
        assert produced <= before + 2


class Held(PushedStream):
    """Has one piece of its own, then waits for ever."""

    def __init__(self) -> None:
        self.own = [b"own"]
        self.waits = asyncio.Event()

    async def __anext__(self) -> bytes:
        if self.own:
            return self.own.pop()
        self.waits.set()
        return await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def holding(version: bytes) -> AsyncIterator[tuple[Held, Wire, Server]]:
    held = Held()

    async def handler(request: Request) -> Response:
        return Response(200, {}, held)

    async with serving(handler) as server, wire(server) as peer:
        await peer.send(b"GET / HTTP/" + version + b"\r\n" + HOST + b"\r\n")
        await peer.head()
        await asyncio.wait_for(held.waits.wait(), 5)
        yield held, peer, server


@pytest.mark.parametrize(("version", "sent"), [(b"1.1", b"3\r\nown\r\n4\r\nmore\r\n"), (b"1.0", b"ownmore")])
async def test_a_source_pushes_while_its_stream_waits(version: bytes, sent: bytes) -> None:
    async with holding(version) as (held, peer, _):
        assert held.push is not None and held.push(b"more")
        assert await asyncio.wait_for(peer.reader.readexactly(len(sent)), 5) == sent


async def test_a_source_cannot_push_more_than_the_peer_takes() -> None:
    async with holding(b"1.1") as (held, _, server):
        assert held.push is not None
        pushed = 0
        while held.push(bytes(100_000)):
            pushed += 1
            await asyncio.sleep(0)
        assert pushed < 1000  # what the kernel buffers, and then no more
        assert (
            next(iter(server.connections)).transport.get_write_buffer_size() < LIMITS.write_buffer_bytes_max + 200_000
        )


async def test_a_source_cannot_push_to_a_peer_that_has_gone() -> None:
    async with holding(b"1.1") as (held, peer, server):
        peer.writer.close()
        while server.connections:
            await asyncio.sleep(0)
        assert held.push is not None and not held.push(b"more")


async def test_a_short_piece_does_not_wait_until_the_one_before_is_acknowledged() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        async with serving(sock=sock) as server, wire(server) as peer:
            await peer.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            await peer.answer()
            accepted = next(iter(server.connections)).transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_100_continue_is_sent_when_the_body_is_first_read() -> None:
    async with serving() as server, wire(server) as peer:
        await peer.send(b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(b"abc")
        assert await peer.answer() == (200, b"abc")


async def test_a_refused_expectation_ends_the_connection_without_100() -> None:
    async def handler(request: Request) -> Response:
        return Response(403, {}, b"no")

    answer = await ask(b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", handler)
    assert answer.startswith(b"HTTP/1.1 403 ") and b"Connection: close\r\n" in answer and b"100 Continue" not in answer


async def test_a_body_beyond_the_limit_is_413() -> None:
    answer = await ask(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4000000\r\n\r\n" + bytes(4_000_000))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_an_exception_is_logged_and_answered_by_on_error(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        raise KeyError("secret detail")

    async with serving(handler, on_error=lambda error: Response(500, {}, type(error).__name__.encode())) as server:
        async with wire(server) as peer:
            with caplog.at_level(logging.ERROR):
                await peer.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
                assert await peer.answer() == (500, b"KeyError")
            await peer.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await peer.answer())[0] == 500
    assert "GET / failed" in caplog.text


async def test_a_header_with_a_line_break_is_never_sent() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, {"A": "b\r\nSet-Cookie: c"}, b"x")

    answer = await ask(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", handler)
    assert answer.startswith(b"HTTP/1.1 500 ") and b"Set-Cookie" not in answer


async def test_a_peer_that_goes_cancels_its_handler() -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Response:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Response()

    async with serving(handler) as server:
        async with wire(server) as peer:
            await peer.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            await entered.wait()
        await asyncio.wait_for(cancelled.wait(), 5)
        assert not server.connections


async def test_close_waits_for_the_answer_and_cuts_the_watch() -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Response:
        if request.path == "/watch":
            return Response(200, {}, forever())
        entered.set()
        await go.wait()
        return Response(200, {}, b"done")

    async def forever() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    server = await serve(handler, limits=LIMITS)
    async with wire(server) as asked, wire(server) as watching, wire(server) as idle:
        await watching.send(b"GET /watch HTTP/1.1\r\n" + HOST + b"\r\n")
        await watching.reader.readuntil(b"first\r\n")
        await asked.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await entered.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.close(grace_seconds=5))
            assert await watching.rest() == b""
            assert await idle.rest() == b""
            go.set()
            assert (await asked.answer()) == (200, b"done")


async def test_an_upgrade_hands_the_connection_over_with_the_bytes_behind_the_request() -> None:
    async def shout(connection: Connection) -> None:
        while data := await connection.receive():
            await connection.send(data.upper())

    async def handler(request: Request) -> Response:
        return Upgrade(101, {"Upgrade": "shout"}, takeover=shout)

    async with serving(handler) as server, wire(server) as peer:
        await peer.send(b"POST / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: shout\r\n\r\nearly ")
        head = await peer.head()
        assert head.startswith(b"HTTP/1.1 101 ") and b"Connection: Upgrade\r\n" in head
        await peer.send(b"late")
        peer.writer.write_eof()
        assert await peer.rest() == b"EARLY LATE"


async def test_a_refused_upgrade_is_an_answer_and_the_end() -> None:
    answer = await ask(b"GET /x HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and b"Connection: close\r\n" in answer


async def test_a_unix_socket_serves_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(unix_path=str(path)):
        assert path.stat().st_mode & 0o777 == 0o600
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


GET = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
BAD = {
    "length and chunked": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "two equal lengths": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "a signed length": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "a length beyond 64 bits": (POST + b"Content-Length: 99999999999999999999999\r\n\r\nabc", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked not last": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "an unknown coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "almost chunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "chunked with a tab inside": (POST + b"Transfer-Encoding: chun\tked\r\n\r\n0\r\n\r\n", 501),
    "chunked in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a folded header": (GET + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "a space before the colon": (GET + HOST + b"A : b\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a null in a header": (GET + HOST + b"A: b\x00\r\n\r\n", 400),
    "no host": (GET + b"\r\n", 400),
    "two hosts": (GET + HOST + b"Host: b\r\n\r\n", 400),
    "two hosts, differently written": (GET + HOST + b"hOST: b\r\n\r\n", 400),
    "an unknown version": (b"GET / HTTP/2.0\r\n\r\n", 505),
    "an unknown method": (b"FETCH / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a tunnel": (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an unknown expectation": (POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 417),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a bad chunk size": (POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400),
    "a huge chunk size": (POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n0\r\n\r\n", 400),
    "an upgrade with a body": (POST + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc", 400),
    "a target that is too long": (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "too many headers": (GET + HOST + b"".join(b"A%d: b\r\n" % n for n in range(2000)) + b"\r\n", 431),
    "a head that is too large": (GET + HOST + b"A: " + b"a" * (1 << 21) + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_request_is_refused_once_and_ends_the_connection(name: str) -> None:
    raw, status = BAD[name]
    answer = await ask(raw)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1 and b"Connection: close\r\n" in answer


async def test_a_query_of_more_parameters_than_are_read_is_refused() -> None:
    async def reading(request: Request) -> Response:
        return Response(200, {}, str(sum(map(len, request.params().values()))).encode())

    for count, status in ((PARAMS_MAX, 200), (PARAMS_MAX + 1, 400)):
        query = b"&".join([b"command=a"] * count)
        assert (await ask(b"GET /?" + query + b" HTTP/1.1\r\n" + CLOSE + b"\r\n", reading)).startswith(
            b"HTTP/1.1 %d " % status
        )


async def test_what_follows_a_bad_request_is_never_served() -> None:
    served = []

    async def handler(request: Request) -> Response:
        served.append(request.path)
        return Response()

    smuggled = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
    for raw, _ in BAD.values():
        await ask(raw + smuggled, handler)
    assert "/smuggled" not in served


async def test_slow_heads_and_idle_connections_are_ended() -> None:
    limits = replace(LIMITS, head_seconds=0.2, idle_seconds=0.2)
    async with serving(limits=limits) as server:
        async with wire(server) as silent, wire(server) as slow, wire(server) as idle:
            await slow.send(b"GET / HTTP/1.1\r\nHost")
            await idle.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await idle.answer())[0] == 200
            for peer in (silent, slow, idle):
                with pytest.raises(ConnectionError):
                    if not await peer.rest():
                        raise ConnectionError
        assert not server.connections


async def test_a_body_that_stalls_is_ended_and_a_slow_handler_is_not() -> None:
    limits = replace(LIMITS, head_seconds=0.1, idle_seconds=0.1, body_stall_seconds=0.1, small_body_bytes_max=1)

    async def handler(request: Request) -> Response:
        if request.path == "/wait":
            await asyncio.sleep(0.4)
        return await echo(request)

    async with serving(handler, limits) as server, wire(server) as slow, wire(server) as stalled:
        await slow.send(b"POST /wait HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc")
        await stalled.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\na")
        assert await slow.answer() == (200, b"abc")
        with pytest.raises(ConnectionError):
            if not await stalled.rest():
                raise ConnectionError


async def test_beyond_the_most_connections_a_new_one_is_ended() -> None:
    async with serving(limits=replace(LIMITS, connections_max=1)) as server, wire(server) as first:
        await first.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await first.answer())[0] == 200
        async with wire(server) as second:
            with pytest.raises(ConnectionError):
                if not await second.rest():
                    raise ConnectionError


async def test_connections_cut_at_any_byte_leave_nothing_behind() -> None:
    whole = POST + b"Content-Length: 70000\r\n\r\n" + bytes(70_000) + b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n"

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(10_000)
            await asyncio.sleep(0)

    async def handler(request: Request) -> Response:
        return Response(200, {}, endless()) if request.path == "/stream" else await echo(request)

    async with serving(handler) as server:
        before = len(asyncio.all_tasks())
        for cut in [*range(0, 120, 3), 1000, 69_000, len(whole) - 20, len(whole)] * 3:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(whole[:cut])
            await writer.drain()
            writer.transport.abort()
        async with asyncio.timeout(5):
            while server.connections or len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.01)


async def test_body_too_large_reaches_on_error() -> None:
    def on_error(error: Exception) -> Response:
        assert isinstance(error, BodyTooLarge)
        return Response(413, {}, b"too large")

    async def handler(request: Request) -> Response:
        return Response(200, {}, await request.read(2))

    async with serving(handler, on_error=on_error) as server, wire(server) as peer:
        await peer.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc")
        assert await peer.answer() == (413, b"too large")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    garbage=st.lists(
        st.sampled_from(
            [
                b"GET ",
                b"/ ",
                b"HTTP/1.1",
                b"\r\n",
                b"\n",
                b"Host: a",
                b":",
                b" ",
                b"Transfer-Encoding: chunked",
                b"Content-Length: 5",
                b"\x00",
                b"5",
                b"abcde",
                b"Upgrade: x",
                b"Connection: upgrade",
                b"POST ",
            ]
        ),
        max_size=25,
    ),
    cut=st.integers(1, 40),
)
def test_no_input_breaks_the_server(garbage: list[bytes], cut: int) -> None:
    async def main() -> None:
        async with serving(limits=replace(LIMITS, linger_seconds=0.0)) as server:
            async with wire(server) as peer:
                raw = b"".join(garbage)
                for start in range(0, len(raw), cut):
                    await peer.send(raw[start : start + cut])
            async with wire(server) as peer:
                await peer.send(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
                assert (await peer.answer())[0] == 200

    asyncio.run(main())
