"""Which part of an object that is being changed was which before: fields by their names, items of lists by their keys."""

from typing import Any

from kybern.registry.customresources.places import Place, Schema, steps
from kybern.registry.customresources.values import same


def is_old(place: Place, schema: Schema, new: Any, old: Any) -> bool:
    """Whether something around a place, or just there, is as it was."""
    if same(new, old):
        return True
    for step in steps(place):
        if isinstance(step, int):
            old = counterpart(new[step], old, schema)
            new, schema = new[step], schema.get("items", {})
        elif step not in new:
            return False
        else:
            old = old.get(step) if isinstance(old, dict) else None
            new, schema = new[step], part_of(schema, step)
        if old is None:
            return False
        if same(new, old):
            return True
    return False


def part_of(schema: Schema, name: str) -> Schema:
    values = schema.get("additionalProperties")
    found: Schema = schema.get("properties", {}).get(name) or (values if isinstance(values, dict) else {})
    return found


def counterpart(item: Any, old: Any, schema: Schema) -> Any:
    """The item of the old list that an item of the new one is: told by its keys, in a list that has some."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list) or not isinstance(item, dict):
        return None
    keys = schema.get("x-kubernetes-list-map-keys", ())
    for other in old:
        if isinstance(other, dict) and all(item.get(key) == other.get(key) for key in keys):
            return other
    return None
