"""HTTP/2 on both sides of a proxy: a gRPC client and server of others' making, our server and client between them and beside them."""

import asyncio
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import pytest

from kybern.network.ingress.carrying import Carrier
from kybern.network.ingress.routing import Target
from kybern.web.client import Client
from kybern.web.client_errors import ClientError, ConnectFailed
from kybern.web.http import Handler, Request, Response
from kybern.web.http2.client import Http2Client
from kybern.web.http2.server import RESETS_MAX, STREAMS_MAX
from kybern.web.limits import Limits
from kybern.web.pki import SERVER, create_ca, issue
from kybern.web.server import Server, serve
from kybern.web.tls import client_context, server_context

Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[Server] = []

    async def begin(handler: Handler, **settings: Any) -> Server:
        servers.append(await serve(handler, http2=True, **settings))
        return servers[-1]

    yield begin
    for server in servers:
        await server.close()


async def echo(request: Request) -> Response:
    content = await request.read(1 << 26)
    return Response(200, {"X-Method": request.method, "X-Host": request.headers["host"]}, content or b"nothing")


def request(method: str = "POST", path: str = "/a", body: Any = b"", **headers: str) -> Request:
    return Request(method, path, "", {"host": "x.io", **headers}, body)


async def test_requests_share_a_connection_and_long_bodies_pass_both_windows(start: Start) -> None:
    server = await start(echo)
    client = Http2Client("127.0.0.1", server.port)
    content = random.Random(1).randbytes(3_000_000)
    answers = await asyncio.gather(*(client.send(request(body=content[number:])) for number in range(8)))
    for number, answer in enumerate(answers):
        assert await answer.read() == content[number:] and answer.headers["x-host"] == "x.io"
    assert len(client.connections) == 1 and not client.connections[0].streams
    client.close()


async def test_both_versions_are_spoken_on_one_port(start: Start) -> None:
    server = await start(echo)
    async with Client(f"http://127.0.0.1:{server.port}") as old:
        assert (await old.send(request(body=b"one"))).body == b"one"
    new = Http2Client("127.0.0.1", server.port)
    assert await (await new.send(request(body=b"two"))).read() == b"two"
    new.close()


async def test_tls_agrees_on_the_version(start: Start) -> None:
    ca = create_ca("test", time.time())
    pair = issue(ca, "x.io", now=time.time(), dns_names=["x.io"], ips=[], usages=(SERVER,))
    server = await start(echo, ssl=server_context(pair.certificate, pair.key, http2=True))

    def agreed(*offered: str) -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(list(offered))
        with socket.create_connection(("127.0.0.1", server.port), 5) as plain, context.wrap_socket(plain) as tls:
            return tls.selected_alpn_protocol()

    assert await asyncio.to_thread(agreed, "h2", "http/1.1") == "h2"
    assert await asyncio.to_thread(agreed, "http/1.1") == "http/1.1"
    plain = await start(echo, ssl=server_context(pair.certificate, pair.key))
    server = plain
    assert await asyncio.to_thread(agreed, "h2", "http/1.1") == "http/1.1"


# A gRPC server and a gRPC client, and our proxy between them.


