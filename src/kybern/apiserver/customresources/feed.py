"""A cache that a webhook's answers fill: the store's changes, in their order, converted to one version.

Caches follow the store at once; this one cannot, since somebody else has to be asked. So a list or watch first waits
until it has come as far as the store had when it was asked for. Where the webhook fails the feed stands still, and
everybody who asks is told why; one object can still be read, if it can be converted by itself.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from kybern.aio.beside import beside
from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.api.codec import decode, encode
from kybern.api.errors import ApiError, InternalError
from kybern.apiserver.item import Item
from kybern.apiserver.options import LARGE_BYTES
from kybern.apiserver.storage import Storage
from kybern.store.interface import Change, Store

BATCH_MAX = 500  # changes in one review
BATCH_BYTES_MAX = 2 * 1024 * 1024  # but for the last
RETRY_SECONDS = 1.0


class Feed:
    def __init__(self, storage: Storage, store: Store, clock: Clock) -> None:
        self.storage, self.store, self.clock = storage, store, clock
        self.waiting: deque[Change] = deque()
        self.problem: ApiError | None = None
        self.attempts = 0
        self.moved = asyncio.Event()
        """Replaced at every step, so that whoever waits for one does not miss it."""
        self.wake = asyncio.Event()
        self._unsubscribe: Callable[[], None] = lambda: None
        storage.feed = self
        storage.cache.fed_to = self.fed_to

    async def start(self) -> None:
        cache = self.storage.cache
        self._unsubscribe = self.store.subscribe(cache.prefix, self._take)
        entries, revision = await self.store.list(cache.prefix)
        await cache.load((), (), revision)
        first = [Change(entry.key, entry.revision, entry.value, None) for entry in entries]
        self.waiting.extendleft(sorted(first, key=lambda change: -change.revision))
        self.wake.set()

    def close(self) -> None:
        self._unsubscribe()
        self._move(InternalError("the definition of this kind has changed meanwhile"))

    def _move(self, problem: ApiError | None) -> None:
        """One more attempt has been made, and this has come of it."""
        self.problem = problem
        self.attempts += 1
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()

    def _take(self, changes: Sequence[Change]) -> None:
        self.waiting.extend(changes)
        self.wake.set()

    def fed_to(self) -> int:
        """The revision up to which the cache has everything."""
        return self.waiting[0].revision - 1 if self.waiting else self.store.revision

    async def run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                batch = first_of(self.waiting)
                try:
                    converted = await self._converted(batch)
                except ApiError as error:
                    self._move(error)
                    await self._pause()
                    continue
                for _ in batch:
                    self.waiting.popleft()
                self.storage.cache.take(converted)
                self._move(None)

    async def _pause(self) -> None:
        """Until it is worth another try: after a while, or when somebody asks."""
        self.wake.clear()
        try:
            async with timeout(RETRY_SECONDS):
                await self.wake.wait()
        except TimeoutError:
            return

    async def _converted(self, changes: Sequence[Change]) -> list[Change]:
        storage = self.storage
        values = [change.value for change in changes if change.value is not None]
        is_long = sum(map(len, values)) > LARGE_BYTES
        stored = await beside(lambda: [decode(storage.stored_type, value) for value in values], is_long)
        assert storage.conversion is not None
        objects = await storage.conversion.convert(stored, storage.resource.kind.api_version)
        # what defaults make of them can be much, however small they are
        made = iter(await beside(lambda: [encode(storage.resource.from_storage(obj)) for obj in objects]))
        return [
            change if change.value is None else msgspec.structs.replace(change, value=next(made)) for change in changes
        ]

    async def caught_up(self) -> None:
        """Returns when the cache shows everything that the store does now; InternalError where it cannot."""
        target, tried = self.store.revision, self.attempts
        while self.waiting and self.waiting[0].revision <= target:
            if self.problem is not None and self.attempts > tried:
                raise InternalError(self.problem.message)
            self.wake.set()
            await self.moved.wait()

    async def item(self, namespace: str, name: str) -> Item | None:
        key = self.storage.resource.key(namespace, name)
        entry = await self.store.get(key)
        if entry is None:
            return None
        known = self.storage.cache.items.get(key)
        if known is not None and known.revision == entry.revision:
            return known
        value = self.storage.encode(await self.storage.load(entry))
        return Item(key, namespace, name, value, entry.created, entry.revision)


def first_of(waiting: Iterable[Change]) -> list[Change]:
    """As many as go into one review."""
    found: list[Change] = []
    size = 0
    for change in waiting:
        if len(found) == BATCH_MAX or size > BATCH_BYTES_MAX:
            break
        found.append(change)
        size += len(change.value or b"")
    return found
