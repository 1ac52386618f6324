"""Every verb on every kind: what is true of all of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from valid_objects import collection, every_kind, valid_objects

from kybern.api.kind import Kind
from kybern.api.protobuf import decode, encode
from kybern.api.protobuf.encode import encode_fields
from kybern.api.protobuf.table import message_of
from kybern.apiserver.binary import PROTOBUF
from kybern.apiserver.server import ApiServer
from kybern.registry import RESOURCES
from kybern.web.http import Request

KINDS = tuple(valid_objects())
JSON = "application/json"
VERSION_NEEDED = (
    "APIService", "CSIDriver", "CSINode", "CSIStorageCapacity", "ClusterTrustBundle", "CustomResourceDefinition", "Lease",
    "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration",
    "PodCertificateRequest", "PodDisruptionBudget", "RuntimeClass", "StorageVersionMigration",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
    "VolumeAttachment",
)  # fmt: skip
KEPT = ("Namespace", "CustomResourceDefinition")  # marked only: controllers clear up before they go

of_each_group = pytest.mark.parametrize("group", sorted({kind.api_version for kind in KINDS}))


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with every_kind() as made:
        account = {"metadata": {"name": "default"}}  # which a controller would make
        await send(made, "POST", "/api/v1/namespaces/default/serviceaccounts", account)
        yield made


def kinds_of(group: str) -> list[Kind]:
    return [kind for kind in KINDS if kind.api_version == group]


async def send(server: ApiServer, method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    path, _, query = url.partition("?")
    data = b"" if body is None else json.dumps(body).encode()
    sent = {"content-type": JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    response = await server(Request(method, path, query, sent, data))
    return response.status, json.loads(await response.read())


@of_each_group
async def test_a_valid_object_goes_through_every_verb(server: ApiServer, group: str) -> None:
    for kind in kinds_of(group):
        await every_verb(server, kind)


async def every_verb(server: ApiServer, kind: Kind) -> None:
    obj, url = valid_objects()[kind], collection(kind)
    name = obj["metadata"]["name"]
    status, empty = await send(server, "GET", url)
    before = {item["metadata"]["name"] for item in empty["items"]}

    status, tried = await send(server, "POST", f"{url}?dryRun=All&fieldValidation=Strict", obj)
    assert status == 201, tried
    status, listed = await send(server, "GET", url)
    assert listed["metadata"] == empty["metadata"]  # a dry run leaves no trace

    status, made = await send(server, "POST", f"{url}?fieldValidation=Strict", obj)
    assert status == 201 and made["metadata"]["uid"], made
    assert (made["kind"], made["apiVersion"]) == (kind.kind, kind.api_version)
    assert contains(made, without_write_only(obj)), "what was sent is what is there"
    status, again = await send(server, "POST", url, obj)
    assert (status, again["reason"]) == (409, "AlreadyExists")

    status, got = await send(server, "GET", f"{url}/{name}")
    assert (status, got) == (200, made)
    status, listed = await send(server, "GET", url)
    assert [item for item in listed["items"] if item["metadata"]["name"] not in before] == [made]
    await unchanged(server, f"{url}/{name}", made)
    await every_form(server, url, name, kind)
    await every_change(server, f"{url}/{name}", made)
    status, _ = await send(server, "DELETE", f"{url}/{name}?gracePeriodSeconds=0")
    assert status in (200, 202)


def without_write_only(obj: dict[str, Any]) -> dict[str, Any]:
    """Without what a server takes and does not keep as it was: a Secret's text, the status and a pod's own time to end."""
    return {field: value for field, value in obj.items() if field not in ("stringData", "status", "metadata")}


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value)
            for key, value in part.items()
            if value not in ({}, "", 0, False)
        )
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) >= len(part) and all(map(contains, whole, part))
    return bool(whole == part)


async def unchanged(server: ApiServer, url: str, made: dict[str, Any]) -> None:
    """What was read can be put back as it is, whole or by its parts, and that is no change."""
    parts = next(each.subresources for each in RESOURCES if (each.kind.kind, each.kind.api_version) == names_of(made))
    for part in ("", *(f"/{part.name}" for part in parts if part.write and part.read)):
        _, read = await send(server, "GET", url + (part if part == "/scale" else ""))
        status, put = await send(server, "PUT", url + part, read)
        assert (status, put["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"]), part
        await unversioned(server, url + part, read, part == "/scale")


async def unversioned(server: ApiServer, url: str, read: dict[str, Any], is_scale: bool) -> None:
    """Who does not say which version of it is replaced may do so only with kinds of which upstream allows it."""
    blind = {**read, "metadata": {key: value for key, value in read["metadata"].items() if key != "resourceVersion"}}
    status, answer = await send(server, "PUT", url, blind)
    if read["kind"] in VERSION_NEEDED and not is_scale:
        assert status == 422, url
        assert answer["message"].endswith("resourceVersion: Invalid value: 0: must be specified for an update")
    else:
        assert status == 200, answer


def names_of(obj: dict[str, Any]) -> tuple[str, str]:
    return obj["kind"], obj["apiVersion"]


async def every_form(server: ApiServer, url: str, name: str, kind: Kind) -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    status, rows = await send(
        server, "GET", f"{url}?fieldSelector=metadata.name%3D{name.replace(':', '%3A')}", accept=table
    )
    assert status == 200 and [len(row["cells"]) for row in rows["rows"]] == [len(rows["columnDefinitions"])]
    partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    status, meta = await send(server, "GET", f"{url}/{name}", accept=partial)
    assert (status, meta["kind"], meta["metadata"]["name"]) == (200, "PartialObjectMetadata", name)
    response = await server(Request("GET", f"{url}/{name}", "", {"accept": "application/vnd.kubernetes.protobuf"}))
    assert response.status == 200 and (await response.read()).startswith(b"k8s\x00")
    response = await server(Request("GET", f"{url}/{name}", "", {"accept": "application/yaml"}))
    assert response.status == 200 and f"kind: {kind.kind}" in (await response.read()).decode()


async def every_change(server: ApiServer, url: str, made: dict[str, Any]) -> None:
    labels: dict[str, str] = {}

    async def same_but_labels(method: str, label: str, body: Any, **headers: str) -> None:
        labels[label] = "x"
        status, changed = await send(server, method, f"{url}?fieldManager=t", body, **headers)
        assert status == 200, changed
        assert changed["metadata"].get("labels", {}).items() >= labels.items()
        still = {field: value for field, value in changed.items() if field not in ("metadata", "status")}
        assert still == {field: value for field, value in made.items() if field not in ("metadata", "status")}

    _, now = await send(server, "GET", url)
    now["metadata"].setdefault("labels", {})["put"] = "x"
    await same_but_labels("PUT", "put", now)
    patch = "application/{}-patch+json"
    await same_but_labels(
        "PATCH", "merge", {"metadata": {"labels": {"merge": "x"}}}, content_type=patch.format("merge")
    )
    strategic = {"metadata": {"labels": {"strategic": "x"}}}
    await same_but_labels("PATCH", "strategic", strategic, content_type=patch.format("strategic-merge"))
    operation = [{"op": "add", "path": "/metadata/labels/json", "value": "x"}]
    await same_but_labels("PATCH", "json", operation, content_type=patch.format("json"))
    applied = {"apiVersion": made["apiVersion"], "kind": made["kind"], "metadata": {"labels": {"applied": "x"}}}
    await same_but_labels("PATCH", "applied", applied, content_type="application/apply-patch+yaml")
    now["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    now["metadata"]["labels"]["late"] = "x"
    status, stale = await send(server, "PUT", url, now)
    assert (status, stale["reason"]) == (409, "Conflict")


@of_each_group
async def test_a_watch_sees_an_object_come_change_and_go(server: ApiServer, group: str) -> None:
    for kind in kinds_of(group):
        await watched(server, kind)


async def watched(server: ApiServer, kind: Kind) -> None:
    obj, url = valid_objects()[kind], collection(kind)
    name = obj["metadata"]["name"]
    _, listed = await send(server, "GET", url)
    query = f"watch=true&resourceVersion={listed['metadata']['resourceVersion']}"
    response = await server(Request("GET", url, query))
    stream: Any = response.body
    await send(server, "POST", url, obj)
    merge = {"content_type": "application/merge-patch+json"}
    await send(server, "PATCH", f"{url}/{name}", {"metadata": {"labels": {"a": "x"}, "finalizers": None}}, **merge)
    await send(server, "DELETE", f"{url}/{name}?gracePeriodSeconds=0")
    seen: list[str] = []
    wanted = ["ADDED", "MODIFIED"] if kind.kind in KEPT else ["ADDED", "MODIFIED", "DELETED"]
    while seen != wanted:
        piece = await asyncio.wait_for(anext(stream), 5)
        for line in piece.splitlines():
            event = json.loads(line)
            assert event["object"]["kind"] == kind.kind
            if event["object"]["metadata"]["name"] == name and (not seen or event["type"] != seen[-1]):
                seen.append(event["type"])
    await stream.aclose()


@of_each_group
async def test_every_kind_comes_and_goes_as_protobuf(server: ApiServer, group: str) -> None:
    for kind in kinds_of(group):
        await in_binary(server, kind)


async def in_binary(server: ApiServer, kind: Kind) -> None:
    """What Go's typed clients do: bodies, answers, lists and the frames of a watch say what JSON says."""
    obj, url = valid_objects()[kind], collection(kind)
    name = obj["metadata"]["name"]

    async def sent(method: str, url: str, body: Any = None) -> bytes:
        headers = {"accept": PROTOBUF, "content-type": PROTOBUF}
        response = await server(Request(method, url, "", headers, b"" if body is None else encode(body)))
        assert response.status < 300, await response.read()
        return await response.read()

    _, listed = await send(server, "GET", url)
    query = f"watch=true&resourceVersion={listed['metadata']['resourceVersion']}"
    response = await server(Request("GET", url, query, {"accept": f"{PROTOBUF};stream=watch"}))
    stream: Any = response.body
    made = await sent("POST", url, obj)
    _, read = await send(server, "GET", f"{url}/{name}")
    assert contains(read, without_write_only(obj)), "what was sent is what is there"
    whole = encode(read)
    assert made == await sent("GET", f"{url}/{name}") == whole
    assert contains(decode(whole), without_write_only(obj)), "and is what is read"
    assert await sent("PUT", f"{url}/{name}", read) == whole, "and what is sent back is no change"
    message = message_of(kind.api_version, kind.kind)
    assert message and encode_fields(read, message) in await sent("GET", url)
    assert whole in await asyncio.wait_for(anext(stream), 5)
    await stream.aclose()
    merge = {"content_type": "application/merge-patch+json"}
    await send(server, "PATCH", f"{url}/{name}", {"metadata": {"finalizers": None}}, **merge)
    await send(server, "DELETE", f"{url}/{name}?gracePeriodSeconds=0")


def test_no_kind_is_left_out() -> None:
    stored = {resource.kind for resource in RESOURCES if {"post", "get"} <= set(resource.kind.verbs)}
    assert stored == set(KINDS)
