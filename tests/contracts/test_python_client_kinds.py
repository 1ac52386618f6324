"""The official Python client's generated code, for every kind that it has an API of: what it writes is what it reads.

The client parses each answer into its own models, by upstream's definitions, and refuses what has no place there.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client, dynamic, watch
from valid_objects import collection, every_kind, valid_objects

from kybern.api.kind import Kind
from kybern.web.server import serve

KINDS_MIN = 60
NOT_WATCHED = ("ResourceClaim",)  # whose model the client's own watch does not find, since core has one of that name

# The client leaves the connection of a watch that was broken off to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def typed_api(api: client.ApiClient, kind: Kind) -> Any:
    group = kind.group.removesuffix(".k8s.io") or "core"
    name = "".join(part.capitalize() for part in re.split(r"[.-]", group)) + kind.version.capitalize() + "Api"
    return getattr(client, name)(api)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def through_the_verbs(api: client.ApiClient, kind: Kind, obj: dict[str, Any]) -> None:
    typed, noun = typed_api(api, kind), f"{'namespaced_' if kind.namespaced else ''}{snake(kind.kind)}"
    where: tuple[str, ...] = ("default",) if kind.namespaced else ()
    name = obj["metadata"]["name"]

    def call(verb: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(typed, f"{verb}_{noun}")
        return found

    made = call("create")(*where, body=obj)
    read = call("read")(name, *where)
    assert (read.kind, read.api_version, read.metadata.uid) == (kind.kind, kind.api_version, made.metadata.uid)
    version = call("list")(*where).metadata.resource_version
    patched = call("patch")(name, *where, body={"metadata": {"labels": {"patched": "yes"}}})
    assert patched.metadata.labels["patched"] == "yes"
    patched.metadata.annotations = {**(patched.metadata.annotations or {}), "replaced": "yes"}
    replaced = call("replace")(name, *where, body=patched)
    assert replaced.metadata.annotations["replaced"] == "yes"
    listed = call("list")(*where, label_selector="patched=yes").items
    assert [item.metadata.name for item in listed] == [name]
    assert kind.kind in NOT_WATCHED or seen_by_a_watch(call("list"), where, version, name) == ["MODIFIED", "MODIFIED"]
    if hasattr(typed, f"read_{noun}_status"):
        status = call("read")(name, *where).status
        assert getattr(typed, f"read_{noun}_status")(name, *where).status == status
    call("delete")(name, *where, grace_period_seconds=0)


def seen_by_a_watch(list_: Callable[..., Any], where: tuple[str, ...], version: str, name: str) -> list[str]:
    seen: list[str] = []
    for event in watch.Watch().stream(list_, *where, resource_version=version, timeout_seconds=10):
        assert event["object"].metadata.name == name
        seen.append(event["type"])
        if len(seen) == 2:
            break
    return seen


def test_every_kind() -> None:
    asyncio.run(serving(everything))


async def serving(work: Callable[[str], None]) -> None:
    """With a server on loopback, which the blocking client calls from a thread of its own."""
    async with every_kind() as api:
        server = await serve(api)
        try:
            await asyncio.to_thread(work, f"http://127.0.0.1:{server.port}")
        finally:
            await server.close(grace_seconds=0)


def everything(url: str) -> None:
    wrong, count = [], 0
    with client.ApiClient(client.Configuration(host=url)) as api:
        client.CoreV1Api(api).create_namespaced_service_account("default", {"metadata": {"name": "default"}})
        for kind, obj in valid_objects().items():
            try:
                through_the_verbs(api, kind, obj)
                count += 1
            except Exception as error:  # noqa: BLE001 - all that is wrong, at once
                wrong.append(f"{kind.api_version} {kind.kind}: {type(error).__name__}: {str(error)[:400]}")
    assert not wrong, "\n".join(wrong)
    assert count >= KINDS_MIN


def test_the_dynamic_client_finds_and_changes_every_kind() -> None:
    asyncio.run(serving(dynamically))


def dynamically(url: str) -> None:
    with client.ApiClient(client.Configuration(host=url)) as api:
        found = dynamic.DynamicClient(api)
        for kind, obj in valid_objects().items():
            resource = found.resources.get(api_version=kind.api_version, kind=kind.kind)
            assert (resource.name, resource.namespaced) == (kind.plural, kind.namespaced)
            assert collection(kind).endswith(resource.name)
            if kind.kind != "Pod":  # whose account has not been made here
                where = {"namespace": "default"} if kind.namespaced else {}
                made = resource.create(body=obj, **where)
                assert made.metadata.uid
                resource.delete(name=made.metadata.name, **where)
