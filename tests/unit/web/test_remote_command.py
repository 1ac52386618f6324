"""exec, attach and port-forward over every protocol, against a real server."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from kybern.web.client import Client
from kybern.web.http import Request, Response, Upgrade
from kybern.web.port_forward import SPDY_PROTOCOL, TUNNEL_PROTOCOL, accept_port_forward
from kybern.web.relay import relay
from kybern.web.remote_client import remote_command
from kybern.web.remote_command import RemoteCommand, Streams, accept_remote_command, sizes_in
from kybern.web.server import serve
from kybern.web.spdy import SpdySession
from kybern.web.websocket import HandshakeRefused, WebSocketConnection, connect

ALL = Streams(stdin=True, stdout=True, stderr=True)
TTY = Streams(stdin=True, stdout=True, stderr=True, tty=True)
SUCCESS = b'{"metadata":{},"status":"Success"}'
FAILURE = b'{"status":"Failure"}'


async def shout(command: RemoteCommand) -> None:
    """Says loudly what it hears, and says on stderr how long it was."""
    assert command.stdin is not None and command.stdout is not None
    size = 0
    while data := await command.stdin.receive():
        size += len(data)
        await command.stdout.send(data.upper())
    if command.stderr is not None:
        await command.stderr.send(str(size).encode())
    await command.exit(SUCCESS if size else FAILURE, "" if size else "command failed")


async def say_size(command: RemoteCommand) -> None:
    assert command.stdout is not None
    async for width, height in command.sizes():
        await command.stdout.send(f"{width}x{height}".encode())
        break
    await command.exit(FAILURE)


async def connect_to_port(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if port == 1:
        raise ConnectionRefusedError("connection to port 1 was refused")
    return await asyncio.open_connection("127.0.0.1", port)


async def handler(request: Request) -> Response:
    match request.path:
        case "/exec":
            return accept_remote_command(request, ALL, shout)
        case "/tty":
            return accept_remote_command(request, TTY, say_size)
        case "/nothing":
            return accept_remote_command(request, Streams(), shout)
        case "/broken":
            return accept_remote_command(request, ALL, broken)
    return accept_port_forward(request, [int(port) for port in request.params().get("ports", [])], connect_to_port)


async def broken(command: RemoteCommand) -> None:
    raise RuntimeError("lost")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    server = await serve(handler)
    async with Client(f"http://127.0.0.1:{server.port}") as client:
        yield client
    await server.close(grace_seconds=0)


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def spdy(client: Client, path: str, version: str) -> AsyncIterator[SpdySession]:
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": version}
    response, connection = await client.upgrade(Request("POST", path, "", headers))
    assert connection is not None, response
    session = SpdySession(connection, server=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(session.run())
        yield session
        connection.close()
        session.connection.close()


async def whole(stream: object) -> bytes:
    pieces = []
    while piece := await stream.receive():  # type: ignore[attr-defined]
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize(("version", "status"), [("v4.channel.k8s.io", SUCCESS), ("v3.channel.k8s.io", b""), ("", b"")])
async def test_exec_over_spdy(client: Client, version: str, status: bytes) -> None:
    async with spdy(client, "/exec", version) as session:
        error, stdin, stdout, stderr = [
            await session.open({"streamType": kind}) for kind in ("error", "stdin", "stdout", "stderr")
        ]
        await stdin.send(b"x" * 300_000)
        await stdin.close()
        assert await whole(stdout) == b"X" * 300_000
        assert await whole(stderr) == b"300000"
        assert await whole(error) == status


async def test_an_old_client_is_told_of_a_failure_in_words(client: Client) -> None:
    async with spdy(client, "/exec", "v2.channel.k8s.io") as session:
        error, stdin, _, _ = [await session.open({"streamType": k}) for k in ("error", "stdin", "stdout", "stderr")]
        await stdin.close()
        assert await whole(error) == b"command failed"


async def test_a_terminal_says_its_size_over_spdy(client: Client) -> None:
    async with spdy(client, "/tty", "v4.channel.k8s.io") as session:
        error, _, stdout, resize = [
            await session.open({"streamType": k}) for k in ("error", "stdin", "stdout", "resize")
        ]
        await resize.send(b'{"Width":80,"Height":24}\n')
        assert await whole(stdout) == b"80x24"
        assert await whole(error) == FAILURE


async def test_an_unknown_stream_ends_the_session(client: Client) -> None:
    async with spdy(client, "/exec", "v4.channel.k8s.io") as session:
        with pytest.raises(ConnectionError):
            await session.open({"streamType": "pony"})


async def test_an_unknown_version_is_refused_with_the_known_ones(client: Client) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v9"}
    response, connection = await client.upgrade(Request("POST", "/exec", "", headers))
    assert (response.status, connection) == (403, None)
    assert "v4.channel.k8s.io" in response.headers["x-accepted-stream-protocol-versions"]


async def test_exec_over_websocket(client: Client) -> None:
    async with remote_command(client, Request("GET", "/exec")) as remote:
        await remote.stdin.send(b"x" * 300_000)
        await remote.stdin.close()
        output = b""
        while len(output) < 300_000:
            output += await remote.stdout.receive()
        assert output == b"X" * 300_000
        assert await remote.status() == SUCCESS
        assert await whole(remote.stderr) == b"300000"


async def test_a_terminal_says_its_size_over_websocket(client: Client) -> None:
    async with remote_command(client, Request("GET", "/tty")) as remote:
        await remote.resize(132, 43)
        assert await remote.stdout.receive() == b"132x43"
        assert await remote.status() == FAILURE


async def test_base64_messages_are_text(client: Client) -> None:
    socket = await connect(client, Request("GET", "/exec"), ["base64.channel.k8s.io"])
    assert await socket.receive() == "1"  # The empty message that says hello.
    await socket.send("0" + base64.b64encode(b"hey").decode())
    assert await socket.receive() == "1" + base64.b64encode(b"HEY").decode()
    await socket.close()


async def test_a_websocket_without_a_subprotocol_is_binary(client: Client) -> None:
    socket = await connect(client, Request("GET", "/exec"), [])
    assert await socket.receive() == b"\x01"
    await socket.send(b"\x00hey")
    assert await socket.receive() == b"\x01HEY"
    await socket.close()


async def test_an_unknown_subprotocol_is_refused(client: Client) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        await connect(client, Request("GET", "/exec"), ["v9.channel.k8s.io"])
    assert refused.value.response.status == 400


async def test_no_stream_at_all_is_refused(client: Client) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        await connect(client, Request("GET", "/nothing"), ["v4.channel.k8s.io"])
    assert refused.value.response.status == 400
    assert (await client.send(Request("GET", "/exec"))).status == 400


async def test_input_that_nobody_reads_does_not_hold_up_the_end() -> None:
    async def deaf(command: RemoteCommand) -> None:
        await command.exit(SUCCESS)

    async def handler(request: Request) -> Response:
        return accept_remote_command(request, ALL, deaf)

    server = await serve(handler)
    async with Client(f"http://127.0.0.1:{server.port}") as client:
        async with remote_command(client, Request("GET", "/")) as remote:
            with suppress(ConnectionError):
                await remote.stdin.send(bytes(2_000_000))
            assert await remote.status() == SUCCESS
        async with spdy(client, "/", "v4.channel.k8s.io") as session:
            error, stdin, _, _ = [await session.open({"streamType": k}) for k in ("error", "stdin", "stdout", "stderr")]
            with suppress(ConnectionError):
                await stdin.send(bytes(2_000_000))
            assert await whole(error) == SUCCESS
    await server.close(grace_seconds=0)


async def test_a_broken_handler_ends_the_connection(client: Client) -> None:
    async with remote_command(client, Request("GET", "/broken")) as remote:
        assert await remote.status() == b""


async def test_a_client_that_goes_cancels_the_command() -> None:
    gone = asyncio.Event()

    async def wait(command: RemoteCommand) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    async def forever(request: Request) -> Response:
        return accept_remote_command(request, ALL, wait)

    server = await serve(forever)
    async with Client(f"http://127.0.0.1:{server.port}") as client:
        async with remote_command(client, Request("GET", "/")):
            pass
    await asyncio.wait_for(gone.wait(), 5)
    await server.close(grace_seconds=0)


async def forwarded(session: SpdySession, port: int, request_id: str) -> tuple[bytes, bytes]:
    error = await session.open({"streamType": "error", "port": str(port), "requestID": request_id})
    await error.close()
    data = await session.open({"streamType": "data", "port": str(port), "requestID": request_id})
    await data.send(b"hello " * 50_000)
    await data.close()
    return await whole(data), await whole(error)


async def test_port_forward_over_spdy(client: Client, echo_port: int) -> None:
    async with spdy(client, "/portforward", SPDY_PROTOCOL) as session:
        async with asyncio.timeout(10):
            answers = [await forwarded(session, echo_port, str(number)) for number in range(3)]
        assert answers == [(b"hello " * 50_000, b"")] * 3


async def test_a_port_that_refuses_is_said_on_the_error_stream(client: Client) -> None:
    async with spdy(client, "/portforward", SPDY_PROTOCOL) as session:
        error = await session.open({"streamType": "error", "port": "1", "requestID": "0"})
        data = await session.open({"streamType": "data", "port": "1", "requestID": "0"})
        assert await whole(error) == b"connection to port 1 was refused"
        assert await whole(data) == b""


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "x", "٣", "0000081234", "1" * 5000])
async def test_a_stream_without_a_port_is_refused(client: Client, port: str) -> None:
    async with spdy(client, "/portforward", SPDY_PROTOCOL) as session:
        with pytest.raises(ConnectionError):
            await session.open({"streamType": "data", "port": port, "requestID": "0"})


async def test_port_forward_over_spdy_inside_a_websocket(client: Client, echo_port: int) -> None:
    socket = await connect(client, Request("GET", "/portforward"), [TUNNEL_PROTOCOL])
    session = SpdySession(WebSocketConnection(socket), server=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(session.run())
        async with asyncio.timeout(10):
            assert await forwarded(session, echo_port, "0") == (b"hello " * 50_000, b"")
        await socket.close()


async def test_port_forward_over_plain_websocket(client: Client, echo_port: int) -> None:
    socket = await connect(client, Request("GET", "/portforward", f"ports={echo_port}"), ["v4.channel.k8s.io"])
    number = echo_port.to_bytes(2, "little")
    assert [await socket.receive(), await socket.receive()] == [b"\x00" + number, b"\x01" + number]
    await socket.send(b"\x00hello")
    assert await socket.receive() == b"\x00hello"
    await socket.close()


async def test_a_relay_passes_exec_through(client: Client) -> None:
    async def front(request: Request) -> Response:
        response, behind = await client.upgrade(Request("GET", request.path, request.query, request.headers))
        if behind is None:
            return response
        return Upgrade(
            101,
            {k: v for k, v in response.headers.items() if k not in ("connection", "date")},
            takeover=lambda own: relay(own, behind),
        )

    server = await serve(front)
    async with Client(f"http://127.0.0.1:{server.port}") as outside:
        async with remote_command(outside, Request("GET", "/exec")) as remote:
            await remote.stdin.send(b"through")
            assert await remote.stdout.receive() == b"THROUGH"
            await remote.stdin.close()
            assert json.loads(await remote.status())["status"] == "Success"
    await server.close(grace_seconds=0)


def test_sizes_come_in_any_cut() -> None:
    assert sizes_in(b'{"Width":1,"Height":2}\n{"Width":3,') == ([(1, 2)], b'{"Width":3,')
    assert sizes_in(b'nonsense\n{"Width":1,"Height":2}') == ([(1, 2)], b"")
