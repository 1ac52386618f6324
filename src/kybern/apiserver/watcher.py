"""Watches: what their clients have not read yet, as frames, in order and with a bound.

- Watchers that want the same share a group: it judges an event and builds its frame once, for all of them.
- An object that starts to match is ADDED, one that stops is DELETED, whatever happened to it in the store.
- What happens while a client waits goes straight to its connection, without waking a task; what comes with one commit goes
  as one piece.
- A watcher that lets its buffer fill is cut; its client lists or resumes. Nobody waits for it.
"""

import asyncio
import logging
from collections.abc import Callable

from kybern.apiserver.frames import Event, Form
from kybern.apiserver.item import Item, with_revision
from kybern.apiserver.selection import Selection

log = logging.getLogger(__name__)

FRAMES_MAX = 10_000  # behind by more than this, listing again is cheaper
BYTES_MAX = 16 * 1024 * 1024  # what one slow client may hold of the server's memory, frames shared with others aside


class Watcher:
    """One client's buffer."""

    __slots__ = ("_bytes", "_close", "_frames", "_waiter", "cut", "finished", "send")

    def __init__(self, close: Callable[["Watcher"], None]) -> None:
        self.cut = False
        self.finished = False
        """Nothing will be added any more."""
        self.send: Callable[[bytes], bool] | None = None
        """To the connection itself, where there is one; whether it had room."""
        self._close = close
        self._frames: list[bytes] = []
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None

    def push(self, data: bytes) -> None:
        if self._waiter is not None and self.send is not None and self.send(data):
            return  # whoever waits has been given everything before
        self._frames.append(data)
        self._bytes += len(data)
        if len(self._frames) > FRAMES_MAX or self._bytes > BYTES_MAX:
            self.end()
        else:
            self.wake()

    def end(self) -> None:
        """Cut it: what it has not read yet is dropped, for a part of it would be a gap."""
        self.cut = True
        self._frames.clear()
        self.close()
        self.wake()

    def finish(self) -> None:
        """There is nothing more to watch: it ends when everything is read."""
        self.finished = True
        self.wake()

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Returns when there is something to drain, or somebody called `wake`."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def drain(self) -> bytes:
        """Everything that waits, as one piece; empty when nothing does."""
        frames = self._frames
        if not frames:
            return b""
        self._frames, self._bytes = [], 0
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def close(self) -> None:
        self._close(self)


class Group:
    """The watchers of one selection in one form."""

    def __init__(self, selection: Selection, form: Form) -> None:
        self.selection = selection
        self.form = form
        self.watchers: set[Watcher] = set()
        self._takes_all = selection.everything and not selection.namespace
        self._taken: list[bytes] = []

    def take(self, event: Event) -> None:
        """Its frame goes out with the next `flush`."""
        try:
            found = self.frame(event)
        except Exception:  # a column or a selector of this resource has a fault: its watches end, nothing else does
            log.exception("a watch of %s cannot go on", self.selection.resource.prefix)
            for watcher in tuple(self.watchers):
                watcher.end()
            return
        if found is not None:
            self._taken.append(found)

    def flush(self) -> None:
        taken, self._taken = self._taken, []
        if taken:
            piece = taken[0] if len(taken) == 1 else b"".join(taken)
            for watcher in tuple(self.watchers):
                watcher.push(piece)

    def frame(self, event: Event) -> bytes | None:
        """What an event is to this selection; None where it is nothing."""
        old, new = event.old, event.new
        was = old is not None and (self._takes_all or self.selection.takes(old))
        if new is not None and (self._takes_all or self.selection.takes(new)):
            return self.form("MODIFIED" if was else "ADDED", new.sent())
        if was and old is not None:
            return self.form("DELETED", gone(old, event.revision))
        return None


def gone(old: Item, revision: int) -> bytes:
    """The last that was seen of an object, at the revision at which it left."""
    return with_revision(old.value, revision)
