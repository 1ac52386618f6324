"""View: what a process knows of the cluster, in memory and kept current. All loops of a process share one.

- Reading is synchronous and free of effects; what is read is frozen.
- A kind is followed once it was declared with `watch_kind`; reading a kind that is not followed is a KeyError.
- `caught_up(writes)` waits until the View is no older than these writes: a loop that waits for its own writes never
  acts on a state from before them. Of a write that was not answered nobody knows whether it was done: the View is no
  older than it once it has everything that the server has after the failure.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from kybern.aio.clock import Clock, SystemClock
from kybern.api.errors import ApiError
from kybern.client.cache import ORPHANS, Cache, IndexBy, OnChange
from kybern.client.client import UNKNOWN, Client, Write, revision_of
from kybern.client.paths import kind_of
from kybern.client.reflector import BACKOFF, Reflector, Source

T = TypeVar("T")

Found = list  # inside the class, `list` is a way to read


class View:
    def __init__(self, client: Client, *, clock: Clock | None = None, rng: random.Random | None = None) -> None:
        self.client = client
        self.clock = clock or SystemClock()
        self.rng = rng or random.Random()
        self._caches: dict[type[Any], Cache[Any]] = {}
        self._sources: dict[type[Any], Source] = {}
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def watch_kind(
        self, of: type[Any], *, namespace: str = "", labels: str = "", fields: str = "", every_seconds: float = 0.0
    ) -> None:
        """Follow a kind, or a part of it; by looking every so often, where `every_seconds` says that this will do. Declared
        twice with different parts, before `run`, it is followed whole."""
        source = Source(kind_of(of), namespace, labels, fields, every_seconds=every_seconds)
        known = self._sources.get(of)
        if known is not None and known != source and self._tasks is None:
            source = Source(kind_of(of))
        elif known is not None:
            return
        self._sources[of] = source
        self._caches.setdefault(of, Cache(self._wake))
        if self._tasks is not None:
            self._tasks.create_task(self._follow(of))

    async def run(self) -> None:
        """Follow everything that is declared, now or later, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for of in self._sources:
                tasks.create_task(self._follow(of))
            await asyncio.Event().wait()

    async def _follow(self, of: type[Any]) -> None:
        await Reflector(self.client, self._sources[of], self._caches[of], self.clock, self.rng).run()

    # Reading.

    def get(self, of: type[T], name: str, namespace: str = "") -> T | None:
        found: T | None = self._caches[of].objects.get((namespace, name))
        return found

    def list(self, of: type[T], namespace: str | None = None) -> Sequence[T]:
        """All objects, of one namespace or of all."""
        cache = self._caches[of]
        return cache.by_index("namespace", namespace) if namespace is not None else Found(cache.objects.values())

    def owned_by(self, owner: Any, of: type[T]) -> Found[T]:
        """The objects that `owner` controls."""
        return self._caches[of].by_index("controller", owner.metadata.uid or "")

    def orphans(self, of: type[T], namespace: str) -> Found[T]:
        """The objects that nobody controls."""
        return self._caches[of].by_index("controller", ORPHANS + namespace)

    def add_index(self, of: type[T], name: str, by: IndexBy[T]) -> None:
        self._caches[of].add_index(name, by)

    def by_index(self, of: type[T], name: str, value: str) -> Found[T]:
        return self._caches[of].by_index(name, value)

    def revision(self, of: type[Any]) -> int:
        """Everything up to this resource version has been seen, of this kind."""
        return self._caches[of].revision

    def followed(self) -> Found[type[Any]]:
        """The types that are followed whole."""
        return [of for of, source in self._sources.items() if not source.filtered]

    # Knowing when.

    def on_change(self, of: type[T], call: OnChange[T]) -> None:
        """`call(old, new)` after each change; None stands for an object that is not there. What exists already is
        told of at once."""
        cache = self._caches[of]
        cache.listeners.append(call)
        for obj in cache.objects.values():
            call(None, obj)

    async def on_change_of_many(self, of: type[T], call: OnChange[T]) -> None:
        """As `on_change`, and what exists already is told of in slices: for a process with other things to do."""
        await self._caches[of].tell_in_slices(call)

    async def synced(self) -> None:
        """Everything that is declared has been listed once."""
        await self.wait_until(lambda: all(cache.listed for cache in self._caches.values()))

    async def caught_up(self, writes: Iterable[Write]) -> None:
        """Everything that these writes did has been seen, as far as it is followed."""
        known = [await self._outcome(write) if write.revision == UNKNOWN else write for write in dict.fromkeys(writes)]
        await self.wait_until(lambda: all(map(self._saw, known)))

    async def _outcome(self, write: Write) -> Write:
        """A write as late as anything that the server has done by now."""
        failures = 0
        while True:
            try:
                page = await self.client.page(kind_of(write.type), "", "limit=1")
                return replace(write, revision=revision_of(page.metadata))
            except ApiError:
                failures += 1
                await self.clock.sleep(BACKOFF.delay(failures, self.rng))

    def _saw(self, write: Write) -> bool:
        cache = self._caches.get(write.type)
        if cache is None:
            return True
        if self._sources[write.type].filtered and (write.namespace, write.name) not in cache.objects:
            return True  # it may concern nothing that is followed; what is followed is seen to change, or to leave
        if cache.revision < write.revision:
            return False
        if not write.deleted or write.revision or not write.uid:
            return True
        left = cache.objects.get((write.namespace, write.name))
        return left is None or left.metadata.uid != write.uid or left.metadata.deletion_timestamp is not None

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """`holds` is asked again after each change of the View, and whoever waits is woken only when it does: most changes
        are what most of those who wait do not wait for."""
        while not holds():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[waiter] = holds
            try:
                await waiter
            finally:
                del self._waiting[waiter]

    def _wake(self) -> None:
        for waiter, holds in self._waiting.items():
            if not waiter.done() and holds_or_fails(holds):
                waiter.set_result(None)


def holds_or_fails(holds: Callable[[], bool]) -> bool:
    """What fails is asked again, and fails, where it is waited for."""
    try:
        return holds()
    except Exception:  # noqa: BLE001 - see above
        return True
