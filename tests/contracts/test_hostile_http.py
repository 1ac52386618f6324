"""A2: a thousand peers that are slow, silent or wrong in their HTTP take nothing from an honest client, and leave nothing.

Slow heads, slow bodies, idle connections, heads and bodies without an end, and bytes that are no HTTP, all at once, while one
client creates and reads objects. When their time is up, connections, tasks and descriptors are as they were.
"""

import asyncio
import json
import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from test_watches_tell_everything import Everything, admin

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.memory import MemoryStore
from kybern.web.client import Client
from kybern.web.http import Request
from kybern.web.limits import Limits
from kybern.web.server import Server, serve

SLOW_HEADS, SLOW_BODIES, IDLE, HONEST_REQUESTS = 400, 200, 400, 300
URL = "/api/v1/namespaces/default/configmaps"
POST = f"POST {URL} HTTP/1.1\r\nHost: a\r\n".encode()
LIMITS = Limits(
    head_seconds=3.0, idle_seconds=3.0, body_stall_seconds=3.0, write_stall_seconds=3.0, linger_seconds=0.05
)
WRONG: tuple[bytes, ...] = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # a TLS handshake where none is spoken
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2_000_000,
    b"GET /" + b"a" * 500_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    POST + b"Content-Length: -1\r\n\r\n",
    POST + b"Content-Length: 4294967296\r\n\r\n" + b"x" * 100_000,
    POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 4_000_000,  # without end
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


@asynccontextmanager
async def served() -> AsyncIterator[Server]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    machine = await open_machine(MemoryStore(), RESOURCES, SystemClock(), Ids(1))
    server = await serve(ApiServer(machine, authenticate=admin, authorizer=Authorizers((Everything(),))), limits=LIMITS)
    try:
        yield server
    finally:
        await server.close(grace_seconds=0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def honest(port: int) -> int:
    """How many requests went well."""
    done = 0
    async with Client(f"http://127.0.0.1:{port}") as client:
        for number in range(HONEST_REQUESTS):
            body = json.dumps({"metadata": {"name": f"c{number}"}}).encode()
            made = await client.send(Request("POST", URL, "", {"content-type": "application/json"}, body))
            read = await client.send(Request("GET", f"{URL}/c{number}"))
            done += (made.status, read.status) == (201, 200)
            await made.read(), await read.read()
            await asyncio.sleep(0.005)
    return done


async def dripping(port: int, start: bytes, drop: bytes) -> None:
    """A byte at a time, until the server has had enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(start)
        while drop and not reader.at_eof():
            await asyncio.sleep(0.25)
            writer.write(drop)
            await writer.drain()
        await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def saying(port: int, what: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(what)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def test_hostile_peers_take_nothing_from_an_honest_client() -> None:
    async with served() as server:
        before: dict[str, Any] = {"descriptors": descriptors(), "tasks": len(asyncio.all_tasks())}
        async with asyncio.TaskGroup() as peers:
            for number in range(max(SLOW_HEADS, SLOW_BODIES, IDLE)):
                if number < SLOW_HEADS:
                    peers.create_task(dripping(server.port, b"GET / HTTP/1.1\r\n", b"X"))
                if number < SLOW_BODIES:
                    peers.create_task(dripping(server.port, POST + b"Content-Length: 100\r\n\r\n{", b""))
                if number < IDLE:
                    peers.create_task(dripping(server.port, b"", b""))
            answers = [peers.create_task(saying(server.port, what)) for what in WRONG]
            while len(server.connections) < SLOW_HEADS + SLOW_BODIES + IDLE:
                await asyncio.sleep(0.01)
            assert await honest(server.port) == HONEST_REQUESTS
        for what, answer in zip(WRONG, answers, strict=True):
            said = answer.result()
            assert not said or 400 <= int(said.split()[1]) < 600, (what[:80], said[:80])
            assert b" 200 " not in said and b" 201 " not in said
        while server.connections:
            await asyncio.sleep(0.05)
        assert descriptors() <= before["descriptors"] + 5
        assert len(asyncio.all_tasks()) <= before["tasks"]


@pytest.mark.parametrize("what", WRONG, ids=range(len(WRONG)))
async def test_no_second_request_hides_behind_a_wrong_one(what: bytes) -> None:
    async with served() as server:
        hidden = b"DELETE /api/v1/namespaces/default HTTP/1.1\r\nHost: a\r\n\r\n"
        said = await saying(server.port, what + hidden)
        assert said.count(b"HTTP/1.1 ") <= 1
