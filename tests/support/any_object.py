"""Objects of any type, filled at random: for rules that must hold whatever an object has in it."""

import random
import typing
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from kybern.api.shape import Quantity
from kybern.registry import RESOURCES

DEPTH_MAX = 9
TEXTS = (
    "", "a", "b", "A b", "..", "/x", "../x", "10.0.0.1", "fd00::1", "10.0.0.0/8", "50%", "-5%", "%", "yesterday", "Always",
    "2026-01-01T00:00:00Z", "example.com/x", "app=web", "In", "Exists", "TCP", "None", "RollingUpdate", "Resource", "Localhost",
    "* * * * *", "@every x", "1-", "*/0 * * * *", "ü" * 70, "metadata.labels['a']", "limits.cpu", "Container", "Bound",
    "object", "array", "YQ==", "=", "ClusterIP", "ExternalName", "Limited", "Queue",
)  # fmt: skip
NUMBERS = (-(2**31), -1, 0, 1, 2, 80, 600, 65536, 2**31 - 1)
AMOUNTS = ("0", "1", "-1", "100m", "1Gi", "1500u", "9223372036854775807")
SCHEMA = {"type": "object", "properties": {"a": {"type": "array", "items": {}}}}
SOUND = {
    "date-time": ("2026-01-31T08:00:00Z", "1969-12-31T23:59:59Z"),
    "micro": ("2026-01-31T08:00:00.000001Z", "1969-12-31T23:59:59.999999Z"),
    "byte": ("", "YQ==", "AP8="),
}
OWN_KINDS = {resource.kind.type for resource in RESOURCES}


@cache
def hints(type_: type[Any]) -> dict[str, Any]:
    return get_type_hints(type_, include_extras=True)


def anything(wanted: Any, rng: random.Random, depth: int, *, sound: bool = False) -> Any:
    """Any value of a type; `sound`: what a decoder would not have let through is not among them."""
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        if sound and (form := form_of(args[1:])) in SOUND:
            return rng.choice(SOUND[form])
        return anything(args[0], rng, depth, sound=sound)
    if origin in (Union, UnionType):
        if NoneType in args and (depth > DEPTH_MAX or rng.random() < 0.3):
            return None
        return anything(rng.choice([arg for arg in args if arg is not NoneType]), rng, depth, sound=sound)
    if origin is tuple:
        count = 0 if depth > DEPTH_MAX else rng.choice((0, 1, 1, 2))
        return tuple(anything(args[0], rng, depth + 1, sound=sound) for _ in range(count))
    if origin in (Mapping, dict, typing.Mapping):
        return {rng.choice(TEXTS): anything(args[1], rng, depth + 1, sound=sound) for _ in range(rng.choice((0, 1, 2)))}
    if wanted is Quantity:
        return Quantity(rng.choice(AMOUNTS))
    if wanted is bool:
        return rng.random() < 0.5
    if wanted in (int, float):
        return rng.choice(NUMBERS)
    if wanted is str:
        return rng.choice(TEXTS)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return wanted(**{
            name: anything(type_, rng, depth + 1, sound=sound)
            for name, type_ in hints(wanted).items()
            if name not in ("kind", "api_version", "managed_fields") or wanted not in OWN_KINDS
        })  # fmt: skip
    return rng.choice(({}, SCHEMA) if sound else (None, {}, SCHEMA, "text", 1, False))


def form_of(notes: tuple[Any, ...]) -> str:
    """How a text is written, where its annotation says so."""
    extra = next((note.extra or {} for note in notes if isinstance(note, msgspec.Meta)), {})
    return "micro" if extra.get("micro") else str(extra.get("format", ""))
