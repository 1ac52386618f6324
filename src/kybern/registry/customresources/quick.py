"""A quick look at a whole object: the schema as a msgspec type, which tells in one call that everything is right.

`looking(schema)` gives it for schemas that such a type can say all of; there is none for the others. It only ever says yes:
what is wrong, and where, is told by the whole check, which a no leads to. Whether there is a type is found out first, and
only then is it made: making one takes long.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

Schema = Mapping[str, Any]

ABOUT = {"type", "description", "title", "default", "nullable", "example"}
SAID = {
    "string": {"minLength", "maxLength"},
    "integer": {"minimum", "maximum", "format"},
    "number": {"minimum", "maximum", "format"},
    "boolean": set(),
    "array": {"items", "minItems", "maxItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"},
    "object": {"properties", "required", "additionalProperties", "x-kubernetes-map-type"},
}
NUMBERS = ("double", "float")
INT_END = 2**63
FIELDS_MAX = 2_000  # in all: a type takes a while to make
OWN_FIELDS_MAX, MANY_FIELDS_MAX = 256, 32
"""Of an object, and of one of a list or map: in memory it has all of its fields, and in a body only two brackets."""
DEPTH_MAX = 32


Make = Callable[[], Any]
"""Makes a type."""


class Unfit(Exception):
    """No type says all that this schema does."""


@dataclass(frozen=True, slots=True)
class Limits:
    closed: bool
    """Whether a field that the schema does not name is wrong."""
    left: Iterator[int] = field(default_factory=lambda: iter(range(FIELDS_MAX)))
    """What may still be made."""
    own_fields_max: int = OWN_FIELDS_MAX

    def of_many(self) -> "Limits":
        return replace(self, own_fields_max=MANY_FIELDS_MAX)


def looking(schema: Schema, *, closed: bool = False) -> Callable[[Any], bool] | None:
    try:
        wanted = type_of(schema, Limits(closed), 0)()
        msgspec.json.Decoder(wanted)  # what is wrong with a type is only told when it is used
    except (Unfit, ValueError, TypeError, OverflowError):  # bounds and names that msgspec knows not how to keep
        return None

    def passes(value: Any) -> bool:
        try:
            msgspec.convert(value, wanted)
        except msgspec.ValidationError:
            return False
        return True

    return passes


def type_of(schema: Schema, limits: Limits, depth: int) -> Make:
    """Unfit where there is none."""
    kind = schema.get("type", "")
    if (
        depth > DEPTH_MAX
        or kind not in SAID
        or not schema.keys() <= ABOUT | SAID[kind]
        or next(limits.left, None) is None
    ):
        raise Unfit
    make = OF_KIND[kind](schema, limits, depth + 1)
    return (lambda: make() | None) if schema.get("nullable") else make


def text(schema: Schema, limits: Limits, depth: int) -> Make:
    return lambda: Annotated[str, Meta(min_length=schema.get("minLength"), max_length=schema.get("maxLength"))]


def whole(schema: Schema, limits: Limits, depth: int) -> Make:
    if schema.get("format", "int64") != "int64":
        raise Unfit
    least, most = (bound(schema.get(name, end)) for name, end in (("minimum", -INT_END), ("maximum", INT_END - 1)))
    return lambda: Annotated[int, Meta(ge=max(least, -INT_END), le=min(most, INT_END - 1))]


def bound(limit: float) -> int:
    """Of a whole number; a definition's limits are numbers of any sort."""
    if int(limit) != limit:
        raise Unfit
    return int(limit)


def number(schema: Schema, limits: Limits, depth: int) -> Make:
    if schema.get("format", "double") not in NUMBERS:
        raise Unfit
    return lambda: Annotated[float, Meta(ge=schema.get("minimum"), le=schema.get("maximum"))]


def listed(schema: Schema, limits: Limits, depth: int) -> Make:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        raise Unfit
    each = type_of(items, limits.of_many(), depth)
    size = {"min_length": schema.get("minItems"), "max_length": schema.get("maxItems")}
    return lambda: Annotated[list[each()], Meta(**size)]  # type: ignore[misc]


def mapped(schema: Schema, limits: Limits, depth: int) -> Make:
    """A struct, or a map."""
    values, properties = schema.get("additionalProperties"), schema.get("properties", {})
    if isinstance(values, Mapping) and not properties and not schema.get("required"):
        each = type_of(values, limits.of_many(), depth)
        return lambda: dict[str, each()]  # type: ignore[misc]
    needed = set(schema.get("required", ()))
    if values is not None or not needed <= properties.keys() or len(properties) > limits.own_fields_max:
        raise Unfit
    makes = {key: type_of(part, limits, depth) for key, part in properties.items()}
    return lambda: struct(makes, needed, limits.closed)


def struct(makes: Mapping[str, Make], needed: set[str], closed: bool) -> Any:
    fields: list[Any] = []
    for index, (key, make) in enumerate(makes.items()):
        fields.append((f"f{index}", make()) if key in needed else (f"f{index}", make() | UnsetType, UNSET))
    names = {f"f{index}": key for index, key in enumerate(makes)}
    return msgspec.defstruct("Quick", fields, rename=names, kw_only=True, gc=False, forbid_unknown_fields=closed)


OF_KIND: Mapping[str, Callable[[Schema, Limits, int], Make]] = {
    "string": text,
    "integer": whole,
    "number": number,
    "boolean": lambda schema, limits, depth: lambda: bool,
    "array": listed,
    "object": mapped,
}
