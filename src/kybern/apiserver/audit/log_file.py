"""Events as lines of a file, written by a thread of its own and rotated by size.

A full file is renamed after the moment (`audit-2026-01-31T10-20-30.000000.log`); of those so many are kept, and for
so many days. All are readable by their owner only.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread

from kybern.aio.clock import Clock

log = logging.getLogger(__name__)

WAITING_MAX = 10_000
LINES_PER_WRITE_MAX = 500
MEGABYTE = 1024 * 1024


@dataclass(slots=True)
class Rotation:
    """Upstream's defaults; 0 keeps all."""

    bytes_max: int = 100 * MEGABYTE
    files_max: int = 0
    days_max: int = 0


class LogFile:
    name = "log"

    def __init__(self, path: Path, clock: Clock, rotation: Rotation | None = None) -> None:
        """OSError where the file cannot be opened."""
        self.path = path
        self.clock = clock
        self.rotation = rotation or Rotation()
        self.failed = False
        self._waiting: Queue[bytes | None] = Queue(WAITING_MAX)
        self._open()
        self._thread = Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> bool:
        try:
            self._waiting.put_nowait(line)
        except Full:
            return False
        return True

    def close(self) -> None:
        """When everything that waits is written."""
        self._waiting.put(None)
        self._thread.join()
        os.close(self._descriptor)

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def _write(self) -> None:
        """The thread."""
        while (line := self._waiting.get()) is not None:
            lines, ended = [line], False
            while len(lines) < LINES_PER_WRITE_MAX and not ended:
                try:
                    more = self._waiting.get_nowait()
                except Empty:
                    break
                ended = more is None
                lines += [more] if more is not None else []
            try:
                self._append(lines)
                self.failed = False
            except OSError as error:
                if not self.failed:
                    log.error("the audit log %s cannot be written: %s", self.path, error)
                self.failed = True
            if ended:
                return

    def _append(self, lines: Sequence[bytes]) -> None:
        text = b"".join(lines)
        if self._size and self._size + len(text) > self.rotation.bytes_max:
            self._rotate()
        written = 0
        while written < len(text):
            written += os.write(self._descriptor, text[written:])
        self._size += len(text)

    def _rotate(self) -> None:
        now = self.clock.wall()
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
        os.rename(self.path, self.path.with_name(f"{self.path.stem}-{moment}{self.path.suffix}"))
        former = self._descriptor
        self._open()
        os.close(former)
        kept = sorted(self.path.parent.glob(f"{self.path.stem}-*{self.path.suffix}"), reverse=True)
        for number, path in enumerate(kept):
            too_many = self.rotation.files_max and number >= self.rotation.files_max
            if too_many or (self.rotation.days_max and path.stat().st_mtime < now - self.rotation.days_max * 86400):
                path.unlink()
