"""Whatever an object holds, a rule answers: with a value, or with what is wrong. It never falls over."""

import random
import typing
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from kybern.api.codec import decode, encode
from kybern.api.errors import ApiError
from kybern.api.shape import Quantity
from kybern.registry import RESOURCES
from kybern.registry.metadata import validate_metadata, validate_metadata_update
from kybern.registry.resource import Resource

OBJECTS_COUNT = 20
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


@cache
def hints(type_: type[Any]) -> dict[str, Any]:
    return get_type_hints(type_, include_extras=True)


def anything(wanted: Any, rng: random.Random, depth: int) -> Any:
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return anything(args[0], rng, depth)
    if origin in (Union, UnionType):
        if NoneType in args and (depth > DEPTH_MAX or rng.random() < 0.3):
            return None
        return anything(rng.choice([arg for arg in args if arg is not NoneType]), rng, depth)
    if origin is tuple:
        count = 0 if depth > DEPTH_MAX else rng.choice((0, 1, 1, 2))
        return tuple(anything(args[0], rng, depth + 1) for _ in range(count))
    if origin in (Mapping, dict, typing.Mapping):
        return {rng.choice(TEXTS): anything(args[1], rng, depth + 1) for _ in range(rng.choice((0, 1, 2)))}
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
            name: anything(type_, rng, depth + 1)
            for name, type_ in hints(wanted).items()
            if name not in ("kind", "api_version", "managed_fields") or wanted not in OWN_KINDS
        })  # fmt: skip
    return rng.choice((None, {}, SCHEMA, "text", 1, False))


OWN_KINDS = {resource.kind.type for resource in RESOURCES}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: f"{r.kind.group}/{r.kind.version}/{r.kind.kind}")
def test_no_object_makes_a_rule_fall_over(resource: Resource) -> None:
    rng = random.Random(resource.kind.kind)
    old: Any = None
    for _ in range(OBJECTS_COUNT):
        sent = anything(resource.kind.type, rng, 0)
        obj = decode(resource.kind.type, encode(sent))
        try:
            old = tried(resource, obj, old)
        except ApiError:
            continue


def tried(resource: Resource, sent: Any, old: Any) -> Any:
    obj = resource.default(sent)
    assert resource.default(obj) == obj
    for error in (*validate_metadata(obj.metadata, True), *resource.validate(obj)):
        assert str(error)
    created = resource.on_create(obj)
    list(resource.warnings(created))
    old = created if old is None else old
    new = resource.on_update(obj, old)
    list(validate_metadata_update(new.metadata, old.metadata))
    if resource.validate_update is not None:
        assert all(str(error) for error in resource.validate_update(new, old))
    if resource.generation is not None:
        assert isinstance(resource.generation(new) == resource.generation(old), bool)
    for column in resource.columns:
        assert isinstance(column.cell(obj, 0.0), str | int | bool), column.name
    for read in resource.selectable.values():
        assert isinstance(read(obj), str)
    stored = resource.to_storage(obj)
    resource.from_storage(decode(type(stored), encode(stored)))
    for sub in resource.subresources:
        if sub.read is not None and sub.write is not None and sub.kind is None:
            try:
                written = sub.write(old, sub.read(obj))
                assert all(str(error) for error in sub.validate(written, old))
            except ApiError:
                pass
    return obj
