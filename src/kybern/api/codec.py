"""Objects to JSON and back. One decoder for everything, so stored bytes, hashes and rules agree on what was sent.

Unknown fields are dropped here; `api.strict` reports them. Quantities become canonical on the way in, and `null` means
absent, as it does upstream.
"""

from typing import Any, TypeVar

import msgspec

from kybern.api.quantity import canonical
from kybern.api.shape import Quantity

T = TypeVar("T")


def _from_json(wanted: type[Any], value: Any) -> Any:
    if wanted is Quantity:
        return canonical(value)
    raise NotImplementedError(f"no decoding for {wanted}")


_encoder = msgspec.json.Encoder(enc_hook=str)  # Quantity is the one type that msgspec does not know


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def _decoder(wanted: type[T]) -> msgspec.json.Decoder[T]:
    found = _decoders.get(wanted)
    if found is None:
        found = _decoders[wanted] = msgspec.json.Decoder(wanted, dec_hook=_from_json)
    return found


def encode(obj: Any) -> bytes:
    """Struct, dict or list to compact JSON."""
    return _encoder.encode(obj)


def decode(wanted: type[T], data: bytes) -> T:
    """JSON to a Struct. msgspec.ValidationError names the path of what is wrong; DecodeError where it is not JSON."""
    try:
        return _decoder(wanted).decode(data)
    except msgspec.ValidationError as error:
        if "got `null`" not in str(error):
            raise
    return from_builtins(wanted, msgspec.json.decode(data))


def from_builtins(wanted: type[T], value: Any) -> T:
    """A decoded JSON value to a Struct."""
    try:
        return msgspec.convert(value, wanted, dec_hook=_from_json)
    except msgspec.ValidationError as error:
        if "got `null`" not in str(error):
            raise
    return msgspec.convert(without_nulls(value), wanted, dec_hook=_from_json)


def to_builtins(obj: Any) -> Any:
    """A Struct to the dicts, lists and scalars that its JSON consists of."""
    return msgspec.to_builtins(obj, enc_hook=str)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
