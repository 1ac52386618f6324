"""JSON values to protobuf bytes, guided by the table of messages.

Each message gets a plan when its first value comes: a writer for every JSON name, so a value is walked by what it holds
and not by what it could hold. What a value leaves out is left out here too; Go reads that as the zero it would have sent.
"""

import base64
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from kybern.api.protobuf.decode import MAGIC, SCHEMA
from kybern.api.protobuf.table import EMBEDDED, Field, message_of, messages

Json = Mapping[str, Any]
Write = Callable[[bytearray, Any], None]
"""Appends one field, its key included."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VARINT, DOUBLE, BYTES = 0, 1, 2
UNFIT = (AttributeError, TypeError, ValueError, IndexError, struct.error)
NO_ENCODING = b"\x1a\x00\x22\x00"  # the envelope's content encoding and type, both empty

_json = msgspec.json.Encoder().encode


class Plan:
    """How a message is written: its own fields, and those that Go embeds, which lie in a message of their own."""

    __slots__ = ("embedded", "fields")

    def __init__(self, fields: Mapping[int, Field]) -> None:
        self.fields: dict[str, Write] = {}
        self.embedded: dict[str, tuple[int, str]] = {}
        for number, field in fields.items():
            if field.name == EMBEDDED:
                inner = plan_of(field.kind)
                self.embedded |= dict.fromkeys((*inner.fields, *inner.embedded), (number, field.kind))
            else:
                self.fields[field.name] = writer_of(number, field)


@cache
def plan_of(message: str) -> Plan:
    return Plan(messages().get(message, {}))


def encode(obj: Json) -> bytes:
    """An object in its envelope. KeyError where its kind has no message."""
    api_version, kind = obj["apiVersion"], obj["kind"]
    message = message_of(api_version, kind)
    if message is None:
        raise KeyError(f"{api_version} {kind}")
    return b"".join(enveloped(api_version, kind, [bytes(encode_fields(obj, message))]))


def enveloped(api_version: str, kind: str, pieces: Sequence[bytes]) -> list[bytes]:
    """The pieces of a message, between what comes before and after it in a body."""
    names = block(1, api_version.encode()) + block(2, kind.encode())
    size = sum(map(len, pieces))
    return [MAGIC + block(1, names) + key(2, BYTES) + varint(size), *pieces, NO_ENCODING]


def encode_fields(value: Json, message: str) -> bytearray:
    """What does not fit is left out: a schema in a CustomResourceDefinition is kept as it came, with whatever is in it."""
    plan, out = plan_of(message), bytearray()
    embedded: dict[tuple[int, str], dict[str, Any]] = {}
    for name, item in value.items():
        write = plan.fields.get(name)
        if item is None:
            continue
        if write is not None:
            try:
                write(out, item)
            except UNFIT:
                continue
        elif (place := plan.embedded.get(name)) is not None:
            embedded.setdefault(place, {})[name] = item
    for (number, inner), parts in embedded.items():
        out += block(number, encode_fields(parts, inner))
    return out


# --- the wire ---------------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    if 0 <= number < 128:
        return SMALL[number]
    number &= 2**64 - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


SMALL = [bytes([number]) for number in range(128)]


def key(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def block(number: int, data: bytes | bytearray) -> bytes:
    """A field of bytes: a text, or a message."""
    return key(number, BYTES) + varint(len(data)) + data


# --- writers ----------------------------------------------------------------------------------------------------------


def writer_of(number: int, field: Field) -> Write:
    one = one_of(number, field.kind)
    if field.form == "list":
        return lambda out, value: each(out, value, one)
    if field.form == "map":
        return map_of(key(number, BYTES), one_of(2, field.kind))
    return one


def each(out: bytearray, values: Iterable[Any], one: Write) -> None:
    for value in values:
        one(out, value)


def map_of(start: bytes, value_of: Write) -> Write:
    name_of = texts(key(1, BYTES))

    def write(out: bytearray, value: Json) -> None:
        for name, item in value.items():
            entry = bytearray()
            name_of(entry, name)
            value_of(entry, item)
            out += start + varint(len(entry)) + entry

    return write


def one_of(number: int, kind: str) -> Write:
    """The writer of one value: by its letter, or as a message."""
    start = key(number, BYTES)
    match kind:
        case "s":
            return texts(start)
        case "v":
            return numbers(key(number, VARINT))
        case "o":
            return truths(key(number, VARINT))
        case "f":
            return doubles(key(number, DOUBLE))
    read = LETTERS.get(kind)
    return blocks(start, read if read else lambda value: encode_fields(value, kind))


def texts(start: bytes) -> Write:
    def write(out: bytearray, value: str) -> None:
        data = value.encode()
        size = len(data)
        out += start + (SMALL[size] if size < 128 else varint(size)) + data

    return write


def numbers(start: bytes) -> Write:
    def write(out: bytearray, value: int) -> None:
        out += start + varint(value)

    return write


def truths(start: bytes) -> Write:
    def write(out: bytearray, value: bool) -> None:
        out += start + SMALL[value]

    return write


def doubles(start: bytes) -> Write:
    def write(out: bytearray, value: float) -> None:
        out += start + struct.pack("<d", value)

    return write


def blocks(start: bytes, content: Callable[[Any], bytes | bytearray]) -> Write:
    def write(out: bytearray, value: Any) -> None:
        data = content(value)
        size = len(data)
        out += start + (SMALL[size] if size < 128 else varint(size)) + data

    return write


# --- the letters of the table -----------------------------------------------------------------------------------------


def _moment(text: str) -> bytes:
    since = datetime.fromisoformat(text) - EPOCH
    seconds = since.days * 86400 + since.seconds
    return key(1, VARINT) + varint(seconds) + key(2, VARINT) + varint(since.microseconds * 1000)


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return key(1, VARINT) + varint(1) + block(3, value.encode())
    return key(1, VARINT) + varint(0) + key(2, VARINT) + varint(value)


def _schemas(value: Any) -> bytes:
    """JSONSchemaPropsOrArray."""
    if isinstance(value, Mapping):
        return block(1, encode_fields(value, SCHEMA))
    return b"".join(block(2, encode_fields(one, SCHEMA)) for one in value)


def _schema_or_bool(value: Any) -> bytes:
    if isinstance(value, Mapping):
        return key(1, VARINT) + varint(1) + block(2, encode_fields(value, SCHEMA))
    return key(1, VARINT) + varint(bool(value))


def _schema_or_texts(value: Any) -> bytes:
    if isinstance(value, Mapping):
        return block(1, encode_fields(value, SCHEMA))
    return b"".join(block(2, one.encode()) for one in value)


LETTERS: Mapping[str, Callable[[Any], bytes | bytearray]] = {
    "b": base64.b64decode,
    "t": _moment,
    "u": _moment,
    "q": lambda value: block(1, str(value).encode()),
    "i": _int_or_string,
    "e": lambda value: b"".join(block(1, one.encode()) for one in value),
    "r": lambda value: block(1, _json(value)),
    "a": _schemas,
    "c": _schema_or_bool,
    "d": _schema_or_texts,
}
