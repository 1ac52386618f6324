"""Container logs: from the files that the runtime writes in CRI format to what `kubectl logs` asks for.

    2026-01-31T08:00:00.123456789Z stdout F a whole line
    2026-01-31T08:00:00.123456789Z stderr P the beginning of a long

- Reading starts at the line that `tailLines` needs, found backwards; what is older is never read.
- Following survives rotation: a file is read to its end before its successor is opened.
"""

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from kybern.aio.clock import Clock, from_rfc3339

CHUNK_BYTES = 64 * 1024
LINE_BYTES_MAX = 256 * 1024  # the runtime splits longer ones itself
POLL_SECONDS = 0.1
SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    follow: bool = False
    tail_lines: int | None = None
    since: float | None = None
    """Seconds since 1970."""
    timestamps: bool = False
    bytes_max: int | None = None
    stream: str = ""
    """`stdout` or `stderr`; empty for both."""


async def read_log(path: str, options: LogOptions, goes_on: Callable[[], bool], clock: Clock) -> AsyncIterator[bytes]:
    """The log's lines, in pieces. `goes_on`: whether more may be written."""
    left = options.bytes_max
    async for lines in _batches(path, options, goes_on, clock):
        piece = b"".join(_shown(lines, options))
        if left is not None:
            piece = piece[:left]
            left -= len(piece)
        if piece:
            yield piece
        if left is not None and left <= 0:
            return


async def _batches(
    path: str, options: LogOptions, goes_on: Callable[[], bool], clock: Clock
) -> AsyncIterator[list[bytes]]:
    file = open_plain(path)
    try:
        if options.tail_lines is not None:
            os.lseek(file, tail_offset(file, options.tail_lines), os.SEEK_SET)
        rest = b""
        while True:
            ended = not goes_on()  # asked before reading: what is written until then is read
            while chunk := os.read(file, CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[-LINE_BYTES_MAX:]
                yield lines
            successor = _successor(path, file) if options.follow else None
            if successor is not None:
                os.close(file)
                file = successor
            elif not options.follow or ended:
                return
            else:
                await clock.sleep(POLL_SECONDS)
    finally:
        os.close(file)


def open_plain(path: str) -> int:
    """OSError where it is a link or no plain file: a pod may have its node's logs mounted, and put anything there."""
    file = os.open(path, SAFELY)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return file


def _successor(path: str, file: int) -> int | None:
    """The file that has taken the path since, after a rotation."""
    try:
        now, known = os.stat(path, follow_symlinks=False), os.fstat(file)
        return open_plain(path) if (now.st_dev, now.st_ino) != (known.st_dev, known.st_ino) else None
    except OSError:
        return None


def tail_offset(file: int, lines: int) -> int:
    """Where the last so many lines begin."""
    end = os.fstat(file).st_size
    if lines <= 0:
        return end
    found = 0
    at = end
    while at > 0:
        start = max(at - CHUNK_BYTES, 0)
        chunk = os.pread(file, at - start, start)
        position = len(chunk)
        while (position := chunk.rfind(b"\n", 0, position)) >= 0:
            if start + position == end - 1:
                continue  # the end of the last line is the beginning of none
            found += 1
            if found == lines:
                return start + position + 1
        at = start
    return 0


def _shown(lines: list[bytes], options: LogOptions) -> Iterator[bytes]:
    for line in lines:
        parts = line.split(b" ", 3)
        if len(parts) < 4:
            continue  # an empty line of the file, or a torn one after a crash
        moment, stream, tag, content = parts
        if options.stream and stream != options.stream.encode():
            continue
        if options.since is not None and _seconds(moment) < options.since:
            continue
        end = b"" if tag.startswith(b"P") else b"\n"
        yield (moment + b" " if options.timestamps else b"") + content + end


def _seconds(moment: bytes) -> float:
    try:
        return from_rfc3339(moment.decode("ascii", errors="replace"))
    except ValueError:
        return 0.0
