"""E38: a thousand clients of exec that go without a word. Nothing of them is kept, which is the defence's doing."""

import asyncio

import pytest

from kybern.runtime import streams
from kybern.runtime.streams import serve_remote
from kybern.web.client import Client
from kybern.web.http import Request, Response
from kybern.web.remote_client import remote_command
from kybern.web.remote_command import RemoteCommand, Streams
from kybern.web.server import serve

AT_ONCE = 50
WANTED = Streams(stdin=False, stdout=True, stderr=False)


class Process:
    """A command that never ends by itself."""

    def __init__(self, alive: set["Process"]) -> None:
        self.alive, self.over = alive, asyncio.Event()
        alive.add(self)

    async def read_stdout(self) -> bytes:
        await self.over.wait()
        return b""

    async def read_stderr(self) -> bytes:
        await self.over.wait()
        return b""

    async def write_stdin(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    async def wait(self) -> int:
        await self.over.wait()
        return 0

    async def close(self) -> None:
        self.over.set()
        self.alive.discard(self)


async def left_by_clients_that_go(clients: int, looks: int) -> int:
    """Processes that are still held when everybody has been gone for a while."""
    alive: set[Process] = set()

    async def start() -> Process:
        return Process(alive)

    async def handler(request: Request) -> Response:
        return serve_remote(request, WANTED, start, "yes")

    server = await serve(handler)
    before = len(asyncio.all_tasks())
    async with Client(f"http://127.0.0.1:{server.port}") as client:

        async def come_and_go() -> None:
            async with remote_command(client, Request("GET", "/")):
                pass

        for _ in range(clients // AT_ONCE):
            await asyncio.gather(*(come_and_go() for _ in range(AT_ONCE)))
    for _ in range(looks):
        if not alive and len(asyncio.all_tasks()) <= before:
            break
        await asyncio.sleep(0.01)
    left = len(alive)
    for process in list(alive):
        await process.close()
    await server.close(grace_seconds=0)
    assert left or len(asyncio.all_tasks()) <= before
    return left


async def test_a_thousand_clients_that_go_leave_nothing() -> None:
    assert await left_by_clients_that_go(1000, looks=1000) == 0


async def test_they_leave_everything_without_the_defence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lets_nothing_go(command: RemoteCommand, io: Process, tty: bool, named: str) -> None:
        await io.wait()

    monkeypatch.setattr(streams, "serve_process", lets_nothing_go)
    assert await left_by_clients_that_go(AT_ONCE, looks=10) == AT_ONCE
