"""The watch cache of a resource: everything that clients read, in memory and ready to be sent.

- It follows the store synchronously, so it has seen a write before the writer is answered: reads need no revision check.
- `page` lists in key order, now or at a revision since the last compaction, by undoing what happened after it.
- `watch` replays the events after a revision, then follows; before the last compaction it is Expired.
"""

import asyncio
import logging
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from kybern.api.errors import Expired
from kybern.apiserver.audience import Audience
from kybern.apiserver.frames import Event, Form
from kybern.apiserver.item import Item
from kybern.apiserver.selection import Selection
from kybern.apiserver.turns import DECODED_BYTES, in_turns, turns
from kybern.apiserver.watcher import Group, Watcher
from kybern.registry.resource import Resource
from kybern.store.interface import Change, Entry, Store
from kybern.store.log import AFTER_SLASH

log = logging.getLogger(__name__)

SNAPSHOTS_MAX = 4  # kept for lists that are read in pages; each is a sorted tuple of references

S = TypeVar("S", Entry, Change)
T = TypeVar("T")
Convert = Callable[[bytes], bytes]
revision_of = attrgetter("revision")


@dataclass(frozen=True, slots=True)
class Page:
    items: Sequence[Item]
    revision: int
    next: str
    """The key to go on with; empty at the end."""
    remaining: int | None
    """How many there are after this page; None where a selector would have to look at each."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    keys: Sequence[str]
    items: dict[str, Item]


class Cache:
    def __init__(self, resource: Resource, store: Store, convert: Convert | None = None) -> None:
        """`convert`: stored bytes to this version's, where several versions share one storage."""
        self.resource = resource
        self.store = store
        self.prefix = resource.prefix + "/"
        self.items: dict[str, Item] = {}
        self.keys: list[str] = []
        self.events: list[Event] = []
        self.oldest = 0
        """Events after this revision are known."""
        self.changed = 0
        """The revision of the last change here."""
        self.on_event: list[Callable[[Event], None]] = []
        self._convert = convert
        self.fed_to: Callable[[], int] | None = None
        """Where somebody else fills it: the revision up to which it has everything."""
        self._loading: list[Change] | None = None
        """What happens while the past is still being read."""
        self._unsubscribe: Callable[[], None] = lambda: None
        self.audience = Audience(resource)
        self._snapshots: dict[int, Snapshot] = {}

    def follow(self) -> None:
        """Miss nothing from now on; `load` comes next."""
        self._loading = []
        self._unsubscribe = self.store.subscribe(self.prefix, self.take)

    async def load(self, entries: Sequence[Entry], history: Sequence[Change], oldest: int) -> None:
        """Take over the state, and the changes after `oldest` that led to it; then what has happened meanwhile."""
        self.items = {item.key: item for item in await self._in_turns(self._item_of, entries)}
        self.keys = sorted(self.items)
        self.events = await self._in_turns(self._event_of_the_past, history)
        self.oldest = oldest
        self.changed = max((entry.revision for entry in entries), default=0)
        self.changed = max(self.changed, self.events[-1].revision if self.events else 0)
        missed = [change for change in self._loading or () if change.revision > self.changed]
        self._loading = None
        if missed:
            self.take(missed)

    @property
    def revision(self) -> int:
        """What it shows: everything up to this revision."""
        return self.store.revision if self.fed_to is None else self.fed_to()

    def close(self) -> None:
        """Follow no longer; every watch ends when its client has read what there is."""
        self._unsubscribe()
        self.audience.end()

    async def _in_turns(self, made: Callable[[S], T], of: Sequence[S]) -> list[T]:
        """Where each is converted, others have their turn between them."""
        if self._convert is None:
            return list(map(made, of))
        found: list[T] = []
        left = DECODED_BYTES
        for one in of:
            found.append(made(one))
            left -= len(one.value or b"")
            if left < 0:
                await asyncio.sleep(0)
                left = DECODED_BYTES
        return found

    def _item_of(self, entry: Entry) -> Item:
        return self._item(entry.key, entry.value, entry.created, entry.revision)

    def _event_of_the_past(self, change: Change) -> Event:
        old = change.previous
        return Event(
            change.revision,
            self._item(old.key, old.value, old.created, old.revision) if old else None,
            None if change.value is None else self._item(change.key, change.value, 0, change.revision),
        )

    def _item(self, key: str, value: bytes, created: int, revision: int) -> Item:
        namespace, _, name = key[len(self.prefix) :].rpartition("/")
        return Item(key, namespace, name, self._convert(value) if self._convert else value, created, revision)

    def take(self, changes: Sequence[Change]) -> None:
        if self._loading is not None:
            self._loading += changes
            return
        concerned: dict[Group, None] = {}
        for change in changes:
            event = self._apply(change)
            self.events.append(event)
            for group in self.audience.concerned(event):
                group.take(event)
                concerned[group] = None
            self._tell(event)
        for group in concerned:
            group.flush()
        self.changed = changes[-1].revision

    def _tell(self, event: Event) -> None:
        """The server's own parts. One that fails has a fault, and the others still must hear of it."""
        for call in self.on_event:
            try:
                call(event)
            except Exception:
                log.exception("a part of the server failed on a change of %s", self.prefix)

    def _apply(self, change: Change) -> Event:
        key = change.key
        old = self.items.get(key)
        if change.value is None:
            self.items.pop(key, None)
            at = bisect_left(self.keys, key)
            if at < len(self.keys) and self.keys[at] == key:
                del self.keys[at]
            return Event(change.revision, old, None)
        created = old.created if old else change.revision
        new = self.items[key] = self._item(key, change.value, created, change.revision)
        if old is None:
            insort(self.keys, key)
        else:
            old.forget_derived()
        return Event(change.revision, old, new)

    def forget(self, before: int) -> None:
        """Drop the events up to a revision, as the store has."""
        del self.events[: bisect_right(self.events, before, key=revision_of)]
        self.oldest = max(self.oldest, before)
        self._snapshots = {revision: kept for revision, kept in self._snapshots.items() if revision >= before}

    async def forget_sent(self, before: int) -> None:
        """What was sent before a revision is made anew if it is sent again: kept, it would be there twice."""
        await in_turns(Item.forget_sent, [item for item in self.items.values() if item.revision <= before])

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, namespace: str, name: str) -> Item | None:
        return self.items.get(self.resource.key(namespace, name))

    def count(self, namespace: str = "") -> int:
        """How many objects there are, in one namespace or in all."""
        if not namespace:
            return len(self.keys)
        start = f"{self.prefix}{namespace}/"
        return bisect_left(self.keys, start[:-1] + AFTER_SLASH) - bisect_left(self.keys, start)

    def all(self, namespace: str = "") -> list[Item]:
        """What is there now, in the order of keys."""
        first, last = self._range(self.keys, Selection(self.resource, namespace), "")
        return [self.items[key] for key in self.keys[first:last]]

    async def page(self, selection: Selection, *, at: int = 0, after: str = "", limit: int = 0) -> Page:
        """A part of the list; `at` a revision or 0 for now, `after` the key the former page ended with. It is as it was when
        this was called, though others get their turn while a selector looks at many."""
        now = self.revision
        shown = self._snapshot(at) if at and at < self.changed else Snapshot(self.keys, self.items)
        first, last = self._range(shown.keys, selection, after)
        if selection.everything:
            end = min(first + limit, last) if limit else last
            items = [shown.items[key] for key in shown.keys[first:end]]
            return Page(items, at or now, items[-1].key if end < last else "", last - end or None)
        items = [shown.items[key] for key in shown.keys[first:last]]
        found: list[Item] = []
        for number, some in enumerate(turns(items)):
            if number:
                await asyncio.sleep(0)
            found += filter(selection.takes, some)
            if limit and len(found) > limit:
                return Page(found[:limit], at or now, found[limit - 1].key, None)
        return Page(found, at or now, "", None)

    def _range(self, keys: Sequence[str], selection: Selection, after: str) -> tuple[int, int]:
        """Where in the order of keys what may be selected begins and ends."""
        first, last = 0, len(keys)
        if selection.namespace:
            start = f"{self.prefix}{selection.namespace}/"
            first, last = bisect_left(keys, start), bisect_left(keys, start[:-1] + AFTER_SLASH)
            if selection.name:
                first = bisect_left(keys, start + selection.name)
                last = bisect_right(keys, start + selection.name)
        if after:
            first = max(first, bisect_right(keys, after))
        return first, max(first, last)

    def _snapshot(self, at: int) -> Snapshot:
        """The state at a revision: the present without what came later."""
        if at < self.oldest:
            raise Expired(f"The resourceVersion for the provided list is too old: {at} ({self.oldest})")
        kept = self._snapshots.get(at)
        if kept is None:
            items = dict(self.items)
            for event in reversed(self.events[bisect_right(self.events, at, key=revision_of) :]):
                undo(items, event)
            kept = Snapshot(sorted(items), items)
            if len(self._snapshots) >= SNAPSHOTS_MAX:
                del self._snapshots[next(iter(self._snapshots))]
            self._snapshots[at] = kept
        return kept

    # --- watching -----------------------------------------------------------------------------------------------------

    def watch(self, selection: Selection, form: Form, *, after: int) -> Watcher:
        """A watcher that has everything after a revision in its buffer, and gets what comes."""
        if after < self.oldest:
            raise Expired(f"too old resource version: {after} ({self.oldest})")
        group = self.audience.group(selection, form)
        watcher = Watcher(lambda ended: self.audience.leave(group, ended))
        for event in self.events[bisect_right(self.events, after, key=revision_of) :]:
            if (found := group.frame(event)) is not None and not watcher.cut:
                watcher.push(found)
        if not watcher.cut:
            self.audience.join(group, watcher)
        return watcher


def undo(items: dict[str, Item], event: Event) -> None:
    if event.old is not None:
        items[event.old.key] = event.old
    elif event.new is not None:
        items.pop(event.new.key, None)
