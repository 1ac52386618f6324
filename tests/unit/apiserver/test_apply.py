"""Server-side apply, and who owns what after ordinary writes."""

from typing import Any

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
URL = f"{CONFIG_MAPS}/a"


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


async def test_a_creation_is_owned_by_its_field_manager(api: Any) -> None:
    answer = await api.post(f"{CONFIG_MAPS}?fieldManager=me", config(k="v"))
    (entry,) = answer.body["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("me", "Update", "v1")
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:k": {}}}


async def test_without_a_field_manager_the_program_is_the_owner(api: Any) -> None:
    answer = await api.post(CONFIG_MAPS, config(k="v"), user_agent="kubectl/v1.32.0 (linux/amd64)")
    assert answer.body["metadata"]["managedFields"][0]["manager"] == "kubectl"


async def test_an_update_takes_what_it_changes(api: Any) -> None:
    await api.post(f"{CONFIG_MAPS}?fieldManager=one", config(k="v", l="w"))
    answer = await api.patch(f"{URL}?fieldManager=two", {"data": {"k": "x"}})
    owned = {entry["manager"]: entry["fieldsV1"] for entry in answer.body["metadata"]["managedFields"]}
    assert owned["two"] == {"f:data": {"f:k": {}}}
    assert owned["one"] == {"f:data": {".": {}, "f:l": {}}}


async def test_applying_what_does_not_exist_creates_it(api: Any) -> None:
    answer = await api.patch(f"{URL}?fieldManager=me", config(k="v"), "apply")
    assert (answer.status, answer.body["data"]) == (201, {"k": "v"})
    assert answer.body["metadata"]["managedFields"][0]["operation"] == "Apply"
    assert answer.body["metadata"]["namespace"] == "default"


async def test_applying_the_same_again_writes_nothing(api: Any) -> None:
    first = await api.patch(f"{URL}?fieldManager=me", config(k="v"), "apply")
    api.clock.offset = 100
    again = await api.patch(f"{URL}?fieldManager=me", config(k="v"), "apply")
    assert (again.status, again.body) == (200, first.body)
    assert api.store.revision == 1


async def test_what_is_no_longer_applied_goes_away(api: Any) -> None:
    await api.patch(f"{URL}?fieldManager=me", config(k="v", l="w"), "apply")
    answer = await api.patch(f"{URL}?fieldManager=me", config(k="v"), "apply")
    assert answer.body["data"] == {"k": "v"}


async def test_applying_what_another_manager_owns_conflicts(api: Any) -> None:
    await api.patch(f"{URL}?fieldManager=one", config(k="v"), "apply")
    answer = await api.patch(f"{URL}?fieldManager=two", config(k="w"), "apply")
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .data.k'
    assert answer.body["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    forced = await api.patch(f"{URL}?fieldManager=two&force=true", config(k="w"), "apply")
    assert (forced.status, forced.body["data"]) == (200, {"k": "w"})


async def test_a_configuration_may_be_yaml(api: Any) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n"
    answer = await api.patch(f"{URL}?fieldManager=me", body, "apply")
    assert (answer.status, answer.body["data"]) == (201, {"k": "v"})


async def test_apply_needs_a_field_manager(api: Any) -> None:
    answer = await api.patch(URL, config(k="v"), "apply")
    assert answer.status == 422
    assert "fieldManager: Required value: is required for apply patch" in answer.message


async def test_apply_needs_to_know_what_it_applies(api: Any) -> None:
    for body in ({"metadata": {"name": "a"}}, config() | {"apiVersion": "v2"}, config() | {"kind": "Secret"}):
        assert (await api.patch(f"{URL}?fieldManager=me", body, "apply")).status == 400
    assert (await api.patch(f"{URL}?fieldManager=me", b"- a\n", "apply")).status == 400


async def test_a_dry_run_of_apply_changes_nothing(api: Any) -> None:
    answer = await api.patch(f"{URL}?fieldManager=me&dryRun=All", config(k="v"), "apply")
    assert answer.status == 201
    assert api.store.revision == 0


async def test_the_status_can_be_applied_apart(api: Any) -> None:
    nodes = "/api/v1/nodes"
    await api.post(nodes, {"metadata": {"name": "n"}})
    status = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {"phase": "Running"}}
    answer = await api.patch(f"{nodes}/n/status?fieldManager=kubelet", status, "apply")
    assert (answer.status, answer.body["status"]["phase"]) == (200, "Running")
    entry = next(one for one in answer.body["metadata"]["managedFields"] if one["manager"] == "kubelet")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})
