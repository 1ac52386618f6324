"""exec, attach and port-forward: bytes go between the caller and the process, and its end is heard of."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_fixtures import Pod, pod, read_until

pytestmark = pytest.mark.linux


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Pod]:
    async with pod(tmp_path) as made:
        yield made


async def test_an_exec_that_is_let_go_is_killed(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    io = await web.runtime.exec(identifier, ["sh", "-c", "echo here; exec sleep 88"], stdin=False, tty=False)
    await read_until(io, b"here")
    await io.close()
    async with asyncio.timeout(10):
        while b"sleep 88" in (await web.runtime.exec_sync(identifier, ["ps", "-o", "args"], 10)).stdout:
            await asyncio.sleep(0.05)


async def test_an_exec_that_nobody_waits_for_any_more_is_killed(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    asked = asyncio.ensure_future(web.runtime.exec(identifier, ["sleep", "99"], stdin=False, tty=False))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await web.runtime.exec_sync(identifier, ["true"], 10)
    async with asyncio.timeout(10):
        while b"sleep 99" in (await web.runtime.exec_sync(identifier, ["ps", "-o", "args"], 10)).stdout:
            await asyncio.sleep(0.05)


async def test_streams_leave_no_descriptor_behind(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    await web.runtime.exec_sync(identifier, ["true"], 10)
    before = (len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{web.node.pid}/fd")))
    for _ in range(20):
        await web.runtime.exec_sync(identifier, ["true"], 10)
    assert (len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{web.node.pid}/fd"))) == before
