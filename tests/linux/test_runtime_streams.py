"""exec, attach and port-forward: bytes go between the caller and the process, and its end is heard of."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_fixtures import Pod, pod

from kybern.runtime.cri import ExecIO, RuntimeFault

pytestmark = pytest.mark.linux


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Pod]:
    async with pod(tmp_path) as made:
        yield made


async def read_until(io: ExecIO, wanted: bytes) -> bytes:
    found = b""
    async with asyncio.timeout(10):
        while wanted not in found:
            piece = await io.read_stdout()
            assert piece, f"ended with {found!r}"
            found += piece
    return found


async def test_exec_gives_both_streams_and_the_exit_code(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    result = await web.runtime.exec_sync(identifier, ["sh", "-c", "echo out; echo err >&2; exit 4"], 10)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 4)


async def test_exec_that_takes_too_long_is_dead_when_it_is_given_up(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    with pytest.raises(TimeoutError):
        await web.runtime.exec_sync(identifier, ["sleep", "77"], 0.2)
    async with asyncio.timeout(10):
        while b"sleep 77" in (await web.runtime.exec_sync(identifier, ["ps", "-o", "args"], 10)).stdout:
            await asyncio.sleep(0.05)


async def test_exec_of_what_is_not_there_says_so(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    with pytest.raises(RuntimeFault, match="executable file not found"):
        await web.runtime.exec_sync(identifier, ["nope"], 5)
    await web.runtime.stop_container(identifier, 0)
    with pytest.raises(RuntimeFault, match="is not running"):
        await web.runtime.exec_sync(identifier, ["true"], 5)


async def test_stdin_reaches_the_process_and_its_end_ends_it(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    io = await web.runtime.exec(identifier, ["cat"], stdin=True, tty=False)
    await io.write_stdin(b"hello")
    assert await io.read_stdout() == b"hello"
    await io.close_stdin()
    assert (await io.read_stdout(), await io.wait()) == (b"", 0)
    await io.close()


async def test_a_terminal_has_a_name_and_a_size(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    io = await web.runtime.exec(identifier, ["sh"], stdin=True, tty=True)
    await io.resize(101, 33)
    await io.write_stdin(b"tty; stty size; exit 9\n")
    shown = await read_until(io, b"33 101")
    assert b"/dev/pts/" in shown
    assert await io.wait() == 9
    await io.close()


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


async def test_attach_sees_what_is_written_and_writes_what_is_read(web: Pod) -> None:
    script = "while read line; do echo got $line; done; echo end"
    identifier = await web.run("sh", "-c", script, stdin=True, stdin_once=True)
    io = await web.runtime.attach(identifier, stdin=True, tty=False)
    await io.write_stdin(b"one\n")
    await read_until(io, b"got one\n")
    await io.close_stdin()
    await read_until(io, b"end\n")
    assert await io.wait() == 0
    await io.close()
    assert web.lines(identifier) == ["got one", "end"]


async def test_a_container_with_a_terminal_logs_as_stdout(web: Pod) -> None:
    identifier = await web.run("sh", "-c", "tty; stty size; read x; echo $x >&2", stdin=True, tty=True)
    io = await web.runtime.attach(identifier, stdin=True, tty=True)
    await io.resize(90, 20)
    await io.write_stdin(b"word\n")
    await read_until(io, b"word")
    assert await io.wait() == 0
    await io.close()
    assert {line.split(" ")[1] for line in web.log(identifier).splitlines()} == {"stdout"}
    assert any("/dev/pts/0" in line for line in web.lines(identifier))


async def test_port_forward_connects_inside_the_pod(web: Pod) -> None:
    identifier = await web.run("httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/www")
    async with asyncio.timeout(10):
        while b":1F90" not in (await web.runtime.exec_sync(identifier, ["cat", "/proc/net/tcp"], 10)).stdout:
            await asyncio.sleep(0.05)
    reader, writer = await web.runtime.port_forward(web.sandbox, 8080)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    await writer.drain()
    answer = b""
    while piece := await reader.read():
        answer += piece
    writer.close()
    assert answer.endswith(b"hello\n")


async def test_port_forward_to_nobody_is_a_connection_error(web: Pod) -> None:
    with pytest.raises(ConnectionError, match="failed to connect to localhost:81"):
        await web.runtime.port_forward(web.sandbox, 81)


async def test_streams_leave_no_descriptor_behind(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    await web.runtime.exec_sync(identifier, ["true"], 10)
    before = (len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{web.node.pid}/fd")))
    for _ in range(20):
        await web.runtime.exec_sync(identifier, ["true"], 10)
    assert (len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{web.node.pid}/fd"))) == before
