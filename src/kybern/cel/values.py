"""The values of expressions, and what equality and order mean for them.

JSON is taken as it is: `str`, `bool`, `int`, `float`, `None`, `list` (or `tuple`), `dict`. What JSON does not have is here.

- `true` is not `1`, though Python thinks so; `1`, `1u` and `1.0` are the same number.
- Times are whole nanoseconds, as Go counts them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from msgspec import json

from kybern.cel.errors import CostLimitExceeded, EvaluationError, no_such_overload
from kybern.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    optional_of,
    type_of,
)

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
ELEMENTS_MAX = 1_000_000
"""Of a list: joining lists is counted as one step, and doubling them would not stay one for long."""


class UInt(int):
    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    nano: int
    """Since 1970 in UTC."""
    offset: int = field(default=0, compare=False)
    """Minutes east of UTC: how it was written, and is written again."""


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nano: int


@dataclass(frozen=True, slots=True)
class TypeValue:
    name: str


class Optional:
    """Nothing, or one value."""

    __slots__ = ("present", "value")

    def __init__(self, value: Any = None, *, present: bool = True) -> None:
        self.value = value
        self.present = present


NONE = Optional(present=False)


class Opaque:
    """A value that only a library's functions can look into: each such class names its type."""

    __slots__ = ()
    cel_type: ClassVar[Type]


KINDS: dict[type[Any], str] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null",
    list: "list",
    tuple: "list",
    dict: "map",
    Timestamp: "timestamp",
    Duration: "duration",
    TypeValue: "type",
}
TYPES: dict[str, Type] = {
    "bool": BOOL, "int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES, "null": NULL,
    "list": list_of(DYN), "map": map_of(DYN, DYN), "timestamp": TIMESTAMP, "duration": DURATION, "type": type_of(DYN),
}  # fmt: skip
NUMBERS = ("int", "uint", "double")
TYPE_NAMES = {"null": "null_type", "timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}


def kind_of(value: Any) -> str:
    found = KINDS.get(type(value))
    if found is None:
        found = "map" if isinstance(value, Mapping) else "list" if isinstance(value, Keyed) else "opaque"
    return found


def type_of_value(value: Any) -> Type:
    kind = kind_of(value)
    if kind != "opaque":
        return TYPES[kind]
    return optional_of(DYN) if isinstance(value, Optional) else value.cel_type


def type_value(value: Any) -> TypeValue:
    kind = kind_of(value)
    if kind == "opaque":
        return TypeValue(type_of_value(value).name)
    return TypeValue(TYPE_NAMES.get(kind, kind))


def fits(value: Any, wanted: Type) -> bool:
    """Whether a value may be an argument of this type: containers are not looked into."""
    kind = wanted.kind
    if kind in ("dyn", "param"):
        return True
    found = kind_of(value)
    if kind == "opaque":
        return found == "opaque" and type_of_value(value).name == wanted.name
    return found == kind or (kind == "object" and found == "map")


WORK_COST = 4
"""Units for one step of a deep comparison, which takes about as long as four steps of a loop."""


class Work:
    """What a call looks at that its arguments' sizes do not tell: one value may stand in many places of another."""

    __slots__ = ("left",)

    def __init__(self, limit: int) -> None:
        self.left = limit

    def step(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise CostLimitExceeded

    def begin(self, cost: int) -> None:
        """What is known beforehand to cost more than may be spent is not even begun."""
        self.step(cost // WORK_COST)


def equal(one: Any, other: Any, work: Work) -> bool:
    a, b = type(one), type(other)
    if a is b and a in (str, int, bool, bytes):
        return bool(one == other)
    work.step()
    kind, against = kind_of(one), kind_of(other)
    if kind in NUMBERS and against in NUMBERS:
        return bool(one == other)
    if kind != against:
        return False
    if kind == "list" and isinstance(one, Keyed):
        return one.equals(other, work)
    if kind == "list":
        work.step(min(len(one), len(other)))
        return len(one) == len(other) and all(equal(a, b, work) for a, b in zip(one, other, strict=True))
    if kind == "map":
        work.step(min(len(one), len(other)))
        return len(one) == len(other) and all(
            has_key(other, key) and equal(value, other[key], work) for key, value in one.items()
        )
    if isinstance(one, Optional) and isinstance(other, Optional):
        return one.present == other.present and (not one.present or equal(one.value, other.value, work))
    return bool(one == other)


class Keyed(list[Any]):
    """A list whose order says nothing, as a schema's `x-kubernetes-list-type` tells: a set, or a map by some properties."""

    __slots__ = ("keys",)

    def __init__(self, items: Iterable[Any], keys: tuple[str, ...] = ()) -> None:
        """Without `keys` an item is its own key: a set."""
        super().__init__(items)
        self.keys = keys

    def by_key(self, items: Sequence[Any], work: Work) -> dict[Any, Any]:
        work.step(len(items))
        return {self.key_of(item): item for item in items}

    def key_of(self, item: Any) -> Any:
        if not self.keys:
            return identity(item)
        return tuple(identity(item.get(key)) for key in self.keys) if isinstance(item, Mapping) else identity(item)

    def equals(self, other: Sequence[Any], work: Work) -> bool:
        if len(self) != len(other):
            return False
        mine, theirs = self.by_key(self, work), self.by_key(other, work)
        return mine.keys() == theirs.keys() and all(equal(item, theirs[key], work) for key, item in mine.items())

    def plus(self, other: Sequence[Any], work: Work) -> "Keyed":
        """Those of the other that are new come after; of a map, the other's items take the places of ours."""
        return Keyed((self.by_key(self, work) | self.by_key(other, work)).values(), self.keys)


def identity(item: Any) -> Any:
    """Equal for equal scalars only; for the rest by its JSON."""
    if isinstance(item, bool) or item is None or isinstance(item, Mapping | list):
        return json.encode(item, order="sorted", enc_hook=str)
    return item


def has_key(found: Mapping[Any, Any], key: Any) -> bool:
    """As Python has it, but `true` is no number."""
    if type(key) is str:
        return key in found
    try:
        if key not in found:
            return False
    except TypeError:
        return False
    number = kind_of(key) in NUMBERS
    return any(each == key and (kind_of(each) in NUMBERS) == number for each in found)


def compare(one: Any, other: Any) -> int:
    """-1, 0 or 1. NaN is neither before nor after anything, and comes out as 2."""
    kind, against = kind_of(one), kind_of(other)
    if (kind != against and not (kind in NUMBERS and against in NUMBERS)) or kind in ("list", "map", "null", "opaque"):
        raise no_such_overload()
    if one != one or other != other:
        return 2
    return int(one > other) - int(one < other)


def size_of(value: Any) -> int:
    """What a traversal of it costs: characters, elements, entries; 1 for everything else."""
    kind = kind_of(value)
    if kind in ("string", "bytes", "list", "map"):
        length: int = len(value)
        return length
    return size_of(value.value) if isinstance(value, Optional) and value.present else 1


def checked_int(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("integer overflow")
    return int(value)


def checked_uint(value: int) -> UInt:
    if not 0 <= value <= UINT_MAX:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)
