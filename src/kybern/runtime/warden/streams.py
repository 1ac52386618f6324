"""A container's streams, from the warden's end: read into the log and to whoever is attached.

A reader that is too slow is let go, never waited for: the container and its log must not stop for it.
"""

import os
import socket
import time
from collections.abc import Mapping

from kybern.linux import tty
from kybern.runtime.warden.logs import Log
from kybern.runtime.warden.loop import READ, WRITE, Loop

READ_BYTES = 1 << 20  # a whole pipe
REST_SECONDS = 0.001  # of a stream that writes all the time: one look a millisecond, not one for each of its lines
FULL_SECONDS = 0.01  # without a rest for a stream that filled its pipe: it would only wait in the next one
UNREAD_BYTES_MAX = 4 << 20  # of one attached reader
NAMES = ("stdin", "stdout", "stderr", "terminal")


class Reader:
    """One attached reader of one stream."""

    def __init__(self, connection: socket.socket, loop: Loop) -> None:
        self.connection, self.loop = connection, loop
        self.unread = bytearray()
        self.ended = False
        self.gone = False
        connection.setblocking(False)

    def offer(self, data: bytes) -> None:
        self.unread += data
        self._send()

    def end(self) -> None:
        self.ended = True
        self._send()

    def _send(self) -> None:
        if self.gone:
            return
        try:
            while self.unread:
                del self.unread[: self.connection.send(self.unread)]
        except BlockingIOError:
            if len(self.unread) <= UNREAD_BYTES_MAX:
                self.loop.watch(self.connection.fileno(), self._send, WRITE)
                return
        except OSError:
            pass  # it let go
        else:
            self.loop.forget(self.connection.fileno())
            if not self.ended:
                return
        self._close()

    def _close(self) -> None:
        self.gone = True
        self.loop.forget(self.connection.fileno())
        self.connection.close()


class Streams:
    """`descriptors` by name: `stdin` (to write), `stdout` and `stderr` (to read), or `terminal` (both)."""

    def __init__(self, loop: Loop, log: Log | None, descriptors: Mapping[str, int]) -> None:
        self.loop, self.log = loop, log
        self.descriptors = dict(descriptors)
        self.readers: dict[str, list[Reader]] = {"stdout": [], "stderr": []}
        self.read_at = dict.fromkeys(self.descriptors, 0.0)
        self.full_at = dict.fromkeys(self.descriptors, 0.0)
        self.much = {name: tty.capacity(descriptor) // 2 for name, descriptor in self.descriptors.items()}
        """Whose writer may be waiting already."""
        for name in ("stdout", "stderr", "terminal"):
            if name in self.descriptors:
                os.set_blocking(self.descriptors[name], False)
                loop.watch(self.descriptors[name], lambda name=name: self._readable(name), READ)  # type: ignore[misc]

    def _readable(self, name: str) -> None:
        before, now = self.read_at[name], time.monotonic()
        self.read_at[name] = now
        size = self._read(name)
        if size == 0:
            self._drop(name)
        elif size >= self.much[name]:
            self.full_at[name] = now
        elif now - before < 2 * REST_SECONDS and now - self.full_at[name] > FULL_SECONDS:
            self.loop.rest(self.descriptors[name], REST_SECONDS)

    def _read(self, name: str) -> int:
        """Once: how many bytes, 0 at the end, -1 where there is nothing now."""
        try:
            data = os.read(self.descriptors[name], READ_BYTES)
        except BlockingIOError:
            return -1
        except OSError:  # EIO: the last slave of a terminal is closed
            return 0
        if not data:
            return 0
        stream = "stdout" if name == "terminal" else name
        if self.log is not None:
            self.log.write(stream, data)
        readers = self.readers[stream]
        for reader in readers:
            reader.offer(data)
        self.readers[stream] = [reader for reader in readers if not reader.gone]
        return len(data)

    def _drop(self, name: str) -> None:
        descriptor = self.descriptors.pop(name, None)
        if descriptor is not None:
            self.loop.forget(descriptor)
            os.close(descriptor)

    def attach(self) -> tuple[dict[str, int], int]:
        """New descriptors for one more reader, by stream, and one to write to (-1 without stdin)."""
        given: dict[str, int] = {}
        for stream in ("stdout", "stderr"):
            if stream in self.descriptors or (stream == "stdout" and "terminal" in self.descriptors):
                ours, theirs = socket.socketpair()
                ours.shutdown(socket.SHUT_RD)
                self.readers[stream].append(Reader(ours, self.loop))
                given[stream] = theirs.detach()
        writable = self.descriptors.get("stdin", self.descriptors.get("terminal", -1))
        return given, os.dup(writable) if writable >= 0 else -1

    def close_stdin(self) -> None:
        self._drop("stdin")

    def resize(self, width: int, height: int) -> None:
        if "terminal" in self.descriptors:
            tty.resize(self.descriptors["terminal"], width, height)

    def finish(self) -> None:
        """The container has ended: take what is still in the pipes, and let everybody know."""
        for name in ("stdout", "stderr", "terminal"):
            if name in self.descriptors:
                self._drain(name)
            self._drop(name)
        self._drop("stdin")
        for reader in (*self.readers["stdout"], *self.readers["stderr"]):
            reader.end()
        if self.log is not None:
            self.log.finish()

    def _drain(self, name: str) -> None:
        os.set_blocking(self.descriptors[name], False)
        while self._read(name) > 0:
            pass
