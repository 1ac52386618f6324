"""One client's watch: what it has not read yet, as frames, in order and with a bound.

- An object that starts to match is ADDED, one that stops is DELETED, whatever happened to it in the store.
- A watcher that lets its buffer fill is cut; its client lists or resumes. Nobody waits for it.
"""

import asyncio
from collections.abc import Callable

from kybern.apiserver.frames import Event, Form
from kybern.apiserver.item import Item, with_revision
from kybern.apiserver.selection import Selection

FRAMES_MAX = 10_000  # behind by more than this, listing again is cheaper
BYTES_MAX = 16 * 1024 * 1024  # what one slow client may hold of the server's memory, frames shared with others aside


class Watcher:
    def __init__(self, selection: Selection, form: Form, after: int, ended: Callable[["Watcher"], None]) -> None:
        self.selection = selection
        self.form = form
        self.cut = False
        self.woken = asyncio.Event()
        self._after = after
        self._ended = ended
        self._everything = selection.everything and not selection.namespace
        self._frames: list[bytes] = []
        self._bytes = 0

    def take(self, event: Event) -> None:
        if self.cut or event.revision <= self._after:
            return
        found = self._frame(event)
        if found is None:
            return
        self._frames.append(found)
        self._bytes += len(found)
        if len(self._frames) > FRAMES_MAX or self._bytes > BYTES_MAX:
            self.cut = True
            self._frames.clear()
            self.close()
        self.woken.set()

    def _frame(self, event: Event) -> bytes | None:
        old, new = event.old, event.new
        was = old is not None and (self._everything or self.selection.takes(old))
        if new is not None and (self._everything or self.selection.takes(new)):
            return event.frame("MODIFIED" if was else "ADDED", self.form, lambda: new.served)
        if was and old is not None:
            return event.frame("DELETED", self.form, lambda: gone(old, event.revision))
        return None

    def drain(self) -> bytes:
        """Everything that waits, as one piece; empty when nothing does."""
        if not self._frames:
            return b""
        frames, self._frames, self._bytes = self._frames, [], 0
        self.woken.clear()
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def close(self) -> None:
        self._ended(self)


def gone(old: Item, revision: int) -> bytes:
    """The last that was seen of an object, at the revision at which it left."""
    return with_revision(old.value, revision)
