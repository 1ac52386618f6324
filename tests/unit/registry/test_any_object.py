"""Whatever an object holds, a rule answers: with a value, or with what is wrong. It never falls over."""

import random
from typing import Any

import pytest
from any_object import anything

from kybern.api.codec import decode, encode
from kybern.api.errors import ApiError
from kybern.registry import RESOURCES
from kybern.registry.metadata import validate_metadata, validate_metadata_update
from kybern.registry.resource import Resource

OBJECTS_COUNT = 20


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
    assert resource.default(created) == created
    list(resource.warnings(created, None))
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
