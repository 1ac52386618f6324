"""The streams of an exec or attach, as descriptors that the warden handed over: no byte passes through it."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping

from kybern.linux import tty as terminals

READ_BYTES = 1 << 16


class ProcessIO:
    """Implements `cri.ExecIO`. `streams` are descriptors by name: stdin, stdout, stderr, or terminal."""

    def __init__(
        self,
        streams: Mapping[str, int],
        *,
        ended: Awaitable[int],
        on_close: Callable[[], Awaitable[None]],
        on_resize: Callable[[int, int], Awaitable[None]] | None = None,
        on_stdin_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.streams = dict(streams)
        self.ended = asyncio.ensure_future(ended)
        self.on_close, self.on_resize, self.on_stdin_end = on_close, on_resize, on_stdin_end
        self.finished: set[str] = set()
        for descriptor in self.streams.values():
            os.set_blocking(descriptor, False)

    async def read_stdout(self) -> bytes:
        return await self._read("terminal" if "terminal" in self.streams else "stdout")

    async def read_stderr(self) -> bytes:
        return await self._read("stderr")

    async def _read(self, name: str) -> bytes:
        while name in self.streams and name not in self.finished:
            try:
                data = os.read(self.streams[name], READ_BYTES)
            except BlockingIOError:
                await self._wait(name, write=False)
                continue
            except OSError:  # EIO: a terminal's other side has closed
                data = b""
            if not data:
                self.finished.add(name)
            return data
        return b""

    async def write_stdin(self, data: bytes) -> None:
        """BrokenPipeError where the process no longer reads."""
        name = "terminal" if "terminal" in self.streams else "stdin"
        left = memoryview(data)
        while left:
            if name not in self.streams:
                raise BrokenPipeError(32, "stdin is closed")
            try:
                left = left[os.write(self.streams[name], left) :]
            except BlockingIOError:
                await self._wait(name, write=True)

    async def close_stdin(self) -> None:
        if "stdin" in self.streams:
            os.close(self.streams.pop("stdin"))
        if self.on_stdin_end is not None:
            await self.on_stdin_end()

    async def resize(self, width: int, height: int) -> None:
        if self.on_resize is not None:
            await self.on_resize(width, height)
        elif "terminal" in self.streams:
            terminals.resize(self.streams["terminal"], width, height)

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    async def close(self) -> None:
        for descriptor in self.streams.values():
            os.close(descriptor)
        self.streams.clear()
        try:
            await self.on_close()
        finally:
            self.ended.cancel()

    async def _wait(self, name: str, *, write: bool) -> None:
        """Until the descriptor is ready. Waits on a copy, since one may be read and written at once."""
        loop = asyncio.get_running_loop()
        copy = os.dup(self.streams[name])
        ready: asyncio.Future[None] = loop.create_future()

        def found() -> None:
            if not ready.done():
                ready.set_result(None)

        (loop.add_writer if write else loop.add_reader)(copy, found)
        try:
            await ready
        finally:
            (loop.remove_writer if write else loop.remove_reader)(copy)
            os.close(copy)
