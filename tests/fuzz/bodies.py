"""A run: an API server with one object of every kind, and hostile requests about them, one after the other.

The same seed makes the same requests. Whatever a client sends, the answer is the object or a Status that says what is wrong
with it; it is never a fault of the server's own, and what was taken can be read in every form.
"""

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import yaml
from mutations import (
    FORGED_MANAGERS,
    applied,
    as_text,
    json_patch,
    merge_patch,
    spoilt,
    spoilt_bytes,
    strategic_patch,
)
from valid_objects import NAME, collection, every_kind, valid_objects

from kybern.api.kind import Kind
from kybern.api.protobuf import encode
from kybern.apiserver.server import ApiServer
from kybern.registry import RESOURCES
from kybern.web.http import Request

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PATCHES = {
    "application/json-patch+json": json_patch,
    "application/merge-patch+json": merge_patch,
    "application/strategic-merge-patch+json": strategic_patch,
    "application/apply-patch+yaml": applied,
}
QUERIES = (
    "",
    "",
    "",
    "dryRun=All",
    "fieldValidation=Strict",
    "fieldValidation=Ignore",
    "fieldManager=a",
    "pretty=true",
)
LOOKS_MAX = 50
SERVER_BODIES_MAX = 2000  # then the objects are fresh again
ALL_PARTS = {part.name for resource in RESOURCES for part in resource.subresources}
PARTS = {resource.kind: [part.name for part in resource.subresources if part.write] for resource in RESOURCES}


SAMPLES = Kind(
    type=dict,
    list_type=None,
    group="example.com",
    version="v1",
    kind="Sample",
    plural="samples",
    namespaced=True,
    verbs=(),
)
"""The kind that the valid CustomResourceDefinition defines."""

SAMPLE: Any = {
    "apiVersion": "example.com/v1",
    "kind": "Sample",
    "metadata": {"name": NAME, "namespace": "default", "labels": {"a": "b"}},
    "spec": {"n": 2, "t": "ab"},
    "status": {"n": 1},
}


