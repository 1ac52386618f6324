"""Where in an object something is, and walking an object beside its schema.

A place is a chain of steps that costs one tuple to extend; it becomes text only where something is wrong.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from kybern.api.invalid import FieldError
from kybern.registry.customresources.effort import Effort

T = TypeVar("T")

Schema = Mapping[str, Any]
"""A part of an OpenAPI v3 schema, as JSON."""

Place = tuple[Any, str | int] | None
"""(the place around, the field's name or the item's number); None is the object itself."""

ROOT: Place = None


class Wrong(NamedTuple):
    place: Place
    error: FieldError


class Findings(list[Wrong]):
    """What is wrong with a value, and what finding it out takes."""

    __slots__ = ("effort",)

    def __init__(self, effort: Effort) -> None:
        self.effort = effort

    def append(self, one: Wrong) -> None:
        super().append(one)
        self.effort.tell(len(one.error.field) + len(one.error.body))

    def add(self, more: Iterable[Wrong]) -> None:
        """What turns out to be worth telling."""
        for one in more:
            self.append(one)


Check = Callable[[Any, Place, Findings], None]
"""(value, where it is, what was found wrong so far and what this adds)."""


def steps(place: Place) -> list[str | int]:
    found: list[str | int] = []
    while place is not None:
        place, step = place
        found.append(step)
    return found[::-1]


def text(place: Place) -> str:
    """`spec.ports[0].name`"""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps(place)).removeprefix(".")


def some(parts: Mapping[str, Schema], make: Callable[[Schema], T | None]) -> dict[str, T]:
    """What is made of each part, where something is."""
    made = ((key, make(part)) for key, part in parts.items())
    return {key: found for key, found in made if found is not None}


def has_rules(schema: Any) -> bool:
    """Whether expressions judge a part of it. Most schemas have none, and then nobody loads the engine."""
    if isinstance(schema, Mapping):
        return "x-kubernetes-validations" in schema or any(map(has_rules, schema.values()))
    return isinstance(schema, list) and any(map(has_rules, schema))


def parts_of(schema: Any) -> list[Mapping[str, Any]]:
    """The objects that it consists of, whatever they are."""
    found, here = [], [schema]
    while here:
        found += [one for one in here if isinstance(one, Mapping)]
        nested = [one.values() if isinstance(one, Mapping) else one for one in here]
        here = [inner for values in nested for inner in values if isinstance(inner, Mapping | list)]
    return found


def everywhere(schema: Schema, own: Callable[[Schema], Check | None]) -> Check | None:
    """One check of a whole value, out of what `own` makes of each part of its schema; None where there is nothing to
    check. Parts without a check are never visited."""
    here = own(schema)
    properties = some(schema.get("properties", {}), lambda part: everywhere(part, own))
    values, items = schema.get("additionalProperties"), schema.get("items")
    of_values = everywhere(values, own) if isinstance(values, Mapping) else None
    of_items = everywhere(items, own) if isinstance(items, Mapping) else None
    if not properties and of_values is None and of_items is None:
        return here

    def check(value: Any, place: Place, wrong: Findings) -> None:
        if here is not None:
            here(value, place, wrong)
        if isinstance(value, dict):
            for key, item in value.items():
                inner = properties.get(key, of_values)
                if inner is not None:
                    inner(item, (place, key), wrong)
        elif of_items is not None and isinstance(value, list):
            for index, item in enumerate(value):
                of_items(item, (place, index), wrong)

    return check
