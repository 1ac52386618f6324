"""Protobuf bytes to JSON values, guided by the table of messages.

A body is `k8s\\0` and an envelope that names the kind. Go sends the zero of everything that is no pointer, so such
zeros mean absent here, as they do in its JSON. Unknown field numbers are passed over.
"""

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from kybern.api import times
from kybern.api.protobuf.table import EMBEDDED, Field, message_of, messages
from kybern.api.strict import Malformed, parse

MAGIC = b"k8s\x00"

VARINT_BITS_MAX = 70
DEPTH_MAX = 100  # of messages, each of which is up to two levels of JSON and five calls here
ZEROS: tuple[Any, ...] = ("", 0, {})  # and false and 0.0, which equal 0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Json = dict[str, Any]
Wire = tuple[int, Any]
"""A field number, and an int for a varint, else bytes."""


def decode(body: bytes) -> Json:
    """The object in a body. Malformed where it is none."""
    return _decode(body, 0)


def _decode(body: bytes, depth: int) -> Json:
    if not body.startswith(MAGIC):
        raise Malformed("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    envelope = dict(wire(body[len(MAGIC) :]))
    names = dict(wire(_bytes(envelope.get(1, b""))))
    api_version, kind = _text(names.get(1, b"")), _text(names.get(2, b""))
    message = message_of(api_version, kind)
    if message is None:
        raise Malformed(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"kind": kind, "apiVersion": api_version, **_message(_bytes(envelope.get(2, b"")), message, depth)}


def wire(data: bytes) -> Iterator[Wire]:
    """The fields of a message, as they stand."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        value: Any
        match key & 7:
            case 0:
                value, at = _varint(data, at)
            case 1:
                value, at = data[at : at + 8], at + 8
            case 2:
                size, at = _varint(data, at)
                value, at = data[at : at + size], at + size
            case 5:
                value, at = data[at : at + 4], at + 4
            case other:
                raise Malformed(f"proto: illegal wireType {other}")
        if at > end:
            raise Malformed("unexpected EOF")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        if at >= len(data):
            raise Malformed("unexpected EOF")
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
        if shift >= VARINT_BITS_MAX:
            raise Malformed("proto: integer overflow")


def _message(data: bytes, message: str, depth: int) -> Json:
    if depth > DEPTH_MAX:
        raise Malformed("exceeded max depth")
    fields = messages().get(message, {})
    found: Json = {}
    for number, value in wire(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.name == EMBEDDED:
            found |= _message(_bytes(value), field.kind, depth + 1)
        elif field.form == "list":
            items = found.setdefault(field.name, [])
            items += _items(value, field, depth)
        elif field.form == "map":
            key, item = _entry(_bytes(value), field, depth)
            found.setdefault(field.name, {})[key] = item
        else:
            read = _value(value, field.kind, depth)
            if read is not None and (field.pointer or read not in ZEROS):
                found[field.name] = read
    return found


def _items(value: Any, field: Field, depth: int) -> Iterator[Any]:
    """One item, or several numbers packed in one field."""
    if field.kind == "v" and isinstance(value, bytes):
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield _signed(number)
    else:
        yield _value(value, field.kind, depth)


def _entry(data: bytes, field: Field, depth: int) -> tuple[str, Any]:
    parts = dict(wire(data))
    empty: Any = 0 if field.kind in ("v", "o") else b""
    return _text(parts.get(1, b"")), _value(parts.get(2, empty), field.kind, depth)


def _value(value: Any, kind: str, depth: int) -> Any:
    read = LETTERS.get(kind)
    return read(value, depth) if read else _message(_bytes(value), kind, depth + 1)


# --- the letters of the table -----------------------------------------------------------------------------------------


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise Malformed("proto: wrong wireType")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise Malformed("proto: wrong wireType")
    return _signed(value)


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _text(value: Any) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise Malformed("proto: invalid UTF-8") from None


def _double(value: Any) -> float:
    data = _bytes(value)
    if len(data) != 8:
        raise Malformed("proto: wrong wireType")
    found: float = struct.unpack("<d", data)[0]
    return found


def _moment(value: Any, micro: bool) -> str | None:
    """Seconds and nanoseconds since 1970; an empty message is no time."""
    parts = dict(wire(_bytes(value)))
    if not parts:
        return None
    try:
        moment = EPOCH + timedelta(seconds=_number(parts.get(1, 0)), microseconds=_number(parts.get(2, 0)) // 1000)
        return times.written(moment, micro)
    except (OverflowError, ValueError):
        raise Malformed("proto: time out of range") from None


def _int_or_string(value: Any) -> int | str:
    parts = dict(wire(_bytes(value)))
    return _text(parts.get(3, b"")) if parts.get(1, 0) == 1 else _number(parts.get(2, 0))


def _raw(value: Any, depth: int) -> Any:
    """Something of any kind: JSON, or such a body again."""
    data = _bytes(dict(wire(_bytes(value))).get(1, b""))
    if data.startswith(MAGIC):
        if depth > DEPTH_MAX:
            raise Malformed("exceeded max depth")
        return _decode(data, depth + 1)
    return parse(data) if data else None


def _schemas(value: Any, depth: int) -> Any:
    """JSONSchemaPropsOrArray."""
    parts = list(wire(_bytes(value)))
    one = [_message(_bytes(data), SCHEMA, depth + 1) for number, data in parts if number == 1]
    return one[0] if one else [_message(_bytes(data), SCHEMA, depth + 1) for number, data in parts if number == 2]


def _schema_or_bool(value: Any, depth: int) -> Any:
    parts = dict(wire(_bytes(value)))
    return _message(_bytes(parts[2]), SCHEMA, depth + 1) if 2 in parts else bool(parts.get(1, 0))


def _schema_or_texts(value: Any, depth: int) -> Any:
    parts = list(wire(_bytes(value)))
    one = [_message(_bytes(data), SCHEMA, depth + 1) for number, data in parts if number == 1]
    return one[0] if one else [_text(data) for number, data in parts if number == 2]


SCHEMA = "apiextensions_v1.JSONSchemaProps"

LETTERS: dict[str, Callable[[Any, int], Any]] = {
    "s": lambda value, depth: _text(value),
    "b": lambda value, depth: base64.b64encode(_bytes(value)).decode(),
    "v": lambda value, depth: _number(value),
    "o": lambda value, depth: bool(_number(value)),
    "f": lambda value, depth: _double(value),
    "t": lambda value, depth: _moment(value, micro=False),
    "u": lambda value, depth: _moment(value, micro=True),
    "q": lambda value, depth: _text(dict(wire(_bytes(value))).get(1, b"")),
    "i": lambda value, depth: _int_or_string(value),
    "e": lambda value, depth: [_text(data) for number, data in wire(_bytes(value)) if number == 1],
    "r": _raw,
    "a": _schemas,
    "c": _schema_or_bool,
    "d": _schema_or_texts,
}
