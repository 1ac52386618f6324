"""The graph of owners and dependents, across all kinds, and what has to be done about one object in it. No I/O.

An object is to go when none of its owners is left that wants it:

    owner is      solid       there, and not waiting for its dependents
                  dangling    gone, or in another namespace, where it cannot own anything here
                  waiting     being deleted in the foreground: it goes after its dependents

The same three rules serve every policy: background deletes the owner and leaves dangling references, foreground marks it
as waiting, orphan takes the references away first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from kybern.aio.slices import in_slices
from kybern.api.kind import Kind
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.client.client import Meta, WatchEvent

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Item(Struct, frozen=True):
    kind: Kind
    meta: ObjectMeta

    @property
    def uid(self) -> str:
        return self.meta.uid or ""

    @property
    def owners(self) -> tuple[OwnerReference, ...]:
        return self.meta.owner_references or ()

    @property
    def is_deleting(self) -> bool:
        return self.meta.deletion_timestamp is not None

    def has(self, finalizer: str) -> bool:
        return finalizer in (self.meta.finalizers or ())

    @property
    def is_waiting(self) -> bool:
        return self.is_deleting and self.has(FOREGROUND)

    def is_meant_by(self, ref: OwnerReference, dependent: "Item") -> bool:
        group = ref.api_version.rpartition("/")[0]
        if (self.kind.kind, self.kind.group, self.meta.name) != (ref.kind, group, ref.name):
            return False
        return not self.kind.namespaced or self.meta.namespace == dependent.meta.namespace

    def blocks(self, owner_uid: str) -> bool:
        return any(ref.uid == owner_uid and ref.block_owner_deletion for ref in self.owners)


class Graph:
    def __init__(self, wake: Callable[[str], None]) -> None:
        self.items: dict[str, Item] = {}
        self.dependents: dict[str, dict[str, None]] = {}
        """By the owner's uid, whether or not the owner is known; in the order in which they came."""
        self._wake = wake

    def put(self, item: Item) -> None:
        old = self.items.get(item.uid)
        self.items[item.uid] = item
        if old is None or old.owners != item.owners:
            self._unlink(old)
            for ref in item.owners:
                self.dependents.setdefault(ref.uid, {})[item.uid] = None
        self._wake_about(old, item)

    def remove(self, uid: str) -> None:
        old = self.items.pop(uid, None)
        self._unlink(old)
        for dependent in self.dependents.get(uid, ()):
            self._wake(dependent)
        self._wake_waiting_owners(old)

    def follow(self, kind: Kind, old: Any, new: Any) -> None:
        """A change of a View."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self.remove(old.metadata.uid or "")
        if new is not None:
            self.put(Item(kind, new.metadata))

    def forget(self, kind: Kind) -> None:
        """The kind is not served any more: its objects say nothing now."""
        for uid in [uid for uid, item in self.items.items() if item.kind == kind]:
            self._unlink(self.items.pop(uid))

    def _unlink(self, item: Item | None) -> None:
        for ref in item.owners if item is not None else ():
            found = self.dependents.get(ref.uid)
            if found is not None and item is not None:
                found.pop(item.uid, None)
                if not found:
                    del self.dependents[ref.uid]

    def _wake_about(self, old: Item | None, new: Item) -> None:
        if new.is_deleting or any(not self.is_solid(ref, new) for ref in new.owners):
            self._wake(new.uid)
        if new.is_waiting and (old is None or not old.is_waiting):
            for dependent in self.dependents.get(new.uid, ()):
                self._wake(dependent)
        self._wake_waiting_owners(old)

    def _wake_waiting_owners(self, item: Item | None) -> None:
        """An owner may have waited for just this."""
        for ref in item.owners if item is not None else ():
            owner = self.items.get(ref.uid)
            if owner is not None and owner.is_waiting:
                self._wake(owner.uid)

    def owner_of(self, item: Item, ref: OwnerReference) -> Item | None:
        """The owner, when the graph knows it and it is where the reference says."""
        owner = self.items.get(ref.uid)
        return owner if owner is not None and owner.is_meant_by(ref, item) else None

    def is_solid(self, ref: OwnerReference, item: Item) -> bool:
        owner = self.owner_of(item, ref)
        return owner is not None and not owner.is_waiting

    def blocking(self, uid: str) -> list[Item]:
        """The dependents for which an owner that is deleted in the foreground waits."""
        return [found for found in self.dependents_of(uid) if found.blocks(uid)]

    def dependents_of(self, uid: str) -> list[Item]:
        return [self.items[found] for found in self.dependents.get(uid, ())]


# What is to be done.


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


@dataclass(frozen=True, slots=True)
class Delete:
    item: Item
    propagation: str


@dataclass(frozen=True, slots=True)
class SetOwners:
    """Leave only these references."""

    item: Item
    owners: tuple[OwnerReference, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Take a finalizer away: what it waited for is done."""

    item: Item
    finalizer: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """Take the references to the item away from its dependents, then its finalizer."""

    item: Item
    dependents: tuple[Item, ...]