@dataclass(frozen=True, slots=True)
class Sent:
    method: str
    path: str
    query: str
    media: str
    body: bytes

    def dump(self) -> str:
        return json.dumps({**asdict(self), "body": base64.b64encode(self.body).decode()}, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> "Sent":
        value = json.loads(text)
        return cls(**{**value, "body": base64.b64decode(value["body"])})


@dataclass(slots=True)
class Tally:
    taken: int = 0
    refused: int = 0


class Wrong(AssertionError):
    """The server's answer is not one."""


def requests(seed: int) -> Iterator[Sent]:
    rng = random.Random(seed)
    objects = {**valid_objects(), SAMPLES: SAMPLE}
    kinds, everything = list(objects), tuple(objects.values())
    while True:
        kind = rng.choice(kinds)
        try:
            yield request(kind, objects[kind], rng, everything)
        except RecursionError:  # deeper than this process can walk
            continue


def request(kind: Kind, valid: Any, rng: random.Random, everything: tuple[Any, ...]) -> Sent:
    url, name = collection(kind), valid["metadata"]["name"]
    query = "&".join({rng.choice(QUERIES), rng.choice(QUERIES)} - {""})
    parts = PARTS.get(kind, ("status", "scale"))
    part = f"/{rng.choice(parts)}" if parts and rng.random() < 0.15 else ""
    method = rng.choice(("POST", "PUT", "PATCH", "PATCH"))
    if method == "PATCH":
        media = rng.choice(list(PATCHES))
        body = as_text(PATCHES[media](valid, rng, everything))
        if media.endswith("yaml"):
            query += f"&fieldManager=f&force={rng.choice(('true', 'false'))}"
    else:
        sound = renamed(valid, rng) if method == "POST" else valid
        value = sound if rng.random() < 0.1 else spoilt(sound, rng, everything)
        if rng.random() < 0.05 and isinstance(value, dict) and isinstance(value.get("metadata"), dict):
            value["metadata"]["managedFields"] = rng.choice(FORGED_MANAGERS)
        media = rng.choice((JSON, JSON, JSON, YAML, JSON if kind is SAMPLES else PROTOBUF))
        body = written(value, valid, media)
    if rng.random() < (0.5 if media == PROTOBUF else 0.1):
        body = spoilt_bytes(body, rng, as_text(rng.choice(everything)))
    path = url if method == "POST" and not part else f"{url}/{name}{part}"
    return Sent(method, path, query, media, body)


def renamed(valid: Any, rng: random.Random) -> Any:
    """As a second object of its kind; where the kind prescribes the name, it stays a conflict."""
    if valid["metadata"]["name"] != NAME:
        return valid
    name = {"generateName": "other-"} if rng.random() < 0.1 else {"name": "other"}
    return {**valid, "metadata": {**{key: value for key, value in valid["metadata"].items() if key != "name"}, **name}}


def written(value: Any, valid: Any, media: str) -> bytes:
    try:
        if media == YAML:
            return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
        if media == PROTOBUF:
            return bytes(encode(value))
    except Exception:  # noqa: BLE001 - what a client could not have written
        return bytes(encode(valid)) if media == PROTOBUF else as_text(value)
    return as_text(value)


async def run(seed: int, count: int) -> Tally:
    tally = Tally()
    source = requests(seed)
    for first in range(0, count, SERVER_BODIES_MAX):
        async with prepared() as server:
            for _ in range(min(SERVER_BODIES_MAX, count - first)):
                await check(server, next(source), tally)
    return tally


async def check(server: ApiServer, sent: Sent, tally: Tally) -> None:
    try:
        await one(server, sent, tally)
    except Exception as error:
        raise Wrong(f"{type(error).__name__}: {error}\n{sent.dump()}") from error


async def one(server: ApiServer, sent: Sent, tally: Tally) -> None:
    request = Request(sent.method, sent.path, sent.query, {"content-type": sent.media}, sent.body)
    response = await server(request)
    answer = msgspec.json.decode(await response.read())
    if response.status < 300:
        tally.taken += 1
        await readable(server, sent, answer)
        return
    tally.refused += 1
    assert 400 <= response.status < 500, f"{response.status} {answer}"
    assert (answer["kind"], answer["apiVersion"], answer["status"]) == ("Status", "v1", "Failure"), answer
    assert answer["code"] == response.status and answer["message"] and answer["reason"], answer
    if response.status == 404:
        await create_all(server)


async def readable(server: ApiServer, sent: Sent, answer: Any) -> None:
    """What is stored now can be read in every form, says what it is, and can be put back as it is."""
    if "dryRun" in sent.query or sent.path.endswith("/binding"):
        return
    part = next((part for part in sorted(ALL_PARTS) if sent.path.endswith(f"/{part}")), "")
    path = sent.path.removesuffix(f"/{part}") if part else sent.path
    if sent.method == "POST":
        path = f"{path}/{quote(answer['metadata']['name'], safe='')}"
    await put_back(server, path)  # which may mend what a status had left out
    await put_back(server, path, unchanged=True)
    for accept in (JSON, TABLE, YAML, *(() if path.startswith(collection(SAMPLES)) else (PROTOBUF,))):
        response = await server(Request("GET", path, "", {"accept": accept}))
        assert response.status == 200, f"{accept}: {response.status} {await response.read()!r}"
        await response.read()
    if sent.method == "POST":
        await server(Request("DELETE", path, "gracePeriodSeconds=0"))


async def put_back(server: ApiServer, path: str, *, unchanged: bool = False) -> None:
    got = await server(Request("GET", path, "", {}))
    body = await got.read()
    obj = msgspec.json.decode(body)
    assert (got.status, f"/{obj['apiVersion']}/" in path, bool(obj["kind"])) == (200, True, True), body
    put = await server(Request("PUT", path, "", {"content-type": JSON}, body))
    again = msgspec.json.decode(await put.read())
    assert put.status == 200, again
    assert not unchanged or again["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"], again


async def create_all(server: ApiServer) -> None:
    for kind, obj in valid_objects().items():
        await server(Request("POST", collection(kind), "", {"content-type": JSON}, as_text(obj)))
    for _ in range(LOOKS_MAX):  # a definition that was spoilt defines it no longer
        if (await server(Request("GET", collection(SAMPLES)))).status == 200:
            break
        await asyncio.sleep(0.001)
    await server(Request("POST", collection(SAMPLES), "", {"content-type": JSON}, as_text(SAMPLE)))


@asynccontextmanager
async def prepared() -> AsyncIterator[ApiServer]:
    async with every_kind(custom=True) as server:
        account = as_text({"metadata": {"name": "default"}})
        await server(Request("POST", "/api/v1/namespaces/default/serviceaccounts", "", {}, account))
        await create_all(server)
        yield server
