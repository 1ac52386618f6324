"""Decoding errors in the words of Go's JSON package, which clients and their users know.

`Expected `int`, got `str` - at `$.spec.replicas`` becomes
`json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
"""

import re
from typing import Annotated, Any, get_args, get_origin

import msgspec

from kybern.api import schema
from kybern.api.schema import Node
from kybern.api.shape import Quantity

JSON_NAMES = {"str": "string", "int": "number", "float": "number", "bool": "bool", "array": "array", "object": "object",
              "null": "null"}  # fmt: skip
GO_SCALARS: dict[Any, str] = {
    str: "string",
    int: "int64",
    float: "float64",
    bool: "bool",
    Quantity: "resource.Quantity",
}

MISMATCH = re.compile(r"Expected `.*?`, got `(\w+)`")
PLACE = re.compile(r" - at `(?:key in )?\$(.*)`$", re.DOTALL)
STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
AT_BYTE = re.compile(r"\(byte (\d+)\)")
SYNTAX = (
    ("trailing characters", 1, "after top-level value"),
    ("expected ':'", 0, "after object key"),
    ("expected ',' or '}'", 0, "after object key:value pair"),
    ("expected ',' or ']'", 0, "after array element"),
    ("object keys must be strings", 0, "looking for beginning of object key string"),
    ("trailing comma in object", 0, "looking for beginning of object key string"),
    ("invalid escape character", 1, "in string escape code"),
    ("invalid number", 0, "in numeric literal"),
    ("", 0, "looking for beginning of value"),
)
"""What the parser says, how far beyond the character its position is, and Go's words for it."""


def syntax_error(text: str, body: bytes) -> str:
    """What is wrong with JSON that is none."""
    if "out of range" in text:
        return "json: cannot unmarshal number into Go value of type float64"
    found = AT_BYTE.search(text)
    if found is None:
        return "unexpected end of JSON input"
    _, ahead, where = next(phrase for phrase in SYNTAX if phrase[0] in text)
    mark = chr(body[min(int(found[1]) - ahead, len(body) - 1)])
    return f"invalid character {mark!r} {where}"


def unmarshal_error(wanted: type[Any], body: Any, text: str) -> str:
    """What is wrong with JSON of the wrong type; `body` is all of it, decoded."""
    place = PLACE.search(text)
    if not text.startswith("Expected"):  # a type's own decoder spoke
        return PLACE.sub("", text)
    mismatch = MISMATCH.match(text)
    value = _value_at(body, place[1] if place else "")
    got = JSON_NAMES.get(mismatch[1], mismatch[1]) if mismatch else "number"
    owner, path, node = _resolve(schema.of(wanted), place[1] if place else "")
    go_type = _go_type(node)
    if got == "number" and isinstance(value, int | float) and "int" in go_type:
        got = f"number {value}"
    if not path:
        return f"json: cannot unmarshal {got} into Go value of type {go_type}"
    return f"json: cannot unmarshal {got} into Go struct field {owner}.{path} of type {go_type}"


def _resolve(node: Node, place: str) -> tuple[str, str, Node]:
    """The struct that has the field, the field's path without indices, and the field's own node."""
    owner, path = "", []
    for name, index in STEP.findall(place):
        if index:
            node = node.item
            continue
        if node.struct is not None:
            owner = node.struct.__name__
        path.append(name)
        node = node.child(name)
    return owner, ".".join(path), node


def _value_at(value: Any, place: str) -> Any:
    for name, index in STEP.findall(place):
        try:
            value = value[int(index) if index else name]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _go_type(node: Node) -> str:
    if node.struct is not None:
        return f"{node.struct.__module__.rpartition('_')[2]}.{node.struct.__name__}"
    if node.form == "list":
        return f"[]{_go_type(node.item)}"
    if node.form == "map":
        return f"map[string]{_go_type(node.item)}"
    if node.form == "any":
        return "interface {}"
    return _go_scalar(node.scalar)


def _go_scalar(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        formats = [(note.extra or {}).get("format", "") for note in notes if isinstance(note, msgspec.Meta)]
        if "int32" in formats:
            return "int32"
        if "byte" in formats:
            return "[]uint8"
        return _go_scalar(inner)
    return GO_SCALARS.get(annotation, "int32")  # what remains is an IntOrString, whose decoder asks for an int32


def go_name(value: Any) -> str:
    """What Go's JSON package calls a value."""
    if isinstance(value, bool):
        return "bool"
    names: tuple[tuple[Any, str], ...] = ((str, "string"), (int | float, "number"), (list, "array"), (dict, "object"))
    return next((name for type_, name in names if isinstance(value, type_)), "null")


def go_text(value: Any) -> str:
    """A decoded JSON value as Go prints it: `map[image:x ports:[1 2]]`."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    return "<nil>" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
