"""Probes: where they go, what an answer means, and when it counts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kybern.aio.clock import SystemClock
from kybern.api.core_v1 import Container, ContainerPort, GRPCAction, HTTPGetAction, HTTPHeader, Probe, TCPSocketAction
from kybern.kubelet.probes.checks import Checked, Outcome, check
from kybern.kubelet.probes.counting import Run, count
from kybern.kubelet.probes.grpc import frame
from kybern.kubelet.probes.targets import http_target, port_of
from kybern.runtime.simulated import Simulated

CONTAINER = Container(name="web", ports=(ContainerPort(name="http", container_port=8080),))


@asynccontextmanager
async def listening(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # a probe that only connects, or gave up
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def http(port: int, path: str = "/", timeout: int = 1) -> Checked:
    probe = Probe(http_get=HTTPGetAction(port=port, path=path), timeout_seconds=timeout)
    return await check(probe, Simulated(SystemClock()), CONTAINER, "id", "127.0.0.1")


@pytest.mark.parametrize(
    ("status", "outcome", "output"),
    [
        ("200 OK", Outcome.SUCCESS, "hi"),
        ("204 No Content", Outcome.SUCCESS, "hi"),
        ("500 Oops", Outcome.FAILURE, "HTTP probe failed with statuscode: 500"),
        ("404 Not Found", Outcome.FAILURE, "HTTP probe failed with statuscode: 404"),
    ],
)
async def test_an_http_status_decides(status: str, outcome: Outcome, output: str) -> None:
    async with listening(lambda _: f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nhi".encode()) as port:
        assert await http(port) == Checked(outcome, output)


async def test_what_is_asked_is_what_upstream_asks() -> None:
    asked: list[bytes] = []

    def answer(head: bytes) -> bytes:
        asked.append(head)
        return b"HTTP/1.1 200 OK\r\n\r\n"

    async with listening(answer) as port:
        await http(port, "/healthz")
        lines = asked[0].decode().split("\r\n")
    assert lines[0] == "GET /healthz HTTP/1.1"
    assert {"User-Agent: kube-probe/1.37", "Accept: */*", f"Host: 127.0.0.1:{port}", "Connection: close"} <= set(lines)


async def test_a_redirect_within_the_host_is_followed() -> None:
    def answer(head: bytes) -> bytes:
        if head.startswith(b"GET /there"):
            return b"HTTP/1.1 200 OK\r\n\r\nthere"
        return b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"

    async with listening(answer) as port:
        assert (await http(port)).outcome is Outcome.SUCCESS


async def test_a_redirect_to_another_host_is_not() -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    async with listening(lambda _: redirect) as port:
        assert (await http(port)).outcome is Outcome.WARNING


async def test_an_answer_that_does_not_end_ends_at_its_limit() -> None:
    async with listening(lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000) as port:
        assert len((await http(port)).output) == 10 * 1024


@pytest.mark.parametrize("junk", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"\r\n\r\n"])
async def test_what_is_no_http_is_a_failure(junk: bytes) -> None:
    async with listening(lambda _: junk) as port:
        assert (await http(port)).outcome is Outcome.FAILURE


async def test_nobody_there() -> None:
    async with listening(lambda _: b"") as port:
        pass
    found = await http(port)
    message = f'Get "http://127.0.0.1:{port}/": dial tcp 127.0.0.1:{port}: connect: connection refused'
    assert found == Checked(Outcome.FAILURE, message)


async def test_an_open_port_is_a_success() -> None:
    async with listening(lambda _: b"") as port:
        probe = Probe(tcp_socket=TCPSocketAction(port=port))
        assert await check(probe, Simulated(SystemClock()), CONTAINER, "id", "127.0.0.1") == Checked(Outcome.SUCCESS)
    refused = await check(probe, Simulated(SystemClock()), CONTAINER, "id", "127.0.0.1")
    assert refused.output == f"dial tcp 127.0.0.1:{port}: connect: connection refused"


@pytest.mark.parametrize(("port", "expected"), [(80, 80), ("http", 8080), ("81", 81)])
def test_a_port_has_a_number_or_a_name(port: int | str, expected: int) -> None:
    assert port_of(port, CONTAINER) == expected


@pytest.mark.parametrize("port", ["nope", 0, 65536])
def test_a_port_that_there_is_not(port: int | str) -> None:
    with pytest.raises(ValueError, match="port"):
        port_of(port, CONTAINER)


def test_headers_of_the_probe_come_before_the_usual_ones() -> None:
    action = HTTPGetAction(port=1, scheme="HTTPS", http_headers=(HTTPHeader(name="user-agent", value="me"),))
    target = http_target(action, CONTAINER, "10.0.0.2")
    assert target.url == "https://10.0.0.2:1/"
    assert target.headers == (("user-agent", "me"), ("Accept", "*/*"))


GOOD, BAD, ODD = Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("outcomes", "failure", "success", "decided"),
    [
        ([GOOD], 3, 1, True),
        ([BAD], 3, 1, None),
        ([BAD, BAD, BAD], 3, 1, False),
        ([BAD, BAD, GOOD, BAD, BAD], 3, 1, True),
        ([GOOD, GOOD], 3, 3, None),
        ([GOOD, GOOD, GOOD], 3, 3, True),
        ([BAD, ODD, BAD, ODD, BAD], 3, 1, False),
        ([GOOD, BAD, BAD, BAD, GOOD], 3, 2, False),
        ([BAD], 1, 1, False),
    ],
)
def test_so_many_in_a_row_decide(outcomes: list[Outcome], failure: int, success: int, decided: bool | None) -> None:
    run = Run()
    for outcome in outcomes:
        run = count(run, outcome, Probe(failure_threshold=failure, success_threshold=success))
    assert run.decided is decided


def frames_of(status: int | None) -> bytes:
    """What a health server answers: settings, headers, the message, trailers."""
    message = b"" if not status else bytes((0x08, status))
    data = b"" if status is None else frame(0, 0, 1, b"\0" + len(message).to_bytes(4, "big") + message)
    return frame(4, 0, 0, b"") + frame(1, 4, 1, b"\x88") + data + frame(1, 5, 1, b"\x88")


@pytest.mark.parametrize(
    ("status", "outcome", "output"),
    [
        (1, Outcome.SUCCESS, "service healthy"),
        (2, Outcome.FAILURE, 'service unhealthy (responded with "NOT_SERVING")'),
        (0, Outcome.FAILURE, 'service unhealthy (responded with "UNKNOWN")'),
        (
            None,
            Outcome.FAILURE,
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)",
        ),
    ],
)
async def test_a_grpc_server_says_how_it_is(status: int | None, outcome: Outcome, output: str) -> None:
    async with listening(lambda _: frames_of(status)) as port:
        probe = Probe(grpc=GRPCAction(port=port, service="a"))
        found = await check(probe, Simulated(SystemClock()), CONTAINER, "id", "127.0.0.1")
    assert found == Checked(outcome, output)


async def test_a_grpc_server_that_is_not_there() -> None:
    async with listening(lambda _: b"") as port:
        pass
    found = await check(Probe(grpc=GRPCAction(port=port)), Simulated(SystemClock()), CONTAINER, "id", "127.0.0.1")
    assert found.output == f'timeout: failed to connect service "127.0.0.1:{port}" within 1s'