Action = Nothing | Delete | SetOwners | Finish | Orphan


def unknown_owners(item: Item, graph: Graph) -> list[OwnerReference]:
    """The owners that only the server can tell about: not seen yet, or gone."""
    if item.is_deleting:
        return []
    return [ref for ref in item.owners if graph.owner_of(item, ref) is None]


def decide(item: Item, graph: Graph, exists: Mapping[str, bool]) -> Action:
    """`exists` tells of the owners that the graph does not know, by uid."""
    if item.is_deleting:
        return decide_deleting(item, graph)
    solid = tuple(ref for ref in item.owners if graph.is_solid(ref, item) or exists.get(ref.uid, False))
    if not item.owners or len(solid) == len(item.owners):
        return Nothing()
    if solid:
        return SetOwners(item, solid)
    waiting = [ref for ref in item.owners if graph.owner_of(item, ref) is not None]
    dependents = graph.dependents_of(item.uid)
    if waiting and dependents:
        if any(dependent.is_waiting for dependent in dependents):
            return released(item) or Delete(item, "Foreground")
        return Delete(item, "Foreground")
    return Delete(item, propagation_of(item))


def decide_deleting(item: Item, graph: Graph) -> Action:
    if item.has(ORPHAN):
        return Orphan(item, tuple(graph.dependents_of(item.uid)))
    if item.has(FOREGROUND) and not any(not waits_for(found, item, graph) for found in graph.blocking(item.uid)):
        return Finish(item, FOREGROUND)
    return Nothing()


def waits_for(item: Item, other: Item, graph: Graph) -> bool:
    """In a circle in which everybody waits for his dependents, nobody can: whoever sees it first goes first."""
    seen: set[str] = set()
    open_ = [item]
    while open_:
        one = open_.pop()
        if one.uid == other.uid:
            return True
        if one.is_waiting and one.uid not in seen:
            seen.add(one.uid)
            open_ += graph.blocking(one.uid)
    return False


def released(item: Item) -> SetOwners | None:
    """A circle, in which everyone waits for the next: this one stops blocking its owners."""
    if not any(ref.block_owner_deletion for ref in item.owners):
        return None
    return SetOwners(item, tuple(unblocking(ref) for ref in item.owners))


def unblocking(ref: OwnerReference) -> OwnerReference:
    return OwnerReference(
        api_version=ref.api_version, kind=ref.kind, name=ref.name, uid=ref.uid, controller=ref.controller
    )


def propagation_of(item: Item) -> str:
    """As somebody asked for before, by a finalizer; else in the background."""
    return "Orphan" if item.has(ORPHAN) else "Foreground" if item.has(FOREGROUND) else "Background"


class KindSink:
    """Fills the graph with the objects of one kind (`reflector.Sink`)."""

    def __init__(self, kind: Kind, graph: Graph, listed: Callable[[], None]) -> None:
        self.kind, self.graph, self._listed = kind, graph, listed
        self.is_listed = False
        self.uids: set[str] = set()

    async def replace(self, objects: Sequence[Meta], revision: int) -> None:
        found = {obj.metadata.uid or "": obj for obj in objects}
        for uid in sorted(self.uids - found.keys()):
            self.graph.remove(uid)
        self.uids = set(found)
        async for obj in in_slices(objects):
            self.graph.put(Item(self.kind, obj.metadata))
        self.is_listed = True
        self._listed()

    def apply(self, events: Sequence[WatchEvent[Any]]) -> None:
        for event in events:
            uid = event.object.metadata.uid or ""
            if event.type == "DELETED":
                self.uids.discard(uid)
                self.graph.remove(uid)
            elif event.type != "BOOKMARK":
                self.uids.add(uid)
                self.graph.put(Item(self.kind, event.object.metadata))


def collectable(kinds: Iterable[Kind]) -> list[Kind]:
    """The kinds that can be followed and deleted. Events own nothing, belong to nobody, and are many."""
    needed = {"delete", "list", "watch"}
    return [kind for kind in kinds if set(kind.verbs) >= needed and kind.plural != "events"]
