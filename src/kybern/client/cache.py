"""The copy of one kind that a View holds, with its indexes. A reflector fills it; everybody else only reads.

- Objects are frozen and shared, so nothing is ever copied; of objects that are alike, so are their parts.
- Without `managedFields`: more than half of a small object, and no loop's business. An update without them keeps the
  server's.
- `revision` never goes back, and everything up to it has been seen, by whoever listens too.
- Whoever wants to know of changes is told after the copy has changed, with the object before and after. Of the changes that
  a list brings in slices: ten thousand pods are seconds of work for all who listen.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from kybern.aio.slices import in_slices
from kybern.api.meta_v1 import ObjectMeta
from kybern.client.client import WatchEvent, revision_of
from kybern.client.sharing import sharing

T = TypeVar("T")

Key = tuple[str, str]
"""Namespace and name."""

OnChange = Callable[[T | None, T | None], None]
IndexBy = Callable[[T], Iterable[str]]

ORPHANS = "without a controller in "


def key_of(obj: Any) -> Key:
    meta: ObjectMeta = obj.metadata
    return (meta.namespace or "", meta.name or "")


def without_managed_fields(obj: T) -> T:
    meta: ObjectMeta = obj.metadata  # type: ignore[attr-defined]
    if meta.managed_fields is None:
        return obj
    return replace(obj, metadata=replace(meta, managed_fields=None))  # type: ignore[type-var]


def controller_uid(obj: Any) -> str:
    """The uid of the owner that controls the object; empty when nobody does."""
    for owner in obj.metadata.owner_references or ():
        if owner.controller:
            return str(owner.uid)
    return ""


def by_namespace(obj: Any) -> Iterable[str]:
    return (obj.metadata.namespace or "",)


def by_controller(obj: Any) -> Iterable[str]:
    return (controller_uid(obj) or ORPHANS + (obj.metadata.namespace or ""),)


def by_uid(obj: Any) -> Iterable[str]:
    return (obj.metadata.uid or "",)


class Cache(Generic[T]):
    def __init__(self, after_change: Callable[[], None]) -> None:
        self.objects: dict[Key, T] = {}
        self.revision = 0
        self.listed = False
        self.listeners: list[OnChange[T]] = []
        self._after_change = after_change
        self._latest: T | None = None
        """What the next new object is probably like."""
        self._index_by: dict[str, IndexBy[T]] = {}
        self._indexes: dict[str, dict[str, dict[Key, T]]] = {}
        self.add_index("namespace", by_namespace)
        self.add_index("controller", by_controller)
        self.add_index("uid", by_uid)

    def add_index(self, name: str, by: IndexBy[T]) -> None:
        """Nothing happens when there is one of that name."""
        if name in self._index_by:
            return
        self._index_by[name] = by
        self._indexes[name] = {}
        for key, obj in self.objects.items():
            for value in by(obj):
                self._indexes[name].setdefault(value, {})[key] = obj

    def by_index(self, name: str, value: str) -> list[T]:
        return list(self._indexes[name].get(value, {}).values())

    async def tell_in_slices(self, call: OnChange[T]) -> None:
        """Of what exists already, and of each change from now on."""
        untold = dict(self.objects)

        def changed(old: T | None, new: T | None) -> None:
            if untold.pop(key_of(old if new is None else new), None) is not None:
                old = None
            if old is not None or new is not None:
                call(old, new)

        self.listeners.append(changed)
        async for key in in_slices(tuple(untold)):
            if key in untold:
                call(None, untold.pop(key))
        self.listeners[self.listeners.index(changed)] = call

    # The reflector's side (`reflector.Sink`).

    async def replace(self, objects: Sequence[T], revision: int) -> None:
        listed = {key_of(obj): self._kept(obj) async for obj in in_slices(objects)}
        changes: list[tuple[T | None, T | None]] = [
            (self._put(key, None), None) for key in [key for key in self.objects if key not in listed]
        ]
        changes += [(self._put(key, obj), obj) for key, obj in listed.items() if self.objects.get(key) is not obj]
        listeners = tuple(self.listeners)  # who comes meanwhile is shown what there is by now
        async for old, new in in_slices(changes):
            for listener in listeners:
                listener(old, new)
        self.revision = max(self.revision, revision)  # only now: who waits for it may read what a listener made of it
        self.listed = True
        self._after_change()

    def apply(self, events: Sequence[WatchEvent[T]]) -> None:
        changes: list[tuple[T | None, T | None]] = []
        for event in events:
            if event.type != "BOOKMARK":
                new = None if event.type == "DELETED" else self._kept(event.object)
                changes.append((self._put(key_of(event.object), new), new))
        for event in events:
            meta: ObjectMeta = event.object.metadata  # type: ignore[attr-defined]
            self.revision = max(self.revision, revision_of(meta))
        for old, new in changes:
            for listener in self.listeners:
                listener(old, new)
        self._after_change()

    def _kept(self, obj: T) -> T:
        """As it is kept: made of parts that are there already, of its former self or of one that came before it."""
        known = self.objects.get(key_of(obj), self._latest)
        self._latest = without_managed_fields(obj) if known is None else sharing(without_managed_fields(obj), known)
        return self._latest

    def _put(self, key: Key, new: T | None) -> T | None:
        """Store, or forget when `new` is None. Returns what was there."""
        old = self.objects.pop(key, None)
        if new is not None:
            self.objects[key] = new
        for name, by in self._index_by.items():
            index = self._indexes[name]
            for value in by(old) if old is not None else ():
                index[value].pop(key, None)
                if not index[value]:
                    del index[value]
            for value in by(new) if new is not None else ():
                index.setdefault(value, {})[key] = new  # type: ignore[assignment]
        return old
