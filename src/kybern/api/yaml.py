"""YAML in, to the same dicts and lists that JSON gives.

libyaml only cuts the text into events. The value is built from them here, so that nothing is ever nested deeper than a
named limit, aliases cannot multiply, keys that come twice are noticed, and plain words mean what they mean to upstream:
`yes` is true, `017` is 15, `2026-01-31` and `12:30:45` stay text.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

DEPTH_MAX = 64
ALIASES_MAX = 50
EVENTS_MAX = 200_000  # also counts what aliases repeat

TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
FALSE = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
NULL = frozenset(("", "~", "null", "Null", "NULL"))
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
WITHOUT_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
FLOAT_FROM = 2**64  # upstream reads a longer integer as a float

TAG = "tag:yaml.org,2002:"


class NotYaml(ValueError):
    """The text is no YAML, or more of it than is allowed; the message is upstream's where it has one."""


def parse(text: bytes | str) -> tuple[Any, list[str]]:
    """The first document, and the keys that come twice in it, in upstream's words."""
    for found in documents(text):
        return found
    return None, []


def documents(text: bytes | str) -> Iterator[tuple[Any, list[str]]]:
    """Every document of a stream, each with the keys that come twice in it."""
    try:
        source = text.decode() if isinstance(text, bytes) else text
        events = yaml.parse(source, Loader=yaml.CLoader)
        builder = _Builder(events)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                builder.start()
                yield builder.value(next(events), 0), builder.repeated
    except UnicodeDecodeError:
        raise NotYaml("yaml: control characters are not allowed") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise NotYaml(f"error converting YAML to JSON: yaml: line {line}: {error.problem}") from None
    except yaml.YAMLError:
        raise NotYaml("error converting YAML to JSON: yaml: control characters are not allowed") from None


class _Builder:
    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.count = 0
        self.start()

    def start(self) -> None:
        self.aliases = 0
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.repeated: list[str] = []

    def spend(self, events: int) -> None:
        self.count += events
        if self.count > EVENTS_MAX:
            raise NotYaml("yaml: document contains excessive aliasing")

    def value(self, event: Any, depth: int) -> Any:
        self.spend(1)
        if depth > DEPTH_MAX:
            raise NotYaml("yaml: exceeded max depth")
        if isinstance(event, AliasEvent):
            return self.alias(event)
        before = self.count
        if isinstance(event, ScalarEvent):
            found = scalar(event)
        elif isinstance(event, SequenceStartEvent):
            found = self.sequence(depth)
        else:
            found = self.mapping(depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (found, self.count - before)
        return found

    def alias(self, event: Any) -> Any:
        self.aliases += 1
        if self.aliases > ALIASES_MAX:
            raise NotYaml("yaml: document contains excessive aliasing")
        if event.anchor not in self.anchors:
            raise NotYaml(f"yaml: unknown anchor '{event.anchor}' referenced")
        found, size = self.anchors[event.anchor]
        self.spend(size)
        return found

    def sequence(self, depth: int) -> list[Any]:
        found = []
        for event in self.events:
            if isinstance(event, SequenceEndEvent):
                break
            found.append(self.value(event, depth + 1))
        return found

    def mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                break
            if isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]:
                self.spend(1)
                merged = {**_merged(self.value(next(self.events), depth + 1)), **merged}
                continue
            key = _key(self.value(event, depth + 1))
            if key in found:
                line = event.start_mark.line + 1
                self.repeated.append(f'yaml: unmarshal errors:\n  line {line}: key "{key}" already set in map')
            found[key] = self.value(next(self.events), depth + 1)
        return {**merged, **found} if merged else found


def _merged(value: Any) -> dict[str, Any]:
    """What `<<` adds: a map, or several of which the first wins."""
    found: dict[str, Any] = {}
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, dict):
            raise NotYaml("yaml: map merge requires map or sequence of maps as the value")
        found = {**part, **found}
    return found


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise NotYaml("error converting YAML to JSON: yaml: invalid map key")


def scalar(event: Any) -> Any:
    tag, text = event.tag, event.value
    if tag is None or tag == "!":
        return plain(text) if event.implicit[0] and tag is None else text
    match tag.removeprefix(TAG):
        case "str":
            return text
        case "int" | "float" | "bool" | "null" as kind:
            return _tagged(kind, text)
        case "binary":
            try:
                return base64.b64decode(text).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise NotYaml("yaml: !!binary value contains invalid base64 data") from None
    raise NotYaml(f"yaml: cannot decode tag {tag}")


def _tagged(kind: str, text: str) -> Any:
    value = plain(text)
    named = {bool: "bool", int: "int", float: "float", type(None): "null"}.get(type(value), "str")
    if named == kind:
        return value
    if kind == "float" and named == "int":
        return float(value)
    raise NotYaml(f"yaml: cannot decode !!{named} `{text}` as a !!{kind}")


def plain(text: str) -> Any:
    """What an unquoted word means."""
    first = text[:1]
    if first.isalpha() or not text:
        return True if text in TRUE else False if text in FALSE else None if text in NULL else text
    if text == "~":
        return None
    if not (first.isdecimal() or first in "+-."):
        return text
    number = text.replace("_", "")
    if INTEGER.fullmatch(number):
        return _integer(number)
    if FLOAT.fullmatch(number) and math.isfinite(float(number)):
        return float(number)
    if WITHOUT_NUMBER.fullmatch(text) or FLOAT.fullmatch(number):
        raise NotYaml(f"error converting YAML to JSON: json: unsupported value: {text}")
    return text


def _integer(text: str) -> int | float:
    digits = text.lstrip("+-").lower()
    base = 10
    if len(digits) > 1 and digits[0] == "0":
        base = {"x": 16, "b": 2, "o": 8}.get(digits[1], 8)
        digits = digits[2:] if digits[1] in "xbo" else digits[1:]
    if len(digits) > 64:
        found = float(digits) if base == 10 else math.inf
        if not math.isfinite(found):
            raise NotYaml(f"error converting YAML to JSON: json: unsupported value: {text[:40]}")
    else:
        whole = int(digits, base)
        found = whole if whole < FLOAT_FROM else float(whole)
    return -found if text.startswith("-") else found
