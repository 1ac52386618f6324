"""A container's log in CRI's format: `<time> <stream> F|P <line>`, one file until the node's agent says reopen.

A line longer than 16 KiB is written in parts (P), the last one marked F.
"""

import errno
import os
import stat
import time

LINE_BYTES_MAX = 16 * 1024
MODE = 0o640
PIECES_MAX = os.sysconf("SC_IOV_MAX")
NANOSECONDS = 1_000_000_000


class Log:
    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = self._open()
        self.unfinished: dict[str, bytes] = {}
        """The beginning of each stream's current line."""

    def _open(self) -> int:
        """Never through a link nor into a pipe: the directory is the kubelet's, but a pod may have it as a volume."""
        os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened = os.open(self.path, flags, MODE)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise OSError(errno.EINVAL, "not a regular file", self.path)
        return opened

    def reopen(self) -> None:
        old, self.descriptor = self.descriptor, self._open()
        os.close(old)

    def write(self, stream: str, data: bytes) -> None:
        """Megabytes a moment: what came is copied once, to put the stamps between its lines."""
        head = self.unfinished.pop(stream, b"")
        begin = stamp(time.time_ns()) + b" " + stream.encode()
        if has_long_line(data, len(head)):
            rest = self._long_lines(head + data, begin)
        else:
            rest = self._lines(head, data, begin + b" F ")
        if rest:
            self.unfinished[stream] = rest

    def _lines(self, head: bytes, data: bytes, full: bytes) -> bytes:
        """What follows the last line end."""
        rest = data[data.rfind(b"\n") + 1 :]
        if len(rest) == len(data):
            return head + rest
        stamped = data.replace(b"\n", b"\n" + full)
        self._append(full, head, memoryview(stamped)[: len(stamped) - len(full) - len(rest)])
        return rest

    def _long_lines(self, text: bytes, begin: bytes) -> bytes:
        *lines, rest = text.split(b"\n")
        self._append(b"".join(self._long(line, begin) for line in lines))
        if len(rest) > LINE_BYTES_MAX:
            parts, rest = self._parts(rest, begin)
            self._append(*parts)
        return rest

    def _long(self, line: bytes, begin: bytes) -> bytes:
        parts, last = self._parts(line, begin) if line else ([], b"")
        return b"".join((*parts, begin, b" F ", last, b"\n"))

    def _parts(self, line: bytes, begin: bytes) -> tuple[list[bytes], bytes]:
        """All but the last piece of a long line as P records, and the last piece."""
        pieces = [line[start : start + LINE_BYTES_MAX] for start in range(0, len(line), LINE_BYTES_MAX)]
        return [begin + b" P " + piece + b"\n" for piece in pieces[:-1]], pieces[-1]

    def _append(self, *pieces: bytes | memoryview) -> None:
        """A full disk loses log lines, never the container."""
        try:
            written = os.writev(self.descriptor, pieces[:PIECES_MAX])
            if written < sum(map(len, pieces)):
                left = memoryview(b"".join(pieces))[written:]
                while left:
                    left = left[os.write(self.descriptor, left) :]
        except OSError:
            return

    def finish(self) -> None:
        """The streams have ended: what never saw its line end is written as a part."""
        for stream, rest in self.unfinished.items():
            self._append(stamp(time.time_ns()) + b" " + stream.encode() + b" P " + rest + b"\n")
        self.unfinished.clear()
        os.close(self.descriptor)
        self.descriptor = -1


def open_log(path: str) -> Log | None:
    """None where it cannot be written: a container runs without its log rather than not at all."""
    try:
        return Log(path) if path else None
    except OSError:
        return None


def has_long_line(data: bytes, before: int) -> bool:
    """Quick and sometimes wrongly yes: a line over the limit would cover one of these halves without a line end.
    `before`: how much of its first line came earlier."""
    half = LINE_BYTES_MAX // 2
    first = data.find(b"\n", 0, half)
    if before + (len(data) if first < 0 else first) > LINE_BYTES_MAX:
        return True
    return any(data.find(b"\n", at, at + half) < 0 for at in range(half, len(data) - half + 1, half))


def stamp(nanoseconds: int) -> bytes:
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z".encode()
