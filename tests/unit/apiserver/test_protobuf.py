"""Protobuf on the way in and out: what typed Go clients send and prefer to get."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import pytest
from turns_taken import turns_during

from kybern.api.errors import NotAcceptable
from kybern.api.kind import Kind
from kybern.api.protobuf import decode, encode
from kybern.api.protobuf.encode import block, enveloped
from kybern.apiserver import binary
from kybern.apiserver.formats import PROTOBUF, format_for
from kybern.web.http import Request

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GO = "application/vnd.kubernetes.protobuf,application/json"  # what client-go's typed clients accept
METADATA = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
WIDGET = Kind(
    list_type=None,
    type=dict,
    group="example.com",
    version="v1",
    kind="Widget",
    plural="widgets",
    namespaced=True,
    verbs=(),
)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def send(api: Any, method: str, url: str, obj: Any = None, accept: str = GO) -> tuple[Any, dict[str, Any]]:
    body = encode(obj) if isinstance(obj, dict) else obj
    answer = await api.send(method, url, body, accept=accept, content_type=PROTOBUF)
    assert answer.headers["Content-Type"] == PROTOBUF
    return answer, decode(answer.raw)


async def test_an_object_is_made_read_replaced_and_deleted(api: Any) -> None:
    answer, made = await send(api, "POST", CONFIG_MAPS, config_map("a", k="v"))
    assert (answer.status, made["kind"], made["data"]) == (201, "ConfigMap", {"k": "v"})
    answer, read = await send(api, "GET", f"{CONFIG_MAPS}/a")
    assert read == made == (await api.get(f"{CONFIG_MAPS}/a")).body
    answer, new = await send(api, "PUT", f"{CONFIG_MAPS}/a", {**read, "data": {"k": "w"}})
    assert (answer.status, new["data"]) == (200, {"k": "w"})
    patched = await api.patch(f"{CONFIG_MAPS}/a", {"data": {"l": "x"}}, accept=GO)
    assert decode(patched.raw)["data"] == {"k": "w", "l": "x"}
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}}
    answer, status = await send(api, "DELETE", f"{CONFIG_MAPS}/a", options)
    assert (answer.status, status["reason"]) == (409, "Conflict")
    answer, status = await send(api, "DELETE", f"{CONFIG_MAPS}/a", {"apiVersion": "v1", "kind": "DeleteOptions"})
    assert (answer.status, status["kind"], status["status"]) == (200, "Status", "Success")


async def test_an_error_is_a_status(api: Any) -> None:
    answer, status = await send(api, "GET", f"{CONFIG_MAPS}/none")
    assert (answer.status, status["code"], status["reason"]) == (404, 404, "NotFound")
    assert status["details"] == {"name": "none", "kind": "configmaps"}


def listed(body: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A list's metadata and items: by the numbers that every list has, for only items have a message here."""
    found = decode(body)
    return found["metadata"], found["items"]


async def test_a_list_comes_in_pages(api: Any) -> None:
    for name in "abcde":
        await api.post(CONFIG_MAPS, config_map(name, k="v"))
    first = await api.get(f"{CONFIG_MAPS}?limit=3", accept=GO)
    meta, items = listed(first.raw)
    assert decode(first.raw)["kind"] == "ConfigMapList"
    assert ([item["metadata"]["name"] for item in items], meta["remainingItemCount"]) == (["a", "b", "c"], 2)
    meta, items = listed((await api.get(f"{CONFIG_MAPS}?limit=3&continue={meta['continue']}", accept=GO)).raw)
    assert [item["metadata"]["name"] for item in items] == ["d", "e"]
    assert "continue" not in meta
    same = (await api.get(CONFIG_MAPS)).body["items"]
    names = {"kind": "ConfigMap", "apiVersion": "v1"}  # which an item has in JSON only
    assert [names | item for item in listed((await api.get(CONFIG_MAPS, accept=GO)).raw)[1]] == same


async def test_a_long_list_lets_others_run(api: Any) -> None:
    for number in range(3 * binary.ITEMS_AT_ONCE):
        await api.post(CONFIG_MAPS, config_map(f"a{number}"))
    turns, _ = await turns_during(api.get(CONFIG_MAPS, accept=GO))
    assert turns >= 3


async def test_a_deleted_collection_is_a_list(api: Any) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    answer = await api.delete(CONFIG_MAPS, accept=GO)
    assert [item["metadata"]["name"] for item in listed(answer.raw)[1]] == ["a"]


