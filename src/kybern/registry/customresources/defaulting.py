"""Defaults and nulls: what a schema fills in, and which nulls it takes for absent.

- A null where none is allowed is the field's default if it has one, else it is as if the field were not there.
- A default is itself completed by the defaults below it.
- Values are never changed: a completed one shares with the old what stayed as it was.
- Nor is the same default copied for each place where it belongs: so a few letters can stand for more than memory holds, and
  each default takes some of the room that there is, for what it would be were it written out.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from kybern.aio.beside import TakesLong, others_wait
from kybern.registry.customresources.places import Schema, some

BYTES_AT_ONCE = 32 * 1024
"""While others wait."""


class NoRoom(Exception):
    """Defaults make an object larger than it may be."""


class Room:
    """For the defaults of one object."""

    __slots__ = ("bytes_left", "others_wait")

    def __init__(self, bytes_max: int) -> None:
        self.others_wait = others_wait()
        self.bytes_left = min(bytes_max, BYTES_AT_ONCE) if self.others_wait else bytes_max

    def take(self, bytes_count: int) -> None:
        self.bytes_left -= bytes_count
        if self.bytes_left < 0:
            raise TakesLong if self.others_wait else NoRoom


Fill = Callable[[Any, Room], Any]
"""A value to the completed value; the value itself where nothing is missing."""


def filling(schema: Schema) -> Fill | None:
    """None where there is nothing that could be missing."""
    if schema.get("properties") or isinstance(schema.get("additionalProperties"), Mapping):
        return of_object(schema)
    items = schema.get("items")
    return of_list(items) if isinstance(items, Mapping) else None


def completed(schema: Schema, fill: Fill | None) -> Any:
    """A schema's own default with the defaults below it; None where it has none."""
    default = schema.get("default")
    return fill(default, Room(sys.maxsize)) if fill is not None and default is not None else default


def of_object(schema: Schema) -> Fill:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    values = schema.get("additionalProperties")
    others: Schema | None = values if isinstance(values, Mapping) else None
    fills = some(properties, filling)
    fill_others = filling(others) if others is not None else None
    own = {key: completed(part, fills.get(key)) for key, part in properties.items()}
    sizes: dict[int, int] = {}
    defaults_by_key = tuple(
        (key, default, len(key) + size_of(default, sizes)) for key, default in own.items() if default is not None
    )
    has_fills = bool(fills) or fill_others is not None

    def fill(value: Any, room: Room) -> Any:
        if not isinstance(value, dict):
            return value
        found = value
        if None in value.values():
            found = type(value)(
                (key, item)
                for key, item in value.items()
                if item is not None or keeps_null(properties.get(key, others))
            )
        for key, item in found.items() if has_fills else ():  # of the schema there may be more, for each of many values
            inner = fills.get(key) or (fill_others if key not in properties else None)
            if inner is not None and item is not None and (new := inner(item, room)) is not item:
                found = type(value)(found) if found is value else found
                found[key] = new
        for key, default, size in defaults_by_key:  # each complete in itself
            if key not in found:
                room.take(size)
                found = type(value)(found) if found is value else found
                found[key] = default
        return found

    return fill


def keeps_null(schema: Schema | None) -> bool:
    return schema is None or bool(schema.get("nullable"))


def of_list(items: Schema) -> Fill | None:
    inner = filling(items)
    default = completed(items, inner)
    replaces = default is not None and not items.get("nullable")
    if inner is None and not replaces:
        return None
    size = size_of(default, {})

    def filled(item: Any, room: Room) -> Any:
        if item is None and replaces:
            room.take(size)
            return default
        return inner(item, room) if inner is not None else item

    def fill(value: Any, room: Room) -> Any:
        if not isinstance(value, list):
            return value
        found = [filled(item, room) for item in value]
        return found if any(new is not old for new, old in zip(found, value, strict=True)) else value

    return fill


def size_of(value: Any, known: dict[int, int]) -> int:
    """How many bytes it would be, about, were it written out. What it has several times is looked at once: `known`."""
    if isinstance(value, str):
        return len(value) + 2
    if not isinstance(value, dict | list):
        return 4
    if id(value) not in known:
        keys, items = (sum(map(len, value)), value.values()) if isinstance(value, dict) else (0, value)
        known[id(value)] = 2 + keys + sum(1 + size_of(item, known) for item in items)
    return known[id(value)]


def is_longer(value: Any, bytes_max: int) -> bool:
    """Than so many bytes, were it written out; looked at no further than to there."""
    left, rest = bytes_max, [value]
    while rest and left >= 0:
        one = rest.pop()
        if isinstance(one, dict | list | tuple):
            left -= len(one)
            if left < 0:
                return True
            if isinstance(one, dict):
                left -= sum(map(len, one))
            rest += one.values() if isinstance(one, dict) else one
        else:
            left -= len(one) if isinstance(one, str) else 1
    return left < 0
