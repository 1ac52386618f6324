"""Defaults and nulls: what a schema fills in, and which nulls it takes for absent.

- A null where none is allowed is the field's default if it has one, else it is as if the field were not there.
- A default is itself completed by the defaults below it.
- Values are never changed: a completed one shares with the old what stayed as it was.
- Nor is the same default copied for each place where it belongs: so a few letters can stand for more than memory holds, and
  how long an object has become is asked before it is written out.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kybern.registry.customresources.places import Schema, some

Fill = Callable[[Any], Any]
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
    return fill(default) if fill is not None and default is not None else default


def of_object(schema: Schema) -> Fill:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    values = schema.get("additionalProperties")
    others: Schema | None = values if isinstance(values, Mapping) else None
    fills = some(properties, filling)
    fill_others = filling(others) if others is not None else None
    own = {key: completed(part, fills.get(key)) for key, part in properties.items()}
    defaults_by_key = tuple((key, default) for key, default in own.items() if default is not None)
    fills_by_key = tuple(fills.items())

    def fill(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = value
        if None in value.values():
            found = type(value)(
                (key, item)
                for key, item in value.items()
                if item is not None or keeps_null(properties.get(key, others))
            )
        for key, default in defaults_by_key:
            if key not in found:
                found = type(value)(found) if found is value else found
                found[key] = default
        for key, inner in fills_by_key:
            item = found.get(key)
            if item is not None and (new := inner(item)) is not item:
                found = type(value)(found) if found is value else found
                found[key] = new
        if fill_others is not None:
            for key, item in tuple(found.items()):
                if key not in properties and (new := fill_others(item)) is not item:
                    found = type(value)(found) if found is value else found
                    found[key] = new
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

    def fill(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        found = [default if item is None and replaces else inner(item) if inner is not None else item for item in value]
        return found if any(new is not old for new, old in zip(found, value, strict=True)) else value

    return fill


def is_longer(value: Any, bytes_max: int) -> bool:
    """Than so many bytes, were it written out; looked at no further than to there."""
    left, rest = bytes_max, [value]
    while rest and left >= 0:
        one = rest.pop()
        if isinstance(one, dict):
            left -= sum(map(len, one)) + len(one)
            rest += one.values()
        elif isinstance(one, list):
            left -= len(one)
            rest += one
        else:
            left -= len(one) if isinstance(one, str) else 1
    return left < 0
