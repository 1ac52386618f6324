"""News of a directory, as the kernel tells it (inotify): something in it came, went or was written.

    with DirectoryNews(path) as news:
        while True:
            look()
            await news.wait(20.0)

- What happens while `look` runs ends the next wait at once.
- Who writes a file is given a moment to end. What changes without the directory's knowledge, behind a link say, is found by
  the look that `seconds` ask for.
- Where there is no news to be had (no such directory, no room for one more watch) one is to look each second.
"""

import asyncio
import os
from contextlib import suppress
from typing import Self

from kybern.aio.timeouts import timeout
from kybern.linux.syscalls import call

ATTRIBUTES, WRITTEN, MOVED_FROM, MOVED_TO, CREATED, DELETED = 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
ONLY_DIRECTORY = 0x01000000  # IN_ONLYDIR
EVENTS = ATTRIBUTES | WRITTEN | MOVED_FROM | MOVED_TO | CREATED | DELETED | ONLY_DIRECTORY
RECEIVE_BYTES = 64 << 10
UNTOLD_SECONDS = 1.0
GATHERING_SECONDS = 0.05


class DirectoryNews:
    def __init__(self, path: str) -> None:
        self.path = path
        self._kernel = self._watch = -1
        self._heard = asyncio.Event()

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._kernel = call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
            asyncio.get_running_loop().add_reader(self._kernel, self._hear)
        self._is_told()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._kernel >= 0:
            asyncio.get_running_loop().remove_reader(self._kernel)
            os.close(self._kernel)
            self._kernel = -1

    async def wait(self, seconds: float) -> None:
        """Until there is news, and no longer than this."""
        with suppress(TimeoutError):
            async with timeout(seconds if self._is_told() else min(seconds, UNTOLD_SECONDS)):
                await self._heard.wait()
            await asyncio.sleep(GATHERING_SECONDS)
        self._heard.clear()

    def _is_told(self) -> bool:
        """Asked for each time, which changes nothing unless another directory has this name by now."""
        before = self._watch
        try:
            self._watch = call("inotify_add_watch", self._kernel, self.path, EVENTS)
        except OSError:
            return False
        if before not in (-1, self._watch):
            with suppress(OSError):  # it went with its directory, unless that has another name now
                call("inotify_rm_watch", self._kernel, before)
        return True

    def _hear(self) -> None:
        os.read(self._kernel, RECEIVE_BYTES)  # what it does not hold is told of again
        self._heard.set()
