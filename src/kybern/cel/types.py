"""The types of expressions: values that are compared by kind, name and parameters.

- `dyn` fits everything; what it stands for is found out when the expression runs.
- A type parameter (`A`) stands for one type within one signature.
- An object has fields, looked up only when somebody asks. Its name makes it equal to another.
- `size_max` bounds how many characters, elements or entries a value of it can have: what a static cost is reckoned from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

UNBOUNDED = 2**64 - 1
SIZED = ("string", "bytes", "list", "map")
"""Kinds whose values have a size that a type can bound."""
DYNAMIC = ("dyn", "param", "error")
"""Kinds of which only evaluation tells more."""


@dataclass(frozen=True, slots=True)
class Type:
    kind: str
    name: str = ""
    params: "tuple[Type, ...]" = ()
    size_max: int = field(default=UNBOUNDED, compare=False)

    def __str__(self) -> str:
        match self.kind:
            case "list" | "map" | "opaque" if self.params:
                return f"{self.name or self.kind}({', '.join(map(str, self.params))})"
            case "type":
                return f"type({self.params[0]})" if self.params else "type"
            case "error":
                return "!error!"
            case "timestamp" | "duration":
                return f"google.protobuf.{self.kind.capitalize()}"
        return self.name or self.kind

    def bounded(self, size_max: int) -> "Type":
        return replace(self, size_max=size_max)


@dataclass(frozen=True, slots=True)
class Field:
    type: Type
    key: str
    """Its name in the object, where the expression must call it otherwise."""


@dataclass(frozen=True, slots=True)
class ObjectType(Type):
    make_fields: Callable[[], Mapping[str, Field]] = field(default=dict, compare=False)
    found: "list[Mapping[str, Field]]" = field(default_factory=list, compare=False, repr=False)

    def fields(self) -> Mapping[str, Field]:
        if not self.found:
            self.found.append(self.make_fields())
        return self.found[0]

    def __str__(self) -> str:
        return self.name


DYN, ERROR, NULL = Type("dyn"), Type("error"), Type("null", "null")
BOOL, INT, UINT, DOUBLE = Type("bool"), Type("int"), Type("uint"), Type("double")
STRING, BYTES = Type("string"), Type("bytes")
TIMESTAMP, DURATION = Type("timestamp"), Type("duration")
A, B = Type("param", "A"), Type("param", "B")


def list_of(item: Type, size_max: int = UNBOUNDED) -> Type:
    return Type("list", "", (item,), size_max)


def map_of(key: Type, value: Type, size_max: int = UNBOUNDED) -> Type:
    return Type("map", "", (key, value), size_max)


def type_of(inner: Type) -> Type:
    return Type("type", "", (inner,))


def optional_of(inner: Type) -> Type:
    return Type("opaque", "optional_type", (inner,))


def opaque(name: str) -> Type:
    return Type("opaque", name)


def object_of(name: str, fields: Callable[[], Mapping[str, Field]], size_max: int = UNBOUNDED) -> ObjectType:
    return ObjectType("object", name, (), size_max, fields)


def is_optional(type_: Type) -> bool:
    return type_.name == "optional_type"


def is_open(type_: Type) -> bool:
    """Whether there is a type parameter in it."""
    return type_.kind == "param" or any(map(is_open, type_.params))


def joined(types: list[Any]) -> str:
    return ", ".join(map(str, types))
