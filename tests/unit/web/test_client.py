"""The HTTP client against our own server and against peers that misbehave."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import uvloop

from kybern.web.client import REFUSAL_BYTES_MAX, Client, end_to_end_headers
from kybern.web.client_errors import BadResponse, ConnectFailed, ConnectionLost, ResponseTimeout
from kybern.web.http import Connection, Request, Response, Upgrade
from kybern.web.inflow import resume_reading
from kybern.web.pki import CLIENT, SERVER, create_ca, issue
from kybern.web.server import serve
from kybern.web.tls import client_context, server_context


async def handler(request: Request) -> Response:
    match request.path:
        case "/large":
            return Response(200, {}, bytes(1_000_000))
        case "/stream":
            return Response(200, {}, counting())
        case "/endless":
            return Response(403, {}, endless())
        case "/never":
            await asyncio.Event().wait()
        case "/shout":
            return Upgrade(101, {"Upgrade": "shout"}, takeover=shout)
        case "/port":
            return Response(200, {}, request.peer.address.encode())
        case "/headers":
            return Response(200, {}, f"{request.headers['host']} {request.headers.get('authorization')}".encode())
    return Response(200, {"X-Target": f"{request.path}?{request.query}"}, await request.read())


async def counting() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d\n" % number


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(100_000)


async def shout(connection: Connection) -> None:
    while data := await connection.receive():
        await connection.send(data.upper())


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    server = await serve(handler)
    async with Client(f"http://127.0.0.1:{server.port}/base/..") as client:
        client.prefix = ""
        yield client
    await server.close(grace_seconds=0)


async def test_a_small_answer_comes_as_bytes(client: Client) -> None:
    response = await client.send(Request("POST", "/a", "b=c", {}, b"hello"))
    assert (response.status, response.headers["x-target"], response.body) == (200, "/a?b=c", b"hello")


async def test_a_connection_is_used_again(client: Client) -> None:
    first = await client.send(Request("GET", "/port"))
    assert (await client.send(Request("GET", "/port"))).body == first.body


async def test_a_client_that_keeps_no_connections_leaves_none_open(client: Client) -> None:
    client.idle_connections_max = 0
    await client.send(Request("GET", "/port"))
    await (await client.send(Request("GET", "/large"))).read()
    async with asyncio.timeout(5):
        while client.open:
            await asyncio.sleep(0)
    assert client.idle == []


async def test_a_connection_that_the_server_closed_is_forgotten(client: Client) -> None:
    await client.send(Request("GET", "/port"))
    client.idle[0].transport.abort()
    async with asyncio.timeout(5):
        while client.idle:
            await asyncio.sleep(0)
    assert not client.open


async def test_a_large_answer_streams_and_gives_its_connection_back(client: Client) -> None:
    response = await client.send(Request("GET", "/large"))
    assert not isinstance(response.body, bytes)
    assert len(await response.read()) == 1_000_000
    assert len(client.idle) == 1


async def test_an_answer_without_a_length_streams(client: Client) -> None:
    response = await client.send(Request("GET", "/stream"))
    assert await response.read() == b"0\n1\n2\n"


async def test_a_stream_given_up_ends_its_connection(client: Client) -> None:
    response = await client.send(Request("GET", "/large"))
    await response.body.aclose()  # type: ignore[union-attr]
    assert client.idle == []


async def test_a_body_can_be_streamed(client: Client) -> None:
    assert (await client.send(Request("POST", "/", "", {}, counting()))).body == b"0\n1\n2\n"


async def test_requests_at_once_use_several_connections(client: Client) -> None:
    answers = await asyncio.gather(*(client.send(Request("POST", "/", "", {}, b"%d" % n)) for n in range(20)))
    assert [answer.body for answer in answers] == [b"%d" % n for n in range(20)]


async def test_no_answer_in_time_is_a_timeout(client: Client) -> None:
    with pytest.raises(ResponseTimeout, match="GET /never"):
        await client.send(Request("GET", "/never"), timeout=0.05)


async def test_head_has_no_body(client: Client) -> None:
    response = await client.send(Request("HEAD", "/large"))
    assert (response.status, response.headers["content-length"], response.body) == (200, "1000000", b"")


async def test_an_upgrade_gives_the_connection(client: Client) -> None:
    response, connection = await client.upgrade(
        Request("GET", "/shout", "", {"Connection": "Upgrade", "Upgrade": "shout"})
    )
    assert response.status == 101 and connection is not None
    await connection.send(b"hey")
    assert await connection.receive() == b"HEY"
    connection.close()


async def test_a_refused_upgrade_gives_the_answer(client: Client) -> None:
    response, connection = await client.upgrade(
        Request("POST", "/headers", "", {"Connection": "Upgrade", "Upgrade": "x", "Host": "h"})
    )
    assert (response.status, response.body, connection) == (200, b"h None", None)


async def test_authorization_is_asked_each_time() -> None:
    server = await serve(handler)
    tokens = iter(["Bearer a", "Bearer b"])
    async with Client(f"http://127.0.0.1:{server.port}", authorization=lambda: next(tokens)) as client:
        assert (await client.send(Request("GET", "/headers"))).body == f"127.0.0.1:{server.port} Bearer a".encode()
        assert b"Bearer b" in (await (await client.send(Request("GET", "/headers"))).read())
    await server.close()


async def test_nobody_at_the_address_is_connect_failed() -> None:
    server = await serve(handler)
    port = server.port
    await server.close()
    with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1"):
        await Client(f"http://127.0.0.1:{port}").send(Request("GET", "/"))


async def test_a_read_finds_its_kept_connection_closed_and_goes_again(client: Client) -> None:
    await client.send(Request("GET", "/"))
    client.idle[0].transport.close()
    assert (await client.send(Request("GET", "/"))).status == 200


async def peer_that_says(data: bytes) -> tuple[asyncio.Server, str]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ConnectionLost),
        (b"garbage\r\n\r\n", BadResponse),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", BadResponse),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ConnectionLost),
    ],
)
async def test_a_broken_answer_is_an_error(data: bytes, error: type[Exception]) -> None:
    server, url = await peer_that_says(data)
    with pytest.raises(error):
        async with Client(url) as client:
            await (await client.send(Request("GET", "/"))).read()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("wrapping", [b"0\r\nX: ", b"1;x="], ids=["trailer", "chunk extension"])
async def test_what_wraps_a_body_is_bounded(wrapping: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.web.client_connection.HEAD_BYTES_MAX", 10_000)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    server, url = await peer_that_says(head + wrapping + b"a" * 1_000_000)
    with pytest.raises(BadResponse, match="trailer"):
        async with Client(url) as client:
            await (await client.send(Request("GET", "/"))).read()
    server.close()
    await server.wait_closed()


async def test_a_refused_upgrade_is_read_as_far_as_a_refusal_goes(client: Client) -> None:
    response, connection = await client.upgrade(Request("GET", "/endless", "", {"upgrade": "shout"}))
    assert connection is None
    assert isinstance(response.body, bytes) and len(response.body) == REFUSAL_BYTES_MAX


async def test_an_answer_may_end_with_its_connection() -> None:
    server, url = await peer_that_says(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    async with Client(url) as client:
        assert await (await client.send(Request("GET", "/"))).read() == b"all of it"
    server.close()
    await server.wait_closed()


def test_headers_of_one_connection_are_not_passed_on() -> None:
    given = {"connection": "Keep-Alive, X-Hop", "x-hop": "1", "te": "x", "accept": "y", "Transfer-Encoding": "chunked"}
    assert end_to_end_headers(given) == {"accept": "y"}


def test_who_reads_slowly_over_tls_gets_the_end_of_an_answer_too() -> None:
    """Reading pauses meanwhile; sizes at which the last bytes were in the hands of the TLS engine then."""
    ca = create_ca("authority", time.time())
    own = issue(ca, "server", now=time.time(), ips=("127.0.0.1",), usages=(SERVER,))
    shown = issue(ca, "client", now=time.time(), usages=(CLIENT,))

    async def large(request: Request) -> Response:
        return Response(200, {}, [b"x" * 2300] * int(request.path[1:]))

    async def main() -> None:
        server = await serve(large, ssl=server_context(own.certificate, own.key, client_ca=ca.certificate))
        trusted = client_context(ca=ca.certificate, certificate=shown.certificate, key=shown.key)
        async with Client(f"https://127.0.0.1:{server.port}", ssl=trusted) as client:
            for pieces in (568, 793, *range(100, 1300, 60)):
                response = await client.send(Request("GET", f"/{pieces}"))
                await asyncio.sleep(0.01)
                length = 0
                async with asyncio.timeout(20):
                    assert isinstance(response.body, AsyncIterator)
                    async for piece in response.body:
                        length += len(piece)
                        await asyncio.sleep(0.0005)
                assert length == 2300 * pieces
        await server.close()

    uvloop.run(main())


@pytest.mark.parametrize(("error", "told"), [(OSError("gone"), []), (RuntimeError("our own"), ["our own"])])
async def test_what_breaks_while_the_rest_is_read_ends_the_connection_and_only_a_fault_of_ours_is_told(
    error: Exception, told: list[str]
) -> None:
    said: list[str] = []

    class Transport(asyncio.Transport):
        aborted = False

        def resume_reading(self) -> None: ...

        def is_closing(self) -> bool:
            return self.aborted

        def abort(self) -> None:
            self.aborted = True

        def _do_read(self) -> None:
            raise error

    transport, loop = Transport(), asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: said.append(str(context["exception"])))
    resume_reading(transport)
    await asyncio.sleep(0)
    assert transport.aborted
    assert said == told
