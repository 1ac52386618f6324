"""PATCH: four languages for what shall be different."""

import asyncio
from typing import Any

import pytest

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod
from kybern.api.errors import Invalid
from kybern.apiserver.options import Writing
from kybern.apiserver.request import User
from kybern.apiserver.verbs.patch import MERGE_PATCH, STRATEGIC_PATCH, patched, patcher
from kybern.registry.pods import PODS

KIND = PODS.kind
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
URL = f"{CONFIG_MAPS}/a"


@pytest.fixture(autouse=True)
async def stored(api: Any, config_map: Any) -> Any:
    return (await api.post(CONFIG_MAPS, config_map)).body


async def test_a_merge_patch_sets_and_removes(api: Any) -> None:
    answer = await api.patch(URL, {"data": {"k": None, "new": "1"}})
    assert (answer.status, answer.body["data"]) == (200, {"new": "1"})


async def test_a_json_patch_is_carried_out_in_order(api: Any) -> None:
    operations = [
        {"op": "test", "path": "/data/k", "value": "v"},
        {"op": "add", "path": "/data/new", "value": "1"},
        {"op": "remove", "path": "/data/k"},
    ]
    answer = await api.patch(URL, operations, "json")
    assert (answer.status, answer.body["data"]) == (200, {"new": "1"})


async def test_a_json_patch_that_does_not_fit_changes_nothing(api: Any, stored: Any) -> None:
    operations = [{"op": "remove", "path": "/data/k"}, {"op": "test", "path": "/data/k", "value": "v"}]
    answer = await api.patch(URL, operations, "json")
    assert answer.status == 422
    assert (await api.get(URL)).body == stored


async def test_a_strategic_patch_merges_lists_by_key(api: Any) -> None:
    pods = "/api/v1/namespaces/default/pods"
    containers = [{"name": "a", "image": "one"}, {"name": "b", "image": "two"}]
    await api.post(pods, {"metadata": {"name": "p"}, "spec": {"containers": containers}})
    patch = {"spec": {"containers": [{"name": "b", "image": "three"}]}}
    answer = await api.patch(f"{pods}/p", patch, "strategic")
    assert answer.status == 200
    assert [(c["name"], c["image"]) for c in answer.body["spec"]["containers"]] == [("a", "one"), ("b", "three")]


async def test_a_patch_of_nothing_is_not_found(api: Any) -> None:
    assert (await api.patch(f"{CONFIG_MAPS}/b", {"data": {}})).status == 404


async def test_a_patch_that_changes_nothing_writes_nothing(api: Any, stored: Any) -> None:
    answer = await api.patch(URL, {"data": {"k": "v"}})
    assert (answer.body, api.store.revision) == (stored, 1)


