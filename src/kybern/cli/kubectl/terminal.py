"""This terminal (or these pipes) and the streams of a process elsewhere, joined until the process ends."""

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty as tty_modes
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from kybern.web.channel import Channel
from kybern.web.remote_client import RemoteProcess

READ_BYTES_MAX = 16 * 1024


async def attached(remote: RemoteProcess, *, stdin: bool, tty: bool) -> None:
    """Returns when both outputs have ended; input that nobody reads any more is dropped."""
    with raw(sys.stdin.fileno()) if tty else no_change():
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(send_input(remote.stdin))] if stdin else []
            if tty:
                helpers.append(group.create_task(follow_size(remote)))
            outputs = [(remote.stdout, 1), (remote.stderr, 2)]
            await asyncio.wait([group.create_task(copy(channel, fd)) for channel, fd in outputs])
            for helper in helpers:
                helper.cancel()


async def copy(channel: Channel, descriptor: int) -> None:
    while data := await channel.receive():
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


async def send_input(channel: Channel) -> None:
    with suppress(ConnectionError):
        async for data in chunks(sys.stdin.fileno()):
            await channel.send(data)
        await channel.close()


async def chunks(descriptor: int) -> AsyncIterator[bytes]:
    """What can be read, as it comes; a plain file, for which there is no waiting, is simply read."""
    loop = asyncio.get_running_loop()
    while True:
        ready = loop.create_future()
        try:
            loop.add_reader(descriptor, set_once, ready)
        except OSError:
            ready.set_result(None)
        try:
            await ready
        finally:
            with suppress(OSError):
                loop.remove_reader(descriptor)
        data = os.read(descriptor, READ_BYTES_MAX)
        if not data:
            return
        yield data


def set_once(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def follow_size(remote: RemoteProcess) -> None:
    """Sends the terminal's size now and whenever it changes."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            changed.clear()
            size = shutil.get_terminal_size()
            await remote.resize(size.columns, size.lines)
            await changed.wait()
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the other side, Ctrl-C too; the terminal is put back whatever happens."""
    before = termios.tcgetattr(descriptor)
    try:
        tty_modes.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def no_change() -> Iterator[None]:
    yield
