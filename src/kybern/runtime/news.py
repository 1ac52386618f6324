"""News for whoever listens: each has a queue of its own, from the moment it asks for it and for as long as it keeps it.

A listener that does not read loses the oldest news, and lists again in time.
"""

import asyncio
from collections.abc import AsyncIterator
from weakref import WeakSet

UNREAD_MAX = 10_000


class News:
    def __init__(self) -> None:
        self._unread: WeakSet[asyncio.Queue[str]] = WeakSet()

    def tell(self, changed: str) -> None:
        for unread in list(self._unread):
            if unread.full():
                unread.get_nowait()
            unread.put_nowait(changed)

    def listen(self) -> AsyncIterator[str]:
        """Of what is told from now on, not only from when the first is waited for."""
        unread: asyncio.Queue[str] = asyncio.Queue(UNREAD_MAX)
        self._unread.add(unread)
        return _each(unread)


async def _each(unread: asyncio.Queue[str]) -> AsyncIterator[str]:
    while True:
        yield await unread.get()