class Backend(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return {
            "/t.T/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/t.T/Fails": grpc.unary_unary_rpc_method_handler(self.fails),
            "/t.T/Many": grpc.unary_stream_rpc_method_handler(self.many),
            "/t.T/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
        }.get(details.method)

    async def unary(self, content: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("said", "goodbye"),))
        return content[::-1]

    async def fails(self, content: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
        return b""

    async def many(self, content: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d" % number

    async def talk(self, contents: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for content in contents:
            yield content.upper()


@pytest.fixture
async def backend() -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Backend(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield server, port
    await server.stop(None)


@pytest.fixture
async def channel(start: Start, backend: tuple[grpc.aio.Server, int]) -> AsyncIterator[grpc.aio.Channel]:
    carrier = Carrier(random.Random(1), lambda: client_context(verify=False))
    target = Target("default", "t", (("127.0.0.1", backend[1]),), speaks="h2c")

    async def pass_on(asked: Request) -> Response:
        asked.headers = carrier.headers(asked, "http")
        return await carrier.carry(asked, target)

    front = await start(pass_on)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{front.port}") as made:
        yield made
    carrier.close()


async def test_grpc_calls_of_every_kind_pass_the_proxy(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary("/t.T/Unary")(b"abc")
    assert await call == b"cba" and dict(await call.trailing_metadata())["said"] == "goodbye"
    assert await channel.unary_unary("/t.T/Unary")(bytes(2_000_000)) == bytes(2_000_000)
    assert [piece async for piece in channel.unary_stream("/t.T/Many")(b"")] == [b"%d" % n for n in range(100)]
    talk = channel.stream_stream("/t.T/Talk")()
    for word in (b"one", b"two"):  # the next is said once the last was answered
        await talk.write(word)
        assert await talk.read() == word.upper()
    await talk.done_writing()
    assert await talk.read() == grpc.aio.EOF


async def test_grpc_failures_keep_their_code_and_words(channel: grpc.aio.Channel) -> None:
    for method, code in (("/t.T/Fails", grpc.StatusCode.NOT_FOUND), ("/t.T/None", grpc.StatusCode.UNIMPLEMENTED)):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(method)(b"")
        assert failed.value.code() is code
    assert failed.value.details()


async def test_a_call_under_way_is_finished_by_a_server_that_goes_away(
    channel: grpc.aio.Channel, backend: tuple[grpc.aio.Server, int]
) -> None:
    talk = channel.stream_stream("/t.T/Talk")()
    await talk.write(b"one")
    assert await talk.read() == b"ONE"
    stopping = asyncio.ensure_future(backend[0].stop(5))
    for _ in range(20):
        await asyncio.sleep(0.01)  # its GOAWAY arrives among these
        await talk.write(b"two")
        assert await talk.read() == b"TWO"
    await talk.done_writing()
    assert await talk.read() == grpc.aio.EOF and await talk.code() is grpc.StatusCode.OK
    await stopping


async def test_an_answer_whose_head_cannot_be_sent_is_a_500_and_its_body_is_let_go(start: Start) -> None:
    class Body(AsyncIterator[bytes]):
        closed = False

        async def __anext__(self) -> bytes:
            return b"piece"

        async def aclose(self) -> None:
            self.closed = True

    body = Body()

    async def split(request: Request) -> Response:
        return Response(200, {"X-A": "a\r\nX-B: b"}, body)

    server = await start(split)
    client = Http2Client("127.0.0.1", server.port)
    answer = await client.send(request())
    assert (answer.status, await answer.read(), answer.headers.get("x-b")) == (500, b"", None)
    async with asyncio.timeout(5):
        while not body.closed:
            await asyncio.sleep(0)
    client.close()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1000)
        await asyncio.sleep(0)


@pytest.mark.parametrize("answer", [b"", b"no more"])
async def test_nothing_is_left_of_a_request_whose_answer_is_at_its_end(start: Start, answer: bytes) -> None:
    async def at_once(request: Request) -> Response:
        return Response(200, {}, answer)

    server = await start(at_once)
    client = Http2Client("127.0.0.1", server.port)
    for body in (b"", b"bytes", endless()):
        assert await (await client.send(request(body=body))).read() == answer
    connection = client.connections[0]
    assert not connection.streams and not connection.pumps and not connection.h2.open_outbound_streams
    client.close()


async def test_an_answer_that_nobody_reads_holds_back_no_other(start: Start) -> None:
    async def long(request: Request) -> Response:
        return Response(200, {}, bytes(1_000_000))

    server = await start(long)
    client = Http2Client("127.0.0.1", server.port)
    unread = [await client.send(request()) for _ in range(5)]
    async with asyncio.timeout(10):
        assert len(await (await client.send(request())).read()) == 1_000_000
        assert [len(await each.read()) for each in unread] == [1_000_000] * 5
    assert len(client.connections) == 1
    client.close()


async def test_a_connection_whose_other_end_says_nothing_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.web.http2.client.CONNECT_SECONDS", 0.1)
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(1000):
                pass
        ended.set()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        with pytest.raises(ConnectFailed):
            await Http2Client("127.0.0.1", server.sockets[0].getsockname()[1]).send(request())
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_call_that_is_given_up_is_given_up_behind_the_proxy_too(start: Start) -> None:
    given_up = asyncio.Event()

    async def forever(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await asyncio.Event().wait()
            finally:
                given_up.set()

        return Response(200, {}, pieces())

    backend = await start(forever)
    carrier = Carrier(random.Random(1), lambda: client_context(verify=False))
    target = Target("default", "t", (("127.0.0.1", backend.port),), speaks="h2c")
    front = await start(lambda asked: carrier.carry(asked, target))
    client = Http2Client("127.0.0.1", front.port)
    answer = await client.send(request())
    assert isinstance(answer.body, AsyncIterator) and await anext(answer.body) == b"first"
    await answer.body.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        await given_up.wait()
    client.close()
    carrier.close()


async def test_a_server_that_is_not_there_or_speaks_something_else_is_an_error(start: Start) -> None:
    with pytest.raises(ConnectFailed):
        await Http2Client("127.0.0.1", 1).send(request())
    old = await serve(echo)  # HTTP/1.1 alone
    with pytest.raises(ClientError):
        await Http2Client("127.0.0.1", old.port).send(request())
    await old.close()


async def test_what_a_server_that_goes_away_has_not_begun_is_sent_elsewhere(start: Start) -> None:
    """Bodies in memory, that is; it answers what it has begun."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        begun.set()
        await finish.wait()
        return Response(200, {}, b"old")

    async def other(request: Request) -> Response:
        return Response(200, {}, b"new")

    old, new = await start(slow), await start(other)
    places = (("127.0.0.1", old.port), ("127.0.0.1", new.port))
    client = Http2Client(*places[0])
    first = asyncio.ensure_future(client.send(request()))
    await begun.wait()
    closing = asyncio.ensure_future(old.close())
    await asyncio.sleep(0)
    with pytest.raises(ConnectFailed):
        await client.send(request(body=b"x"))
    carrier = Carrier(random.Random(1), lambda: client_context(verify=False))
    target = Target("d", "t", places, speaks="h2c")
    answers = [await carrier.carry(request(), target) for _ in range(6)]
    assert {await answer.read() for answer in answers} == {b"new"}
    finish.set()
    assert await (await first).read() == b"old"
    await closing
    client.close()
    carrier.close()


# Peers that mean no good.


class Raw:
    """A connection whose frames are ours to choose."""

    def __init__(self, port: int) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        self.sock = socket.create_connection(("127.0.0.1", port), 5)
        self.sock.settimeout(5)
        self.h2.initiate_connection()

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def ask(self, number: int, *, end: bool = True, **special: str) -> None:
        headers = {"method": "GET", "scheme": "http", "authority": "x", "path": "/", **special}
        self.h2.send_headers(number, [(f":{name}", value) for name, value in headers.items()], end_stream=end)

    def events(self) -> list[h2.events.Event]:
        """Of what comes next; nothing once the server has closed."""
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            return []
        found = self.h2.receive_data(data) if data else []
        return found or ([] if not data else [h2.events.SettingsAcknowledged()])

    def until(self, kind: type[Any]) -> Any:
        while found := self.events():
            for event in found:
                if isinstance(event, kind):
                    return event
        return None


async def test_who_opens_streams_only_to_give_them_up_is_sent_away(start: Start) -> None:
    server = await start(echo)

    def attack() -> Any:
        with Raw(server.port) as raw:
            for number in range(1, 2 * (RESETS_MAX + 10), 2):
                raw.ask(number, end=False)
                raw.h2.reset_stream(number)
            try:
                raw.flush()
            except ConnectionError:
                return h2.events.ConnectionTerminated(error_code=0)
            return raw.until(h2.events.ConnectionTerminated)

    assert await asyncio.to_thread(attack) is not None
    client = Http2Client("127.0.0.1", server.port)
    assert (await client.send(request())).status == 200
    client.close()


async def test_giving_up_answers_that_have_begun_is_nobody_s_attack(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kybern.web.http2.server.RESETS_MAX", 5)

    async def watched(request: Request) -> Response:
        return Response(200, {}, endless())

    server = await start(watched)
    client = Http2Client("127.0.0.1", server.port)
    for _ in range(20):
        answer = await client.send(request())
        await answer.body.aclose()  # type: ignore[union-attr]
    assert len(client.connections) == 1 and not client.connections[0].terminated
    client.close()


async def test_who_does_not_say_what_it_speaks_is_counted_and_ended_like_others() -> None:
    server = await serve(echo, http2=True, limits=Limits(connections_max=2))
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
    async with asyncio.timeout(5):
        ended = [asyncio.ensure_future(reader.read()) for reader, _ in silent]
        done, waiting = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(waiting)) == (1, 2), "there is room for two"
        await server.close()
        await asyncio.wait(waiting)
    for _, writer in silent:
        writer.close()


async def test_how_many_requests_are_under_way_on_one_connection_is_bounded(start: Start) -> None:
    waiting = 0

    async def wait(request: Request) -> Response:
        nonlocal waiting
        waiting += 1
        await asyncio.Event().wait()
        return Response()

    server = await start(wait)

    def attack() -> Any:
        with Raw(server.port) as raw:
            raw.h2.remote_settings.update({3: 10_000})
            for number in range(1, 2 * (STREAMS_MAX + 50), 2):
                raw.ask(number, end=False)
            raw.flush()
            return raw.until((h2.events.StreamReset, h2.events.ConnectionTerminated))  # type: ignore[arg-type]

    assert await asyncio.to_thread(attack) is not None
    assert waiting <= STREAMS_MAX


@pytest.mark.parametrize("special", [{"authority": ""}, {"path": "*"}, {"path": "nowhere"}, {"method": "CONNECT"}])
async def test_a_request_that_is_none_is_refused_and_the_connection_goes_on(start: Start, special: Any) -> None:
    server = await start(echo)

    def asked() -> tuple[bool, str]:
        with Raw(server.port) as raw:
            raw.ask(1, **special)
            raw.ask(3)
            raw.flush()
            statuses = {}
            while len(statuses) < 2 and (found := raw.events()):
                for event in found:
                    if isinstance(event, h2.events.ResponseReceived):
                        statuses[event.stream_id] = dict(event.headers)[b":status"]
                    elif isinstance(event, h2.events.ConnectionTerminated | h2.events.StreamReset):
                        return True, ""
            return statuses[1] == b"400", statuses[3].decode()

    assert await asyncio.to_thread(asked) in ((True, "200"), (True, ""))


async def test_garbage_ends_the_connection_and_nothing_else(start: Start) -> None:
    server = await start(echo)
    rng = random.Random(3)

    def attack() -> None:
        for _ in range(100):
            with Raw(server.port) as raw:
                raw.ask(1)
                data = bytearray(raw.h2.data_to_send())
                for _ in range(rng.randrange(1, 6)):
                    data[rng.randrange(24, len(data))] = rng.randrange(256)
                try:
                    raw.sock.sendall(bytes(data))
                    raw.sock.shutdown(socket.SHUT_WR)
                    while raw.sock.recv(65536):
                        pass
                except (ConnectionError, TimeoutError):
                    pass

    await asyncio.to_thread(attack)
    client = Http2Client("127.0.0.1", server.port)
    assert (await client.send(request())).status == 200
    client.close()


async def test_a_window_that_stays_shut_ends_the_stream_and_an_idle_connection_ends(start: Start) -> None:
    async def long(request: Request) -> Response:
        return Response(200, {}, bytes(1_000_000))

    server = await start(long, limits=Limits(write_stall_seconds=0.2, idle_seconds=0.4))

    def stalled() -> tuple[Any, list[Any]]:
        with Raw(server.port) as raw:
            raw.ask(1)
            raw.flush()
            reset = raw.until(h2.events.StreamReset)  # the window is never opened again
            while found := raw.events():
                if any(isinstance(event, h2.events.ConnectionTerminated) for event in found):
                    break
            return reset, found

    reset, _ = await asyncio.to_thread(stalled)
    assert reset is not None
    async with asyncio.timeout(5):
        while server.connections:
            await asyncio.sleep(0.05)
