"""DELETE: at once, with grace, held by finalizers, or refused."""

from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def stored(api: Any, config_map: Any) -> Any:
    return (await api.post(CONFIG_MAPS, config_map)).body


async def test_a_deleted_object_is_gone(api: Any, stored: Any) -> None:
    answer = await api.delete(f"{CONFIG_MAPS}/a")
    assert (answer.status, answer.body["kind"], answer.body["status"]) == (200, "Status", "Success")
    assert answer.body["details"] == {"name": "a", "kind": "configmaps", "uid": stored["metadata"]["uid"]}
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 404


async def test_a_delete_of_nothing_is_not_found(api: Any) -> None:
    assert (await api.delete(f"{CONFIG_MAPS}/a")).status == 404


async def test_a_delete_with_another_uid_conflicts(api: Any, stored: Any) -> None:
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"preconditions": {"uid": "other"}})
    uid = stored["metadata"]["uid"]
    assert answer.status == 409
    assert answer.message == (
        'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (other) does not match the UID '
        f"in record ({uid}). The object might have been deleted and then recreated"
    )
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200


async def test_a_delete_of_an_old_version_conflicts(api: Any, stored: Any) -> None:
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"preconditions": {"resourceVersion": "99"}})
    assert answer.status == 409
    assert "the ResourceVersion in the precondition (99) does not match" in answer.message
    matching = {"preconditions": {"resourceVersion": "1", "uid": stored["metadata"]["uid"]}}
    assert (await api.delete(f"{CONFIG_MAPS}/a", matching)).status == 200


async def test_a_dry_run_deletes_nothing(api: Any, stored: Any) -> None:
    assert (await api.delete(f"{CONFIG_MAPS}/a?dryRun=All")).status == 200
    assert (await api.delete(f"{CONFIG_MAPS}/a", {"dryRun": ["All"]})).status == 200
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200


async def test_a_finalizer_holds_a_deleted_object(api: Any, config_map: Any) -> None:
    config_map["metadata"]["finalizers"] = ["example.com/wait"]
    await api.post(CONFIG_MAPS, config_map)
    answer = await api.delete(f"{CONFIG_MAPS}/a")
    assert (answer.status, answer.body["kind"]) == (200, "ConfigMap")
    meta = answer.body["metadata"]
    assert (meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"]) == ("2026-01-01T00:00:00Z", 0)
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200


async def test_a_second_delete_of_a_held_object_changes_nothing(api: Any, config_map: Any) -> None:
    config_map["metadata"]["finalizers"] = ["example.com/wait"]
    await api.post(CONFIG_MAPS, config_map)
    first = await api.delete(f"{CONFIG_MAPS}/a")
    api.clock.offset = 60
    assert (await api.delete(f"{CONFIG_MAPS}/a")).body == first.body


async def test_a_held_object_goes_with_its_last_finalizer(api: Any, config_map: Any) -> None:
    config_map["metadata"]["finalizers"] = ["example.com/wait"]
    await api.post(CONFIG_MAPS, config_map)
    await api.delete(f"{CONFIG_MAPS}/a")
    answer = await api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": None}})
    assert answer.status == 200
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 404


async def test_no_finalizer_is_added_to_what_is_being_deleted(api: Any, config_map: Any) -> None:
    config_map["metadata"]["finalizers"] = ["example.com/wait"]
    await api.post(CONFIG_MAPS, config_map)
    await api.delete(f"{CONFIG_MAPS}/a")
    more = {"metadata": {"finalizers": ["example.com/wait", "example.com/more"]}}
    answer = await api.patch(f"{CONFIG_MAPS}/a", more)
    assert answer.status == 422
    assert "no new finalizers can be added if the object is being deleted" in answer.message


async def test_foreground_deletion_waits_for_dependents(api: Any, stored: Any) -> None:
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"propagationPolicy": "Foreground"})
    assert answer.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert answer.body["metadata"]["deletionTimestamp"]


async def test_orphaning_is_left_to_the_garbage_collector(api: Any, stored: Any) -> None:
    answer = await api.delete(f"{CONFIG_MAPS}/a?propagationPolicy=Orphan")
    assert answer.body["metadata"]["finalizers"] == ["orphan"]


async def test_background_deletion_is_immediate(api: Any, stored: Any) -> None:
    assert (await api.delete(f"{CONFIG_MAPS}/a?propagationPolicy=Background")).status == 200
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 404


async def test_an_unknown_propagation_policy_is_invalid(api: Any, stored: Any) -> None:
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"propagationPolicy": "Sideways"})
    assert answer.status == 422
    assert 'propagationPolicy: Unsupported value: "Sideways"' in answer.message


async def test_both_ways_to_say_orphan_are_refused_together(api: Any, stored: Any) -> None:
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"propagationPolicy": "Orphan", "orphanDependents": True})
    assert answer.status == 422
    assert "cannot be both set" in answer.message


async def test_a_bad_body_of_a_delete_is_refused(api: Any, stored: Any) -> None:
    assert (await api.delete(f"{CONFIG_MAPS}/a", b"{nonsense")).status == 400
    assert (await api.delete(f"{CONFIG_MAPS}/a", {"kind": "ConfigMap", "apiVersion": "v1"})).status == 400
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200


async def test_deleting_a_collection_takes_what_the_selector_takes(api: Any) -> None:
    for name, color in (("a", "red"), ("b", "red"), ("c", "blue")):
        await api.post(CONFIG_MAPS, {"metadata": {"name": name, "labels": {"color": color}}})
    answer = await api.delete(f"{CONFIG_MAPS}?labelSelector=color%3Dred")
    assert (answer.status, answer.body["kind"]) == (200, "ConfigMapList")
    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["a", "b"]
    left = (await api.get(CONFIG_MAPS)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["c"]


async def test_an_object_deleted_and_made_again_is_another(api: Any, stored: Any, config_map: Any) -> None:
    await api.delete(f"{CONFIG_MAPS}/a")
    assert (await api.post(CONFIG_MAPS, config_map)).body["metadata"]["uid"] != stored["metadata"]["uid"]
