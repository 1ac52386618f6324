"""Request bodies, checked: what upstream's decoder would refuse or warn of, in its words.

- `decode` gives the object and what a strict reader minds: unknown and repeated fields. Whether that is an error, a
  warning or nothing is the caller's choice (`fieldValidation`).
- `Malformed` is raised for what nobody accepts: no JSON, too deep, a text where a number belongs.
- Nothing wrong is the common case and has to be fast: one walk of the decoded body beside its schema, and the bytes
  compared with their own re-encoding, which shows that no key came twice.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from kybern.api import codec, schema, times
from kybern.api.custom import is_custom
from kybern.api.errors import BadRequest
from kybern.api.go_messages import syntax_error, unmarshal_error
from kybern.api.normal import is_left_out, normal
from kybern.api.schema import Node

T = TypeVar("T")

DEPTH_MAX = 200  # upstream allows 10,000; no kind comes near, and every walk of ours is recursive
BODY_SHOWN_MAX = 30
SPACES = b" \t\r\n"
DIGITS = bytes(ord("0") if chr(byte).isdecimal() else ord(" ") for byte in range(256))
MANY_DIGITS = b"0" * 309
"""As a whole number has that no float holds; such a one can be written, and whoever then counts with it fails."""

_encode = msgspec.json.Encoder().encode


class Malformed(ValueError):
    """The body is not the JSON or YAML of such an object at all."""


def decode(wanted: type[T], body: bytes, check: bool = True) -> tuple[T, list[str]]:
    """The object, and what a strict reader minds about its JSON (nothing unless `check`)."""
    value = parse(body)
    problems = [*repeated_fields(value, body)] if check else []
    return from_value(wanted, value, check, problems, body)


def decode_value(wanted: type[T], value: Any, check: bool = True, repeated: Iterable[str] = ()) -> tuple[T, list[str]]:
    """The same for a body that was decoded before: from YAML, or a patch's result."""
    return from_value(wanted, value, check, list(repeated), None)


def from_value(
    wanted: type[T], value: Any, check: bool, problems: list[str], body: bytes | None
) -> tuple[T, list[str]]:
    node = schema.of(wanted)
    try:
        if not is_plain(node, value):
            problems = problems + [f'unknown field "{path}"' for path in unknown_fields(node, value)] if check else []
            value, body = normal(node, pruned(node, value)), None
        if body is None or is_custom(wanted):  # a custom object consists of the decoded value itself
            obj = codec.from_builtins(wanted, value)
        else:
            obj = codec.decode(wanted, body)
    except msgspec.ValidationError as error:
        raise Malformed(unmarshal_error(wanted, value, str(error))) from None
    except ValueError as error:
        raise Malformed(str(error)) from None
    return obj, problems


def parse(body: bytes) -> Any:
    """JSON to dicts, lists and scalars. Malformed where it is none or too deep."""
    try:
        value = codec.untyped(body)
    except RecursionError:
        raise Malformed("exceeded max depth") from None
    except UnicodeDecodeError:
        raise Malformed("invalid UTF-8 in JSON text") from None
    except msgspec.DecodeError as error:
        raise Malformed(syntax_error(str(error), body)) from None
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX and depth(value) > DEPTH_MAX:
        raise Malformed("exceeded max depth")
    if MANY_DIGITS in body.translate(DIGITS) and has_huge_number(value):
        raise Malformed(syntax_error("Integer value out of range", body))
    return value


def has_huge_number(value: Any) -> bool:
    here = [value]
    while here:
        if any(type(item) is int and abs(item) > sys.float_info.max for item in here):
            return True
        here = [one for item in here if isinstance(item, dict | list) for one in members(item)]
    return False