async def test_metadata_alone(api: Any) -> None:
    await api.post(CONFIG_MAPS, config_map("a", k="v"))
    one = decode((await api.get(f"{CONFIG_MAPS}/a", accept=METADATA)).raw)
    assert (one["kind"], one["apiVersion"], "data" in one) == ("PartialObjectMetadata", "meta.k8s.io/v1", False)
    many = decode((await api.get(CONFIG_MAPS, accept=METADATA.replace("Metadata;", "MetadataList;"))).raw)
    assert (many["kind"], many["items"][0]["metadata"]) == ("PartialObjectMetadataList", one["metadata"])


async def test_tables_are_json(api: Any) -> None:
    table = "as=Table;g=meta.k8s.io;v=v1"
    answer = await api.get(CONFIG_MAPS, accept=f"{PROTOBUF};{table},application/json;{table}")
    assert (answer.headers["Content-Type"], answer.body["kind"]) == ("application/json", "Table")
    assert (await api.get(CONFIG_MAPS, accept=f"{PROTOBUF};{table}")).status == 406


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (GO, PROTOBUF),
        ("application/json,application/vnd.kubernetes.protobuf", "application/json"),
        ("application/json;q=0.5,application/vnd.kubernetes.protobuf", PROTOBUF),
        ("application/vnd.kubernetes.protobuf;q=0.5,application/json", "application/json"),
        ("*/*,application/vnd.kubernetes.protobuf", PROTOBUF),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
    ],
)
async def test_weight_comes_first_then_order(api: Any, accept: str, media: str) -> None:
    assert (await api.get(CONFIG_MAPS, accept=accept)).headers["Content-Type"] == media


def test_custom_resources_have_no_protobuf_but_their_metadata_has() -> None:
    assert format_for(WIDGET, GO).media == "application/json"
    assert format_for(WIDGET, f"{METADATA},application/json").media == PROTOBUF
    with pytest.raises(NotAcceptable, match=r"accepted: application/json, application/yaml$"):
        format_for(WIDGET, PROTOBUF)


async def test_what_is_not_acceptable_is_told_in_json(api: Any) -> None:
    answer = await api.get(CONFIG_MAPS, accept=f"{PROTOBUF};as=Nothing")
    assert (answer.status, answer.body["reason"]) == (406, "NotAcceptable")
    assert answer.message.endswith("application/json, application/yaml, application/vnd.kubernetes.protobuf")


async def test_a_patch_is_never_protobuf(api: Any) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    answer = await api.patch(f"{CONFIG_MAPS}/a", encode(config_map("a")), how=PROTOBUF)
    assert answer.status == 415


# --- watches ----------------------------------------------------------------------------------------------------------


