"""Which part of an object that is being changed was which before: fields by their names, items of lists by their keys.

One `Correlation` for each change: what was compared or looked up once is remembered, since a large object may be wrong in
many places, and each place is asked about.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kybern.registry.customresources.effort import Effort
from kybern.registry.customresources.lists import marks_by
from kybern.registry.customresources.places import Place, Schema, steps
from kybern.registry.customresources.values import mark_of

COMPARED_STEPS = 6  # to compare two values

Counterparts = Callable[[Any], Any]
"""An item of a new list to the item of the old one that it was."""


class Correlation:
    def __init__(self, schema: Schema, new: Any, old: Any, effort: Effort) -> None:
        self.schema, self.new, self.old, self.effort = schema, new, old, effort
        self._same: dict[tuple[int, int], bool] = {}
        self._lists: dict[int, Counterparts] = {}

    def is_old(self, place: Place) -> bool:
        """Whether something around a place, or just there, is as it was."""
        schema, new, old = self.schema, self.new, self.old
        if self.same(new, old):
            return True
        for step in steps(place):
            if isinstance(step, int):
                old = self.counterparts(old, schema)(new[step])
                new, schema = new[step], schema.get("items", {})
            elif step not in new:
                return False
            else:
                old = old.get(step) if isinstance(old, dict) else None
                new, schema = new[step], part_of(schema, step)
            if old is None:
                return False
            if self.same(new, old):
                return True
        return False

    def same(self, one: Any, other: Any) -> bool:
        """Whether two JSON values are the same; 1 and 1.0 are, 1 and true are not."""
        if not isinstance(one, dict | list) or not isinstance(other, dict | list):
            return type(one) not in (dict, list) and type(other) not in (dict, list) and mark_of(one) == mark_of(other)
        known = (id(one), id(other))
        if known not in self._same:
            self.effort.spend(COMPARED_STEPS * len(one))
            self._same[known] = self.same_within(one, other)
        return self._same[known]

    def same_within(self, one: Any, other: Any) -> bool:
        if isinstance(one, dict):
            is_alike = isinstance(other, dict) and one.keys() == other.keys()
            return is_alike and all(self.same(item, other[key]) for key, item in one.items())
        return isinstance(other, list) and len(one) == len(other) and all(map(self.same, one, other))

    def counterparts(self, old: Any, schema: Schema) -> Counterparts:
        if id(old) not in self._lists:
            self.effort.spend(COMPARED_STEPS * len(old) if isinstance(old, list) else 1)
            self._lists[id(old)] = counterparts(old, schema)
        return self._lists[id(old)]


def part_of(schema: Schema, name: str) -> Schema:
    values = schema.get("additionalProperties")
    found: Schema = schema.get("properties", {}).get(name) or (values if isinstance(values, dict) else {})
    return found


def counterparts(old: Any, schema: Schema) -> Counterparts:
    """The items of an old list, told by their keys in a list that has some: the first where several have the same."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return lambda item: None
    mark = marks_by(tuple(schema.get("x-kubernetes-list-map-keys", ())))
    known: Mapping[Any, Any] = {mark(item): item for item in reversed(old) if isinstance(item, dict)}
    return lambda item: known.get(mark(item)) if isinstance(item, dict) else None
