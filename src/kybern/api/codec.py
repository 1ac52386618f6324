"""Objects to JSON and back. One decoder for everything, so stored bytes, hashes and rules agree on what was sent.

Unknown fields are dropped here; `api.strict` reports them. Quantities become canonical on the way in, and `null` means
absent, as it does upstream. An object of a custom kind keeps both: what its schema makes of them is the registry's.
"""

import math
from typing import Any, TypeVar

import msgspec

from kybern.api.custom import HEAD, CustomObject, is_custom
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.quantity import canonical
from kybern.api.shape import Quantity

T = TypeVar("T")


def number(text: str) -> float:
    """Python's own reading: msgspec's takes a hundred times as long where an exponent is large, and keeps Python's lock."""
    found = float(text)
    if math.isinf(found):
        raise ValueError("Number out of range")
    return found


untyped = msgspec.json.Decoder(float_hook=number).decode
"""JSON to dicts, lists and scalars."""


def _from_json(wanted: type[Any], value: Any) -> Any:
    if wanted is Quantity:
        return canonical(value)
    raise NotImplementedError(f"no decoding for {wanted}")


_encoder = msgspec.json.Encoder(enc_hook=str)  # Quantity is the one type that msgspec does not know


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def _decoder(wanted: type[T]) -> msgspec.json.Decoder[T]:
    found = _decoders.get(wanted)
    if found is None:
        found = _decoders[wanted] = msgspec.json.Decoder(wanted, dec_hook=_from_json, float_hook=number)
    return found


def encode(obj: Any) -> bytes:
    """Struct, dict or list to compact JSON."""
    return _encoder.encode(obj)


def decode(wanted: type[T], data: bytes) -> T:
    """JSON to a Struct. msgspec.ValidationError names the path of what is wrong; DecodeError where it is not JSON."""
    if is_custom(wanted):
        return custom(wanted, untyped(data))  # type: ignore[return-value]
    try:
        return _decoder(wanted).decode(data)
    except msgspec.ValidationError as error:
        if "got `null`" not in str(error):
            raise
    return from_builtins(wanted, untyped(data))


def from_builtins(wanted: type[T], value: Any) -> T:
    """A decoded JSON value to a Struct."""
    if is_custom(wanted):
        return custom(wanted, value)  # type: ignore[return-value]
    try:
        return msgspec.convert(value, wanted, dec_hook=_from_json)
    except msgspec.ValidationError as error:
        if "got `null`" not in str(error):
            raise
    return msgspec.convert(without_nulls(value), wanted, dec_hook=_from_json)


def custom(wanted: type[CustomObject], value: Any) -> CustomObject:
    """An object of a custom kind. ValidationError names the path where something is no such object at all."""
    if not isinstance(value, dict):
        raise msgspec.ValidationError(f"Expected `object`, got `{JSON_TYPES.get(type(value), 'null')}`")
    for name in ("kind", "apiVersion"):
        if not isinstance(value.get(name, ""), str):
            raise msgspec.ValidationError(
                f"Expected `str`, got `{JSON_TYPES.get(type(value[name]), 'null')}` - at `$.{name}`"
            )
    meta = value.get("metadata")
    if type(meta) is not ObjectMeta:
        try:
            meta = from_builtins(ObjectMeta, {} if meta is None else meta)
        except msgspec.ValidationError as error:
            what, _, place = str(error).partition(" - at `$")
            raise msgspec.ValidationError(f"{what} - at `$.metadata{place or '`'}") from None
    found = wanted(kind=value.get("kind", ""), apiVersion=value.get("apiVersion", ""), metadata=meta)
    for key, item in value.items():
        if key not in HEAD:
            found[key] = item
    return found


JSON_TYPES = {str: "str", int: "int", float: "float", bool: "bool", list: "array", dict: "object"}


def to_builtins(obj: Any) -> Any:
    """A Struct to the dicts, lists and scalars that its JSON consists of."""
    return msgspec.to_builtins(obj, enc_hook=str)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
