"""Calls between two ends of a socket, as an agent and its gateway make them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kybern.runtime.cri import RuntimeFault
from kybern.runtime.remote.calls import fault_of
from kybern.runtime.remote.peer import NOT_FOUND, UNAVAILABLE, UNIMPLEMENTED, Peer, RpcError, Serve
from kybern.runtime.remote.streams import exit_code


@asynccontextmanager
async def pair(serve: Serve) -> AsyncIterator[tuple[Peer, Peer]]:
    near, far = socket.socketpair()
    ours = Peer(*await asyncio.open_connection(sock=near))
    theirs = Peer(*await asyncio.open_connection(sock=far), serve)
    running = [asyncio.ensure_future(each.run()) for each in (ours, theirs)]
    try:
        yield ours, theirs
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def echo(path: str, body: bytes, seconds: float) -> AsyncIterator[bytes]:
    if path == "/missing":
        raise RpcError(NOT_FOUND, "there is none")
    for _ in range(3 if path == "/three" else 1):
        yield body


async def test_calls_are_answered_each_with_its_own_answer() -> None:
    async with pair(echo) as (peer, _):
        bodies = [f"{number}".encode() * 1000 for number in range(50)]
        assert await asyncio.gather(*(peer.call("/one", body, 5) for body in bodies)) == bodies
        assert [piece async for piece in peer.stream("/three", b"x")] == [b"x"] * 3


async def test_a_refusal_keeps_its_code_and_its_words() -> None:
    async with pair(echo) as (peer, other):
        with pytest.raises(RpcError, match="rpc error: code = NotFound desc = there is none") as refused:
            await peer.call("/missing", b"", 5)
        assert refused.value.code == NOT_FOUND
        with pytest.raises(RpcError) as unknown:
            await other.call("/anything", b"", 5)
        assert unknown.value.code == UNIMPLEMENTED


async def test_a_fault_of_the_server_ends_its_call_and_no_other() -> None:
    async def faulty(path: str, body: bytes, seconds: float) -> AsyncIterator[bytes]:
        yield {b"": b"fine"}[body]

    async with pair(faulty) as (peer, _):
        with pytest.raises(RpcError, match="code = Internal"):
            await peer.call("/", b"wrong", 5)
        assert await peer.call("/", b"", 5) == b"fine"


async def test_a_call_that_is_given_up_ends_on_the_other_side_too() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(path: str, body: bytes, seconds: float) -> AsyncIterator[bytes]:
        begun.set()
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            ended.set()

    async with pair(endless) as (peer, _):
        asking = asyncio.ensure_future(peer.call("/", b"", 5))
        await begun.wait()
        asking.cancel()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_when_the_other_end_goes_every_call_fails() -> None:
    async def silent(path: str, body: bytes, seconds: float) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with pair(silent) as (peer, other):
        asking = asyncio.ensure_future(peer.call("/", b"", 5))
        await asyncio.sleep(0)
        other.writer.close()
        with pytest.raises(RpcError) as lost:
            await asking
        assert lost.value.code == UNAVAILABLE


async def test_who_calls_a_lost_end_again_and_again_lets_others_run() -> None:
    async with pair(echo) as (peer, _):
        peer.writer.close()
        others = asyncio.ensure_future(asyncio.sleep(0))
        for _ in range(5):
            with pytest.raises(RpcError, match="the connection was lost"):
                await peer.call("/", b"", 5)
        assert others.done()


def test_how_a_command_ended_is_read_from_its_status() -> None:
    assert exit_code(b'{"status":"Success"}') == 0
    ended = (
        b'{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}'
    )
    assert exit_code(ended) == 7
    for said, told in (
        (b'{"status":"Failure","message":"no such file"}', "no such file"),
        (b"", "lost"),
        (b"oh", "oh"),
    ):
        with pytest.raises(RuntimeFault, match=told):
            exit_code(said)


def test_faults_have_the_reasons_that_pods_show() -> None:
    gone = fault_of(RpcError(NOT_FOUND, "x"), "StopContainerError")
    assert isinstance(gone, RuntimeFault) and gone.reason == "NotFound"
    missing = fault_of(RpcError(NOT_FOUND, "x"), "ErrImagePull")
    assert isinstance(missing, RuntimeFault) and missing.reason == "ErrImagePull"
    down = fault_of(RpcError(UNAVAILABLE, "x"), "ErrImagePull")
    assert isinstance(down, RuntimeFault) and down.reason == "RegistryUnavailable"
