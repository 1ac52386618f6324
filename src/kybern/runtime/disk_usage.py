"""How much disk a directory takes, counted as `du` counts, beside everything else, and not more often than it is worth.

A tree that takes long to count is counted again later: counting may take one part in a hundred of the time.
"""

import asyncio
import os
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from kybern.linux import beneath

FRESH_SECONDS = 10.0
REST_FACTOR = 100.0
KNOWN_MAX = 4096  # directories; the one asked about longest ago is forgotten
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Used(NamedTuple):
    bytes: int = 0
    inodes: int = 0


@dataclass(frozen=True, slots=True)
class _Count:
    used: Used
    until: float


class DiskUsage:
    def __init__(self) -> None:
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    async def of(self, path: str) -> Used:
        """Nothing where there is no such directory."""
        known = self._counts.get(path)
        if known is not None and known.until > time.monotonic():
            return known.used
        async with self._one_at_a_time:  # a node full of pods must not be a node full of counting threads
            began = time.monotonic()
            used = await asyncio.to_thread(count, path)
            now = time.monotonic()
        self._counts[path] = _Count(used, now + max(FRESH_SECONDS, (now - began) * REST_FACTOR))
        self._counts.move_to_end(path)
        while len(self._counts) > KNOWN_MAX:
            self._counts.popitem(last=False)
        return used


def count(path: str) -> Used:
    """Of one file system, following no link; a file with several names counts once."""
    try:
        top = os.open(path, DIRECTORY)
    except OSError:
        return Used()
    try:
        return _count(top)
    finally:
        os.close(top)


def _count(top: int) -> Used:
    about = os.fstat(top)
    device, seen = about.st_dev, {about.st_ino}
    total, inodes = about.st_blocks * 512, 1
    waiting = ["."]  # names and not descriptors: there may be more directories than one may have open
    while waiting:
        here = waiting.pop()
        try:
            directory = beneath.open_at(top, here, DIRECTORY)
        except OSError:
            continue  # it went meanwhile
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    about = os.stat(entry.name, dir_fd=directory, follow_symlinks=False)
                except OSError:
                    continue
                if about.st_dev != device or about.st_ino in seen:
                    continue
                if stat.S_ISDIR(about.st_mode):
                    waiting.append(f"{here}/{entry.name}")
                elif about.st_nlink > 1:
                    seen.add(about.st_ino)
                total, inodes = total + about.st_blocks * 512, inodes + 1
        os.close(directory)
    return Used(total, inodes)
