"""What the machine needs to serve one resource: its rules, its place in the store, its cache.

Several versions of a kind may share one place. One of them is how objects are stored; the others convert on the way,
and have a cache of their own, in their own version.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from kybern.aio.beside import beside, soon
from kybern.api.codec import decode, encode, untyped
from kybern.api.custom import CUSTOM_BYTES_MAX, CustomObject
from kybern.api.errors import About, RequestEntityTooLarge
from kybern.apiserver.cache import Cache
from kybern.apiserver.item import Item
from kybern.apiserver.meta import at_revision, changed_meta, meta_of
from kybern.apiserver.options import is_large
from kybern.registry.resource import Obj, Resource, same
from kybern.store.interface import Change, Entry, Store

HISTORY_MAX = 1_000  # changes of one custom kind, which a new schema makes others of
MADE_MAX = 4  # large objects
DUMPED_MAX = 64  # more writes than are on their way to the store at once

GroupVersionResource = tuple[str, str, str]


class Conversion(Protocol):
    async def convert(self, objects: Sequence[Any], api_version: str) -> list[Any]:
        """All of them in this version, in their order."""


class CacheFeed(Protocol):
    """What fills a cache where that takes time."""

    async def caught_up(self) -> None:
        """Returns when the cache shows everything that the store does now."""

    async def item(self, namespace: str, name: str) -> Item | None: ...


class Storage:
    __slots__ = ("_dumped", "_made", "cache", "conversion", "feed", "resource", "stored_as", "stored_type", "versions")

    def __init__(
        self,
        resource: Resource,
        stored_type: type[Any],
        store: Store,
        conversion: Conversion | None = None,
        stored_as: str = "",
    ) -> None:
        """`conversion`: who makes other versions of an object, where that is not done here; `stored_as` is the version
        in which they lie in the store."""
        self.resource = resource
        self.stored_type = stored_type
        self.conversion, self.stored_as = conversion, stored_as
        self.feed: CacheFeed | None = None
        convert = None if resource.from_storage is same or conversion is not None else self._converted
        self.cache = Cache(resource, store, convert)
        self._dumped: set[bytes] = set()
        """What was made here a moment ago, and so is what reading it would make of it."""
        self._made: dict[bytes, bytes] = {}
        """What large objects that are on their way to the store are in this version: to make it takes long."""
        self.versions: Sequence[Storage] = ()
        """All that convert for themselves what lies in the same place."""

    def _converted(self, value: bytes) -> bytes:
        if value in self._dumped:
            return value
        if value in self._made:
            return self._made[value]
        stored = decode(self.stored_type, value)
        read = self.resource.from_storage(stored)
        return value if read is stored else encode(read)

    async def item(self, namespace: str, name: str) -> Item | None:
        """One object, as the cache has it, or would have it."""
        return self.cache.get(namespace, name) if self.feed is None else await self.feed.item(namespace, name)

    async def load(self, entry: Entry) -> Obj:
        """A stored entry as the object that it was, at its resource version."""
        is_long = is_large(entry.value)
        obj = await beside(lambda: decode(self.stored_type, entry.value), is_long)
        if self.conversion is not None:
            [obj] = await self.conversion.convert([obj], self.resource.kind.api_version)
        if self.resource.from_storage is not same:
            read = partial(self.resource.from_storage, obj)
            obj = await (beside(read) if is_long else soon(read))
        return at_revision(obj, entry.revision)

    async def dump(self, obj: Obj) -> bytes:
        """What the store keeps: without the resource version, which is the store's own."""
        if meta_of(obj).resource_version is not None:
            obj = changed_meta(obj, resource_version=None)
        if self.conversion is not None:
            [obj] = await self.conversion.convert([obj], self.stored_as)
        value = encode(self.resource.to_storage(obj))
        if len(value) > CUSTOM_BYTES_MAX and isinstance(obj, CustomObject):
            raise RequestEntityTooLarge(f"Request entity too large: limit is {CUSTOM_BYTES_MAX}")
        if self.resource.to_storage is same and self.resource.from_storage is not same:
            if len(self._dumped) >= DUMPED_MAX:
                self._dumped.clear()
            self._dumped.add(value)
        for version in self.versions if is_large(value) else ():
            await version.make(value)
        return value

    async def make(self, value: bytes) -> None:
        """Ready for when the store has it, and its cache has to show it at once."""
        if value in self._dumped or value in self._made:
            return
        made = await beside(lambda: self._converted(value))
        if len(self._made) >= MADE_MAX:
            self._made.clear()
        self._made[value] = made

    @property
    def stores_what_it_serves(self) -> bool:
        """Whether two objects that differ lie there as different bytes."""
        return self.conversion is None and self.resource.to_storage is same and self.resource.from_storage is same

    async def is_stored(self, obj: Obj, value: bytes) -> bool:
        """Whether this is what the store has; of a custom object, in whatever order its writer put the fields."""
        new = await self.dump(obj)
        if new == value or len(new) != len(value) or not isinstance(obj, CustomObject):
            return new == value
        return await beside(lambda: ordered(new) == ordered(value), is_large(value))

    def encode(self, obj: Obj) -> bytes:
        """The object as this version has it, without a resource version: to be spliced and sent."""
        return encode(obj if meta_of(obj).resource_version is None else changed_meta(obj, resource_version=None))

    def about(self, name: str = "") -> About:
        kind = self.resource.kind
        return About(resource=kind.plural, group=kind.group, name=name, kind=kind.kind)


def ordered(value: bytes) -> bytes:
    return msgspec.json.encode(untyped(value), order="sorted")


def storages_for(resources: Iterable[Resource], store: Store) -> dict[GroupVersionResource, Storage]:
    """A storage for each resource that has objects."""
    stored = [resource for resource in resources if "get" in resource.kind.verbs]
    types = stored_types(stored)
    return {key_of(resource): Storage(resource, types[resource.prefix], store) for resource in stored}


def stored_types(resources: Iterable[Resource]) -> Mapping[str, type[Any]]:
    """For each place in the store the type of what lies there: the version that needs no conversion."""
    found: dict[str, type[Any]] = {}
    for resource in resources:
        if resource.to_storage is same:
            found.setdefault(resource.prefix, resource.kind.type)
    return found


def key_of(resource: Resource) -> GroupVersionResource:
    kind = resource.kind
    return kind.group, kind.version, kind.plural


async def load_cache(storage: Storage, store: Store) -> None:
    """Fill a cache with the store's present and its history; it follows it from then on. A long history is left: its
    objects would all have to be read anew, and clients list again."""
    cache = storage.cache
    cache.follow()
    oldest = store.oldest
    history = await store.changes(cache.prefix, after=oldest)
    entries, revision = await store.list(cache.prefix)
    if len(history) > HISTORY_MAX:
        history, oldest = (), revision
    await cache.load(entries, history, oldest)


async def load_caches(storages: Sequence[Storage], store: Store) -> None:
    """The same for all that is built in, in one look at the store's history."""
    histories: dict[str, list[Change]] = {storage.cache.prefix: [] for storage in storages}
    for change in await store.changes("/", after=store.oldest):
        for prefix in prefixes_of(change.key):
            if prefix in histories:
                histories[prefix].append(change)
    for storage in storages:
        cache = storage.cache
        cache.follow()
        entries, _ = await store.list(cache.prefix)
        await cache.load(entries, histories[cache.prefix], store.oldest)


def prefixes_of(key: str) -> Iterator[str]:
    slash = key.find("/", 1)
    while slash >= 0:
        yield key[: slash + 1]
        slash = key.find("/", slash + 1)
