"""Row A6 of the attack lists: definitions and objects meant to hurt. Each is refused or served, and the server goes on."""

import threading
from typing import Any

import msgspec
import pytest
from custom_kinds import DEFINITIONS, condition, definition, looked_at, passes, version
from hostile_schemas import cases

from kybern.apiserver import body
from kybern.registry.customresources import resource, validating

WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
ANSWERS = (200, 201, 400, 413, 422)
CASES = cases()


@pytest.mark.parametrize(("name", "schema", "spec"), CASES, ids=[name for name, _, _ in CASES])
async def test_hostile_schemas_are_refused_or_served(api: Any, name: str, schema: Any, spec: Any) -> None:
    wanted = definition("widgets", "Widget", version(schema={"type": "object", "properties": {"spec": schema}}))
    made = await api.send("POST", DEFINITIONS, msgspec.json.encode(wanted), content_type="application/json")
    assert made.status in ANSWERS, made.message
    await passes()
    assert (await api.get("/openapi/v2", accept="application/json")).status == 200
    if made.status == 201:
        assert condition(await looked_at(api, "widgets.example.com"), "Established") == "True"
        head = b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":'
        answer = await api.send(
            "POST", WIDGETS, head + msgspec.json.encode(spec) + b"}", content_type="application/json"
        )
        assert answer.status in ANSWERS, answer.message
        assert (await api.get(WIDGETS)).status == 200
    assert (await api.get("/api/v1/namespaces/default/configmaps")).status == 200


async def test_the_patterns_of_a_schema_may_take_so_much_together(api: Any) -> None:
    dear = {f"p{index}": {"type": "string", "pattern": f"^a{{0,1000}}a{{0,1000}}{index}$"} for index in range(60)}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": dear}}}
    answer = await api.post(DEFINITIONS, definition("widgets", "Widget", version(schema=schema)))
    assert answer.status == 422
    assert "the patterns of a schema take too long to compile" in answer.message


@pytest.mark.parametrize(("items", "is_beside"), [(10, False), (20_000, True)])
async def test_large_objects_are_read_and_judged_beside_the_loop(
    api: Any, items: int, is_beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def noting(work: Any) -> Any:
        return lambda *args: (threads.append(threading.get_ident()), work(*args))[1]

    monkeypatch.setattr(body, "object_in", noting(body.object_in))
    monkeypatch.setattr(validating, "errors_of", noting(validating.errors_of))
    monkeypatch.setattr(resource, "finalizer_warnings", noting(resource.finalizer_warnings))
    schema = {"type": "object", "properties": {"spec": {"type": "array", "items": {"type": "string"}}}}
    await api.post(DEFINITIONS, definition("widgets", "Widget", version(schema=schema)))
    await passes()
    threads.clear()
    wanted = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": ["x"] * items}
    assert (await api.post(WIDGETS, wanted)).status == 201
    assert len(threads) >= 3
    assert {thread != threading.get_ident() for thread in threads} == {is_beside}


async def test_large_objects_are_made_others_of_for_each_version_beside_the_loop(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    made = resource.pruned_object

    def noting(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return made(*args)

    monkeypatch.setattr(resource, "pruned_object", noting)
    schema = {"type": "object", "properties": {"spec": {"type": "array", "items": {"type": "string"}}}}
    versions = [{**version(name, schema=schema), "storage": name == "v1"} for name in ("v1", "v2", "v3")]
    await api.post(DEFINITIONS, definition("widgets", "Widget", *versions))
    await passes()
    wanted = {"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "a"}, "spec": ["x"] * 20_000}
    assert (await api.post(WIDGETS.replace("v1", "v2"), wanted)).status == 201
    assert len(threads) == 3 and threading.get_ident() not in threads
    for name in ("v1", "v2", "v3"):
        found = (await api.get(f"{WIDGETS.replace('v1', name)}/a")).body
        assert (found["apiVersion"], len(found["spec"])) == (f"example.com/{name}", 20_000)


async def test_a_definition_has_so_many_versions(api: Any) -> None:
    versions = [{**version(f"v{index}"), "storage": index == 1} for index in range(1, 34)]
    answer = await api.post(DEFINITIONS, definition("widgets", "Widget", *versions))
    assert "spec.versions: Too many: 33: must have at most 32 items" in answer.message
