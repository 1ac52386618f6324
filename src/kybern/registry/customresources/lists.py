"""x-kubernetes-list-type `set` and `map`: no two items are the same, or have the same keys."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from kybern.api.invalid import duplicate, invalid_value
from kybern.registry.customresources.places import Check, Findings, Place, Schema, Wrong, everywhere, text

ITEM_STEPS = 10  # to make its mark and look it up

_encode = msgspec.json.Encoder(order="sorted").encode


def list_types(schema: Schema) -> Check | None:
    return everywhere(schema, of_list)


def of_list(schema: Schema) -> Check | None:
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set":
        return each_once
    return each_key_once(tuple(schema.get("x-kubernetes-list-map-keys", ()))) if kind == "map" else None


def each_once(value: Any, place: Place, wrong: Findings) -> None:
    if isinstance(value, list):
        wrong.effort.spend(ITEM_STEPS * len(value))
        for index in repeated(map(mark_of, value)):
            here = (place, index)
            wrong.append(Wrong(here, duplicate(text(here), value[index])))


def each_key_once(keys: tuple[str, ...]) -> Check:
    mark = marks_by(keys)

    def check(value: Any, place: Place, wrong: Findings) -> None:
        if not isinstance(value, list):
            return
        wrong.effort.spend(ITEM_STEPS * len(value))
        for index, item in enumerate(value):
            if item is not None and not isinstance(item, dict):
                here = (place, index)
                why = "must be an object for an array of list-type map"
                wrong.append(Wrong(here, invalid_value(text(here), item, why)))
                return
        for index in repeated(map(mark, value)):
            here = (place, index)
            told = {key: value[index][key] for key in keys if key in (value[index] or ())}
            wrong.append(Wrong(here, duplicate(text(here), told)))

    return check


def marks_by(keys: tuple[str, ...]) -> Callable[[Any], Any]:
    """What of an item tells it apart from others."""
    if len(keys) == 1:
        [key] = keys
        return lambda item: mark_of(item[key]) if item and key in item else None
    return lambda item: _encode({key: item[key] for key in keys if key in item} if item else {})


def mark_of(value: Any) -> Any:
    """Text stands for itself, so that a list of names costs no encoding."""
    return value if isinstance(value, str) else _encode(value)


def repeated(marks: Iterable[Any]) -> list[int]:
    """Where something comes for the second time; further times are not told."""
    times: dict[Any, int] = {}
    found = []
    for index, mark in enumerate(marks):
        times[mark] = times.get(mark, 0) + 1
        if times[mark] == 2:
            found.append(index)
    return found
