"""How a value and a message stand for each other, as a table of fields, read in both directions.

    DNS = Mapping(DNSConfig, (Field("servers", TEXTS), Field("searches", TEXTS)))
    to_fields(DNS, value)     what a message is made from: message("DNSConfig", **fields)
    from_message(DNS, message)

A field lies under its own name, or at `at`, a path through messages. What a message leaves out is its default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Kind:
    """`out` gives what a message holds, None for nothing; `back` the value again. `optional`: absent is None."""

    out: Callable[[Any], Any]
    back: Callable[[Any], Any]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: Kind
    at: str = ""

    @property
    def path(self) -> Sequence[str]:
        return (self.at or self.name).split(".")


@dataclass(frozen=True, slots=True)
class Table:
    type: type[Any]
    fields: Sequence[Field]
    constants: Mapping[str, Any] = field(default_factory=dict)
    """What every message says besides."""


def same(value: Any) -> Any:
    return value


SAME = Kind(same, same)
MANY = Kind(list, tuple)
TEXTS = Kind(dict, dict)
WRAPPED = Kind(lambda value: None if value is None else {"value": value}, lambda found: found.value, optional=True)
AMOUNT = Kind(lambda value: {"value": value}, lambda found: found.value)
SECONDS = Kind(lambda value: round(value * NANOSECONDS), lambda found: found / NANOSECONDS)


def one_of(values: Sequence[Any], unknown: Any = None) -> Kind:
    """A number that says which; what a newer peer knows besides is `unknown`."""
    known = dict(enumerate(values))
    fallback = values[0] if unknown is None else unknown
    return Kind(values.index, lambda number: known.get(number, fallback))


def nested(table: Table, *, optional: bool = False) -> Kind:
    def out(value: Any) -> Any:
        return None if value is None else to_fields(table, value)

    return Kind(out, lambda found: from_message(table, found), optional)


def many(table: Table) -> Kind:
    return Kind(
        lambda values: [to_fields(table, value) for value in values],
        lambda found: tuple(from_message(table, each) for each in found),
    )


def to_fields(table: Table, value: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for each in table.fields:
        content = each.kind.out(getattr(value, each.name))
        if content is not None:
            put(fields, each.path, content)
    for path, content in table.constants.items():
        put(fields, path.split("."), content)
    return fields


def put(fields: dict[str, Any], path: Sequence[str], content: Any) -> None:
    *outer, last = path
    for name in outer:
        fields = fields.setdefault(name, {})
    fields[last] = content


def from_message(table: Table, message: Any, **known: Any) -> Any:
    """`known`: what the value says besides, and the message does not."""
    return table.type(**{each.name: _found(each, message) for each in table.fields}, **known)


def _found(each: Field, message: Any) -> Any:
    *outer, last = each.path
    for name in outer:
        message = getattr(message, name)
    if each.kind.optional and not message.HasField(last):
        return None
    return each.kind.back(getattr(message, last))