def framed(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Length, event {1: type, 2: {1: object}}, again and again."""
    events = []
    while data:
        (size,) = struct.unpack(">I", data[:4])
        event, data = data[4 : 4 + size], data[4 + size :]
        type_size = event[1]
        type_, rest = event[2 : 2 + type_size].decode(), event[2 + type_size :]
        assert event[0] == 0x0A and rest[0] == 0x12
        events.append((type_, decode(rest[rest.index(b"k8s\0") :])))
    return events


class Frames:
    def __init__(self, response: Any) -> None:
        assert (response.status, response.headers["Content-Type"]) == (200, f"{PROTOBUF};stream=watch")
        self.body = response.body

    async def next(self) -> bytes:
        found: bytes = await asyncio.wait_for(anext(self.body), 5)
        return found


async def watch(api: Any, query: str, accept: str = f"{PROTOBUF};stream=watch") -> Frames:
    return Frames(await api.server(Request("GET", CONFIG_MAPS, f"watch=true&{query}", {"accept": accept})))


async def test_changes_come_in_frames(api: Any) -> None:
    await api.post(CONFIG_MAPS, config_map("z"))
    stream = await watch(api, "")
    assert [(type_, obj["metadata"]["name"]) for type_, obj in framed(await stream.next())] == [("ADDED", "z")]
    waiting = asyncio.ensure_future(stream.next())
    await asyncio.sleep(0)
    await api.post(CONFIG_MAPS, config_map("a", k="v"))
    await api.delete(f"{CONFIG_MAPS}/a")
    data = await waiting
    while len(framed(data)) < 2:
        data += await stream.next()
    (added, made), (deleted, _) = framed(data)
    assert (added, made["data"], deleted) == ("ADDED", {"k": "v"}, "DELETED")
    await stream.body.aclose()


async def test_the_first_events_end_with_a_bookmark(api: Any) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    for accept, kind in ((f"{PROTOBUF};stream=watch", "ConfigMap"), (METADATA, "PartialObjectMetadata")):
        stream = await watch(api, query, accept)
        [(_, first)] = framed(await stream.next())
        [(type_, mark)] = framed(await stream.next())
        assert (first["kind"], type_, mark["kind"]) == (kind, "BOOKMARK", kind)
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await stream.body.aclose()


async def test_a_forgotten_version_is_a_status_in_a_frame(api: Any) -> None:
    for name in "abc":
        await api.post(CONFIG_MAPS, config_map(name))
    await api.store.compact(2)
    for storage in api.server.machine.storages.values():
        storage.cache.forget(2)
    stream = await watch(api, "resourceVersion=1")
    [(type_, status)] = framed(await stream.next())
    assert (type_, status["kind"], status["code"]) == ("ERROR", "Status", 410)


async def test_an_event_is_encoded_once_for_all(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[bytes] = []
    real = binary.as_protobuf
    monkeypatch.setattr(binary, "as_protobuf", lambda body: encoded.append(body) or real(body))
    accepts = [f"{PROTOBUF};stream=watch"] * 5
    queries = ["resourceVersion=1"] * 3 + ["resourceVersion=1&labelSelector=!x"] * 2
    await api.post(CONFIG_MAPS, config_map("z"))
    streams = [await watch(api, query, accept) for query, accept in zip(queries, accepts, strict=True)]
    waiting = [asyncio.ensure_future(stream.next()) for stream in streams]
    await asyncio.sleep(0)
    await api.post(CONFIG_MAPS, config_map("a"))
    frames = await asyncio.gather(*waiting)
    assert len(set(frames)) == 1 and len(encoded) == 1
    for stream in streams:
        await stream.body.aclose()


# --- what no client of good will sends --------------------------------------------------------------------------------

NAMED = block(1, block(1, b"v1") + block(2, b"ConfigMap"))


def crd(schema: bytes) -> bytes:
    """A CustomResourceDefinition around a schema: spec 2, versions 7, schema 4, openAPIV3Schema 1."""
    spec = block(2, block(7, block(4, block(1, schema))))
    return b"".join(enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", [spec]))


@pytest.mark.parametrize(
    "body",
    [
        b"k8s", b"k8s\x01", b"{}", b"k8s\x00", b"k8s\x00\x0a", b"k8s\x00\x12\xff\xff\xff\xff\x07", b"k8s\x00" + NAMED + b"\x12\x80\x80\x80\x80\x08",
        b"k8s\x00" + NAMED + block(2, b"\x0a\xff\xff\xff\xff\x07x"), b"k8s\x00" + NAMED + block(2, b"\x0a" + b"\xff" * 11),
        b"k8s\x00" + NAMED + block(2, b"\x0f"), b"k8s\x00" + NAMED + block(2, b"\x09\x01"), b"k8s\x00" + NAMED + block(2, b"\x08\x01"),
        b"".join(enveloped("v1", "Nothing", [b""])), b"".join(enveloped("v1", "Pod", [b""])), b"\x00" * 100_000,
    ],
)  # fmt: skip
async def test_a_hostile_body_is_a_bad_request(api: Any, body: bytes) -> None:
    answer, status = await send(api, "POST", CONFIG_MAPS, body)
    assert (answer.status, status["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("number", "around"),
    [
        (28, lambda schema: schema),
        (24, lambda schema: block(1, schema)),
        (25, lambda schema: schema),
        (29, lambda schema: block(1, b"k") + block(2, schema)),
        (32, lambda schema: block(1, b"k") + block(2, block(1, schema))),
    ],
    ids=["not", "items", "allOf", "properties", "dependencies"],
)
@pytest.mark.parametrize("depth", [90, 101, 199, 5000])
async def test_depth_is_bounded(api: Any, number: int, around: Callable[[bytes], bytes], depth: int) -> None:
    schema = b""
    for _ in range(depth):
        schema = block(number, around(schema))
    answer = await api.post(CRDS, crd(schema), content_type=PROTOBUF)
    assert answer.status == (400 if depth > 100 else 422)


async def test_unknown_fields_are_passed_over(api: Any) -> None:
    body = encode(config_map("a")) + block(77, b"x")
    answer, made = await send(api, "POST", f"{CONFIG_MAPS}?fieldValidation=Strict", body)
    assert (answer.status, made["metadata"]["name"]) == (201, "a")
