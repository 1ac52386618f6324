"""Objects written as protobuf: read back whole by `decode`, and found right by a reader that knows only the wire."""

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from any_object import anything

from kybern.api import codec, strict
from kybern.api.kind import Kind
from kybern.api.kinds import KINDS
from kybern.api.protobuf import decode, encode
from kybern.api.protobuf.table import EMBEDDED, Field, message_of, messages

OBJECTS_COUNT = 30
# What kubectl 1.32 sent for `create deployment d2 --image=x --replicas=0 --port=80`.
DEPLOYMENT = bytes.fromhex(
    "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412ab010a1d0a02643212001a0022002a003200380042005a090a0361707012"
    "026432127c0800120b0a090a03617070120264321a630a1b0a0012001a0022002a003200380042005a090a0361707012026432124412260a0178"
    "1201782a00320a0a001000185022002a0042006a007200800100880100900100a201001a00320042004a0052005800600068008201008a01009a"
    "0100c2010022020a00280038001a0c0800100018002000280038001a002200"
)


def fields_on(message: str) -> dict[str, Field]:
    """A message's fields by their JSON names, the embedded ones among them."""
    found: dict[str, Field] = {}
    for field in messages()[message].values():
        found |= fields_on(field.kind) if field.name == EMBEDDED else {field.name: field}
    return found


def told(value: Any, message: str) -> dict[str, Any]:
    """What is left of an object when every zero that Go cannot tell from nothing is left out."""
    found = {}
    for name, field in fields_on(message).items():
        item = value.get(name)
        if item is None:
            continue
        if field.kind in messages():
            if field.form == "one":
                item = told(item, field.kind)
            elif field.form == "list":
                item = [told(one, field.kind) for one in item]
            else:
                item = {key: told(one, field.kind) for key, one in item.items()}
        elif len(field.kind) > 1:
            item = {}  # of an alpha group, whose fields the table does not have
        if item or (field.form == "one" and field.pointer) or isinstance(item, float):
            found[name] = item
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.api_version}/{kind.kind}")
def test_every_kind_comes_back_as_it_went(kind: Kind) -> None:
    rng = random.Random(kind.kind)
    message = message_of(kind.api_version, kind.kind)
    assert message is not None
    for _ in range(OBJECTS_COUNT):
        obj = anything(kind.type, rng, 0, sound=True)
        plain, _ = strict.decode(kind.type, codec.encode(obj))  # without what is empty and means nothing
        value = {**json.loads(codec.encode(plain)), "kind": kind.kind, "apiVersion": kind.api_version}
        read = decode(encode(value))
        assert (read.pop("kind"), read.pop("apiVersion")) == (kind.kind, kind.api_version)
        assert told(read, message) == told(value, message)
        again, problems = strict.decode_value(kind.type, read)
        assert problems == []
        assert told(json.loads(codec.encode(again)), message) == told(value, message)


# --- a reader of its own ----------------------------------------------------------------------------------------------

Tree = list[tuple[int, Any]]


def number_at(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while data[at] & 0x80:
        found |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return found | data[at] << shift, at + 1


def walk(data: bytes) -> Tree:
    """(field number, value) of a message, as the encoding's public description has it."""
    found: Tree = []
    at = 0
    while at < len(data):
        key, at = number_at(data, at)
        if key & 7 == 0:
            value, at = number_at(data, at)
            found.append((key >> 3, value))
        elif key & 7 == 1:
            found.append((key >> 3, data[at : at + 8]))
            at += 8
        else:
            assert key & 7 == 2, key
            size, at = number_at(data, at)
            assert at + size <= len(data)
            found.append((key >> 3, data[at : at + size]))
            at += size
    return found


def deep(data: bytes) -> Any:
    """Everything in it that can be read as a message, without zeros and in one order: what two writers must agree on."""
    try:
        parts = walk(data)
    except (IndexError, AssertionError):
        return data
    if any(not 0 < number < 1000 for number, _ in parts):
        return data
    inner = [(number, deep(value) if isinstance(value, bytes) else value) for number, value in parts]
    return sorted(((number, value) for number, value in inner if value not in (0, b"", [])), key=repr)


def content(body: bytes) -> Mapping[int, Any]:
    assert body[:4] == b"k8s\x00"
    return dict(walk(body[4:]))


def test_a_deployment_is_written_as_kubectl_writes_it() -> None:
    ours = encode(decode(DEPLOYMENT))
    assert deep(ours[4:]) == deep(DEPLOYMENT[4:])
    assert ours.endswith(b"\x1a\x00\x22\x00")  # no content encoding, no content type


def test_the_envelope_names_the_kind() -> None:
    envelope = content(encode({"apiVersion": "apps/v1", "kind": "Deployment"}))
    assert walk(envelope[1]) == [(1, b"apps/v1"), (2, b"Deployment")]
    assert (envelope[2], envelope[3], envelope[4]) == (b"", b"", b"")


def test_each_form_of_value_lies_where_the_wire_has_it() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "creationTimestamp": "2026-01-01T00:00:01Z",
            "labels": {"a": "b"},
            "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "containers": [{"name": "c", "readinessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 300}}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
            "terminationGracePeriodSeconds": 0,
            "priority": -5,
            "hostNetwork": True,
        },
    }
    meta, spec = (dict(walk(part)) for _, part in walk(content(encode(pod))[2]))
    assert meta[1] == b"p"
    assert walk(meta[8]) == [(1, 1_767_225_601), (2, 0)]
    assert walk(meta[11]) == [(1, b"a"), (2, b"b")]
    assert walk(meta[17]) == [(1, b"m"), (7, b"\x0a\x0d" + b'{"f:spec":{}}')]
    assert walk(dict(walk(spec[1]))[2]) == [(2, b"\x12\x05\x0a\x031Gi")]  # volumeSource { emptyDir { sizeLimit } }
    probe = dict(walk(dict(walk(spec[2]))[11]))
    assert probe[4] == 300
    assert walk(probe[1]) == [(2, b"\x12\x07\x08\x01\x1a\x03web")]  # handler { httpGet { port } }
    assert (spec[4], spec[11], spec[25]) == (0, 1, 2**64 - 5)


def test_bytes_and_raw_values_are_not_base64() -> None:
    secret = walk(content(encode({"apiVersion": "v1", "kind": "Secret", "data": {"k": "AP8="}}))[2])
    assert secret == [(2, b"\x0a\x01k\x12\x02\x00\xff")]
    revision = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"a": 1}, "revision": 2}
    assert walk(content(encode(revision))[2]) == [(2, b"\x0a\x07" + b'{"a":1}'), (3, 2)]


def test_what_does_not_fit_its_type_is_left_out() -> None:
    schema = {"type": 5, "items": "text", "properties": {"a": 1}, "description": "x", "not": {"required": 7}}
    spec = {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}], "preserveUnknownFields": 7}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    read = decode(encode(crd))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert read["description"] == "x"
    assert "type" not in read and "properties" not in read


def test_a_kind_without_a_message_is_not_written() -> None:
    with pytest.raises(KeyError):
        encode({"apiVersion": "example.com/v1", "kind": "Widget"})


def test_the_deepest_schema_that_json_can_bring_is_written() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(strict.DEPTH_MAX):
        schema = {"not": schema}
    spec = {"versions": [{"schema": {"openAPIV3Schema": schema}}]}
    assert encode({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}).count(
        b"object"
    )