async def test_a_patch_with_an_old_version_conflicts(api: Any) -> None:
    await api.patch(URL, {"data": {"k": "w"}})
    answer = await api.patch(URL, {"metadata": {"resourceVersion": "1"}, "data": {"k": "x"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


async def test_a_dry_run_of_a_patch_changes_nothing(api: Any, stored: Any) -> None:
    answer = await api.patch(f"{URL}?dryRun=All", {"data": {"k": "w"}})
    assert answer.body["data"] == {"k": "w"}
    assert (await api.get(URL)).body == stored


async def test_a_patched_object_is_validated(api: Any) -> None:
    answer = await api.patch(URL, {"metadata": {"labels": {"not a key": "v"}}})
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")


async def test_a_patch_to_a_wrong_type_is_refused(api: Any, stored: Any) -> None:
    assert (await api.patch(URL, {"data": 7})).status in (400, 422)
    assert (await api.get(URL)).body == stored


async def test_a_patch_cannot_rename(api: Any) -> None:
    answer = await api.patch(URL, {"metadata": {"name": "b"}})
    assert answer.status in (400, 422)


async def test_an_unknown_field_in_a_patch_is_refused_when_strict(api: Any) -> None:
    answer = await api.patch(f"{URL}?fieldValidation=Strict", {"spec": {"x": 1}})
    assert answer.status in (400, 422)
    assert 'unknown field "spec"' in answer.message


async def test_an_unknown_patch_language_is_not_supported(api: Any) -> None:
    answer = await api.patch(URL, {}, "application/json")
    assert answer.status == 415
    assert "application/merge-patch+json" in answer.message


async def test_a_patch_that_is_no_json_is_refused(api: Any) -> None:
    for how in ("merge", "strategic", "json"):
        assert (await api.patch(URL, b"{nonsense", how)).status == 400, how


async def test_concurrent_patches_all_take_effect(api: Any) -> None:
    answers = await asyncio.gather(*(api.patch(URL, {"data": {str(number): "x"}}) for number in range(30)))
    assert {answer.status for answer in answers} == {200}
    assert len((await api.get(URL)).body["data"]) == 31


async def test_a_patch_cannot_make_an_object_one_of_another_kind(api: Any, stored: Any) -> None:
    answer = await api.patch(URL, [{"op": "replace", "path": "/kind", "value": "Pod"}], "json")
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.message.startswith(' "" is invalid: patch: Invalid value: ')
    assert (await api.patch(URL, {"apiVersion": "v9"})).status == 422
    assert (await api.patch(URL, {"kind": "Pod", "apiVersion": "v9"}, "strategic")).body == stored
    assert (await api.get(URL)).body == stored


async def test_what_a_patch_led_to_is_shown_where_it_is_no_object_of_the_kind(api: Any, stored: Any) -> None:
    answer = await api.patch(f"{URL}?fieldValidation=Strict", {"zip": 1, "data": {"b": None}}, "strategic")
    cause = answer.body["details"]["causes"][0]
    why = 'Invalid value: "map[data:map[b:<nil>] zip:1]": strict decoding error: unknown field "zip"'
    assert (answer.status, cause["field"], cause["message"]) == (422, "patch", why)
    answer = await api.patch(URL, {"data": {"k": 5}})
    assert answer.message.endswith("json: cannot unmarshal number into Go struct field ConfigMap.data of type string")
    assert (await api.get(URL)).body == stored


async def test_a_strict_writer_may_not_repeat_a_key_in_a_patch(api: Any) -> None:
    answer = await api.patch(f"{URL}?fieldValidation=Strict", b'{"data":{"k":"1","k":"2"}}')
    assert answer.status == 422
    assert answer.message.endswith('strict decoding error: duplicate field "data.k"')
    answer = await api.patch(URL, b'{"data":{"k":"1","k":"2"}}')
    assert answer.headers["Warning"] == '299 - "duplicate field \\"data.k\\""'


async def test_only_an_apply_can_be_forced(api: Any) -> None:
    answer = await api.patch(f"{URL}?force=true", {})
    assert answer.message == (
        'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
    )


async def test_a_collection_can_be_neither_replaced_nor_patched(api: Any, config_map: Any) -> None:
    for method in ("PUT", "PATCH"):
        answer = await api.send(method, CONFIG_MAPS, config_map)
        assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed")


@pytest.mark.parametrize("media", [MERGE_PATCH, STRATEGIC_PATCH])
def test_what_a_patch_says_nothing_about_stays_the_very_same(media: str) -> None:
    old = from_builtins(Pod, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}], "nodeName": "n"}})
    body = b'{"status":{"phase":"Running"},"metadata":{"labels":{"a":"b"}}}'
    writing = Writing(user=User("me"))
    new = patched(old, patcher(media, body, KIND, writing), KIND, writing)
    assert new.spec is old.spec
    assert (new.status.phase, new.metadata.labels, new.metadata.name) == ("Running", {"a": "b"}, "a")


def test_a_refused_patch_shows_the_whole_object_with_what_it_says() -> None:
    old = from_builtins(Pod, {"metadata": {"name": "a"}, "spec": {"nodeName": "n"}})
    writing = Writing(user=User("me"))
    with pytest.raises(Invalid) as refused:
        patched(old, patcher(MERGE_PATCH, b'{"status":{"phase":5}}', KIND, writing), KIND, writing)
    assert "nodeName" in refused.value.message and "phase" in refused.value.message
