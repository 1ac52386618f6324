"""Who watches a resource: groups of watchers, found by the one value that they insist on.

A thousand kubelets each watch the pods of one node. An event is shown to those whose value it has, or had, and to the
groups that insist on nothing; not to everybody in turn.
"""

from collections.abc import Hashable, Iterator

from kybern.apiserver.frames import Event, Form
from kybern.apiserver.item import Item
from kybern.apiserver.selection import Selection, values
from kybern.apiserver.watcher import Group, Watcher
from kybern.registry.resource import Resource

Place = tuple[str, str]
"""(field, the value insisted on); ("", "") for none."""

NOWHERE: Place = ("", "")


class Audience:
    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self._groups: dict[Place, dict[Hashable, Group]] = {}
        self._fields: dict[str, int] = {}
        """How many groups insist on a value of each field."""

    def group(self, selection: Selection, form: Form) -> Group:
        """The group of those who want just this: the one there is, or a new one that nobody is in."""
        return self._groups.get(place_of(selection), {}).get(key_of(selection, form)) or Group(selection, form)

    def join(self, group: Group, watcher: Watcher) -> None:
        group.watchers.add(watcher)
        place, key = place_of(group.selection), key_of(group.selection, group.form)
        here = self._groups.setdefault(place, {})
        if key not in here:
            here[key] = group
            self._fields[place[0]] = self._fields.get(place[0], 0) + 1

    def leave(self, group: Group, watcher: Watcher) -> None:
        if watcher not in group.watchers:
            return
        group.watchers.discard(watcher)
        if group.watchers:
            return
        place = place_of(group.selection)
        del self._groups[place][key_of(group.selection, group.form)]
        if not self._groups[place]:
            del self._groups[place]
        self._fields[place[0]] -= 1
        if not self._fields[place[0]]:
            del self._fields[place[0]]

    def concerned(self, event: Event) -> list[Group]:
        """The groups that may want to know of an event."""
        return [group for place in self._places(event) for group in self._groups.get(place, {}).values()]

    def _places(self, event: Event) -> Iterator[Place]:
        for field in self._fields:
            if not field:
                yield NOWHERE
                continue
            yield from {(field, value) for value in (self._value(event.old, field), self._value(event.new, field))}

    def _value(self, item: Item | None, field: str) -> str:
        if item is None:
            return ""
        return values(item, self.resource)(field)

    def end(self) -> None:
        for here in self._groups.values():
            for group in here.values():
                for watcher in tuple(group.watchers):
                    watcher.finish()

    @property
    def size(self) -> int:
        return sum(len(group.watchers) for here in self._groups.values() for group in here.values())


def place_of(selection: Selection) -> Place:
    """The most telling value that a selection insists on."""
    for term in selection.fields.requirements:
        if term.equal and term.value:
            return term.path, term.value
    return ("metadata.namespace", selection.namespace) if selection.namespace else NOWHERE


def key_of(selection: Selection, form: Form) -> Hashable:
    return selection.namespace, selection.labels, selection.fields, form
