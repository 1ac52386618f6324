"""The type of a custom resource, from its structural OpenAPI schema, and its values as that type sees them.

    typed = typed_by(schema, root=True)
    Environment({"self": typed.type}) ...  program.evaluate({"self": typed.value(obj)}, budget)

- What has no type in the schema cannot be asked about; names that no expression could write are escaped, as upstream does.
- A bound comes from the schema (`maxLength`, `maxItems`, `maxProperties`), else from what fits into the largest request.
- JSON is used as it is, where no text in it stands for a time, a duration or bytes.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from kybern.api.schema import Node
from kybern.cel import times
from kybern.cel.errors import EvaluationError
from kybern.cel.tokens import RESERVED
from kybern.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UNBOUNDED,
    Field,
    Type,
    list_of,
    map_of,
    object_of,
)
from kybern.cel.values import Keyed

REQUEST_BYTES_MAX = 3 * 1024 * 1024
BYTES_A_CHARACTER_MAX = 4
KEYWORDS = RESERVED | {"true", "false", "null", "in"}
WRITABLE = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*")
ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
ROOT_PROPERTIES = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}},
}

SCALARS: Mapping[Any, Type] = {str: STRING, int: INT, float: DOUBLE, bool: BOOL}

Value = Callable[[Any], Any]


class Typed(NamedTuple):
    type: Type
    bytes_min: int
    """Of the shortest JSON of such a value."""
    convert: Value | None = None
    """From JSON; None where JSON will do."""

    def value(self, found: Any) -> Any:
        return self.convert(found) if self.convert is not None else found


def escaped(name: str) -> str | None:
    """A property's name as expressions write it; None where they cannot."""
    if name in KEYWORDS:
        return f"__{name}__"
    if WRITABLE.fullmatch(name) is None:
        return None
    return re.sub(r"__|[./-]", lambda match: ESCAPES[match.group()], name)


def names_of(key: str) -> tuple[str, ...]:
    """All ways to write it: a word that the language has reserved may stand after a dot."""
    written = escaped(key)
    if written is None:
        return ()
    return (written, key) if key in RESERVED else (written,)


def typed_by(schema: Mapping[str, Any], *, root: bool = False, name: str = "object") -> Typed | None:
    """None where the schema says too little for expressions to look at such a value."""
    if schema.get("x-kubernetes-int-or-string"):
        return Typed(DYN.bounded(text_max(schema)), 1)
    if root or schema.get("x-kubernetes-embedded-resource"):
        schema = {**schema, "type": "object", "properties": {**schema.get("properties", {}), **missing(schema)}}
    match schema.get("type"):
        case "array":
            return of_array(schema, name)
        case "object" if isinstance(schema.get("additionalProperties"), Mapping):
            return of_map(schema, name)
        case "object":
            return of_object(schema, name)
        case "string":
            return of_text(schema)
        case "boolean":
            return Typed(BOOL.bounded(0), 4)
        case "number":
            return Typed(DOUBLE.bounded(0), 1, as_double)
        case "integer":
            return Typed(INT.bounded(0), 1)
    return None