def members(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def depth(value: Any) -> int:
    """How deep objects and lists are nested."""
    level, here = 0, [value]
    while here := [item for item in here if isinstance(item, dict | list)]:
        level += 1
        here = [inner for item in here for inner in members(item)]
    return level


# --- unknown fields and times -----------------------------------------------------------------------------------------


def is_plain(node: Node, value: Any) -> bool:
    """Whether every field is known, and every time, empty list and null written as this server writes it."""
    if node.form == "struct":
        if not isinstance(value, dict):
            return True
        fields = node.fields
        for key, item in value.items():
            child = fields.get(key)
            if child is None:
                if node.open:
                    continue
                return False
            kind = type(item)
            if kind is dict or kind is list:
                if not item and is_left_out(node, key, child):
                    return False
                if child.passes is not None and child.passes(item):
                    continue
                if not is_plain(child, item):
                    return False
            elif child.time and kind is str and not times.is_normal(item, child.time == "micro"):
                return False
        return True
    items = node.items
    if items is None or items.form == "any":
        return True
    if type(value) is dict and None in value.values() and not node.keeps_null:
        return False
    if items.form == "scalar":
        return True
    if type(value) is dict and node.form == "map":
        return all(is_plain(items, item) for item in value.values())
    return type(value) is not list or all(is_plain(items, item) for item in value)


def unknown_fields(node: Node, value: Any, at: str = "") -> Iterator[str]:
    """The paths of fields that the schema does not have, `spec.containers[0].foo` say."""
    if isinstance(value, dict) and node.form in ("struct", "map"):
        for key, item in value.items():
            path = f"{at}.{key}" if at else key
            if node.form == "struct" and key not in node.fields:
                if not node.open:
                    yield path
            else:
                yield from unknown_fields(node.child(key), item, path)
    elif isinstance(value, list) and node.form == "list":
        for index, item in enumerate(value):
            yield from unknown_fields(node.item, item, f"{at}[{index}]")


def pruned(node: Node, value: Any) -> Any:
    """The value without the fields that the schema does not have; the value itself where there are none."""
    if isinstance(value, dict) and node.form in ("struct", "map"):
        known = node.fields if node.form == "struct" and not node.open else None
        found = {key: pruned(node.child(key), item) for key, item in value.items() if known is None or key in known}
        return found if len(found) < len(value) or any(found[key] is not value[key] for key in found) else value
    if isinstance(value, list) and node.form == "list":
        items = [pruned(node.item, item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


# --- repeated fields --------------------------------------------------------------------------------------------------


class _Repeating(dict[str, Any]):
    """A JSON object in which some keys came twice."""

    repeated: tuple[str, ...] = ()


def repeated_fields(value: Any, body: bytes) -> Iterator[str]:
    """`duplicate field "metadata.name"` for every key that comes twice in one object of the body.

    A body that says each key once is its own re-encoding but for spaces, and a key that is repeated is never a space.
    """
    again = _encode(value)
    if again == body.strip() or again.translate(None, SPACES) == body.translate(None, SPACES):
        return
    for path in _repeated(json.loads(body, object_pairs_hook=_object), ""):
        yield f'duplicate field "{path}"'


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    twice = dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    repeating = _Repeating(found)
    repeating.repeated = tuple(twice)
    return repeating


def _repeated(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value, _Repeating):
            yield from (f"{at}.{key}" if at else key for key in value.repeated)
        for key, item in value.items():
            if isinstance(item, dict | list):
                yield from _repeated(item, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _repeated(item, f"{at}[{index}]")


# --- answers ----------------------------------------------------------------------------------------------------------


def cannot_be_handled(kind: str, version: str, why: object, wanted: str = "") -> BadRequest:
    """The refusal of a body that says which kind it is; `version` without the group."""
    return BadRequest(f'{kind} in version "{version}" cannot be handled as a {wanted or kind}: {why}')


def unrecognized(wanted: str, why: object, body: bytes) -> BadRequest:
    """The refusal of a body that does not say which kind it is."""
    shown = "<empty>"
    if body.startswith(b"{"):
        cut = body[:BODY_SHOWN_MAX].decode(errors="replace")
        shown = cut if len(body) <= BODY_SHOWN_MAX else f"{cut} ..."
    elif body:
        shown = body[:BODY_SHOWN_MAX].hex() + (" ..." if len(body) > BODY_SHOWN_MAX else "")
    return BadRequest(f"the object provided is unrecognized (must be of type {wanted}): {why} ({shown})")


def strict_error(problems: Iterable[str]) -> str:
    return f"strict decoding error: {', '.join(problems)}"