def missing(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What every resource has, where its schema does not tell more of it."""
    own = schema.get("properties", {})
    return {
        name: property_
        for name, property_ in ROOT_PROPERTIES.items()
        if name not in own or (name == "metadata" and not own[name].get("properties"))
    }


def as_double(found: Any) -> Any:
    return float(found) if type(found) is int else found


def of_array(schema: Mapping[str, Any], name: str) -> Typed | None:
    items = schema.get("items")
    item = typed_by(items, name=f"{name}.@idx") if isinstance(items, Mapping) else None
    if item is None:
        return None
    most = schema.get("maxItems")
    size_max = (REQUEST_BYTES_MAX - 2) // (item.bytes_min + 1) if most is None else max(most, 0)
    type_ = list_of(item.type, size_max)
    kind = schema.get("x-kubernetes-list-type")
    keyed = kind in ("set", "map")
    if item.convert is None and not keyed:
        return Typed(type_, 2)
    each: Value = item.convert or as_it_is
    keys = tuple(schema.get("x-kubernetes-list-map-keys", ())) if kind == "map" else ()

    def convert(found: Any) -> Any:
        if not isinstance(found, list):
            return found
        return Keyed(map(each, found), keys) if keyed else [each(one) for one in found]

    return Typed(type_, 2, convert)


def as_it_is(found: Any) -> Any:
    return found


KEY = STRING.bounded(0)
"""No schema bounds the keys of a map, and upstream reckons with none: a rule about labels would always be too dear."""


def of_map(schema: Mapping[str, Any], name: str) -> Typed | None:
    inner = typed_by(schema["additionalProperties"], name=f"{name}.@elem")
    if inner is None:
        return None
    most = schema.get("maxProperties")
    size_max = (REQUEST_BYTES_MAX - 2) // (inner.bytes_min + 6) if most is None else max(most, 0)
    type_ = map_of(KEY, inner.type, size_max)
    if inner.convert is None:
        return Typed(type_, 2)
    each: Value = inner.convert
    return Typed(
        type_, 2, lambda found: {key: each(one) for key, one in found.items()} if isinstance(found, dict) else found
    )


def of_object(schema: Mapping[str, Any], name: str) -> Typed:
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    required = set(schema.get("required", ()))
    fields: dict[str, Field] = {}
    converts: dict[str, Value] = {}
    nullable: list[str] = []
    bytes_min = 2
    for key, property_ in properties.items():
        found = typed_by(property_, name=f"{name}.{key}")
        if found is None:
            continue
        fields.update(dict.fromkeys(names_of(key), Field(found.type, key)))
        if property_.get("nullable"):
            nullable.append(key)
        if found.convert is not None:
            converts[key] = found.convert
        if key in required and "default" not in property_:
            bytes_min += len(key) + found.bytes_min + 4
    type_ = object_of(name, lambda: fields, 0)
    return Typed(type_, bytes_min, converting(converts, nullable) if converts or nullable else None)


def of_node(node: Node, name: str) -> Type:
    """The type of a built-in kind, whose schema comes from its Struct. Texts that are times are times."""
    match node.form:
        case "struct":
            return object_of(name, lambda: fields_of(node, name))
        case "map":
            return map_of(STRING, of_node(node.item, f"{name}.@elem"))
        case "list":
            return list_of(of_node(node.item, f"{name}.@idx"))
        case "scalar":
            return TIMESTAMP if node.time else of_scalar(node.scalar)
    return DYN


def fields_of(node: Node, name: str) -> Mapping[str, Field]:
    found: dict[str, Field] = {}
    for key, child in node.fields.items():
        field = Field(of_node(child, f"{name}.{key}"), key)
        found.update(dict.fromkeys(names_of(key), field))
    return found


def of_scalar(annotation: Any) -> Type:
    """A number or a text, where it is one of them for certain; a quantity may be written as either."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return SCALARS.get(annotation, DYN)


def converting(converts: Mapping[str, Value], nullable: list[str]) -> Value:
    """A property that is null is as good as none."""

    def convert(found: Any) -> Any:
        if not isinstance(found, dict):
            return found
        made = {**found, **{key: converts[key](found[key]) for key in converts.keys() & found.keys()}}
        for key in nullable:
            if key in made and made[key] is None:
                del made[key]
        return made

    return convert


def of_text(schema: Mapping[str, Any]) -> Typed:
    match schema.get("format"):
        case "byte":
            return Typed(BYTES.bounded(schema.get("maxLength", REQUEST_BYTES_MAX - 2)), 2, tried(as_bytes))
        case "duration":
            return Typed(DURATION.bounded(32), 2, tried(times.duration))
        case "date":
            return Typed(TIMESTAMP.bounded(12), 12, tried(lambda text: times.timestamp(f"{text}T00:00:00Z")))
        case "date-time":
            return Typed(TIMESTAMP.bounded(40), 22, tried(times.timestamp))
    return Typed(STRING.bounded(text_max(schema)), 2)


def text_max(schema: Mapping[str, Any]) -> int:
    if "maxLength" in schema:
        return int(min(max(schema["maxLength"], 0) * BYTES_A_CHARACTER_MAX, UNBOUNDED))
    if schema.get("enum") and not schema.get("x-kubernetes-int-or-string"):
        return max((len(each) for each in schema["enum"] if isinstance(each, str)), default=0)
    return REQUEST_BYTES_MAX - 2


def tried(parse: Callable[[str], Any]) -> Value:
    """What cannot be read stays the text that it is: validation tells of it, not we."""

    def convert(found: Any) -> Any:
        try:
            return parse(found) if isinstance(found, str) else found
        except EvaluationError:
            return found

    return convert


def as_bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except NotBase64:
        raise EvaluationError("invalid base64") from None
