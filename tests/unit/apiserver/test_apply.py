"""Server-side apply, and who owns what after ordinary writes."""

from typing import Any

import pytest
from msgspec.structs import replace

from kybern.apiserver import tracking
from kybern.apiserver.request import Admission

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


async def test_a_configuration_that_the_schema_does_not_know_is_refused_in_upstreams_words(api: Any) -> None:
    answer = await api.patch(f"{URL}?fieldManager=me&fieldValidation=Ignore", config(k="v") | {"datum": {}}, "apply")
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert answer.message == (
        "failed to create typed patch object (/a; v1, Kind=ConfigMap): .datum: field not declared in schema"
    )


@pytest.mark.parametrize("said", ["[" * 5_000, '{"a":' * 5_000 + "1" + "}" * 5_000, "x", "[]"])
async def test_what_was_applied_before_may_be_said_to_be_anything(api: Any, said: str) -> None:
    """An annotation is its author's: one that cannot be read allows nothing, and breaks nothing."""
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": said}
    await api.post(DEPLOYMENTS, {**DEPLOYMENT, "metadata": {"name": "d", "annotations": annotations}})
    answer = await api.patch(
        f"{DEPLOYMENTS}/d?fieldManager=kubectl", {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": 7}}, "apply"
    )  # type: ignore[dict-item]
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


# --- scale ------------------------------------------------------------------------------------------------------------

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE},
}


def scale(replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "d"},
        "spec": {"replicas": replicas},
    }


async def test_a_scale_can_be_applied_and_the_object_says_who_did(api: Any) -> None:
    await api.post(DEPLOYMENTS, {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": None}})  # type: ignore[dict-item]
    at = f"{DEPLOYMENTS}/d/scale?fieldManager=scaler"
    conflict = await api.patch(at, scale(5), "apply")
    [cause] = conflict.body["details"]["causes"]
    assert (conflict.status, cause["field"]) == (409, ".spec.replicas")
    assert cause["message"].endswith(" using autoscaling/v1")
    answer = await api.patch(f"{at}&force=true", scale(5), "apply")
    assert (answer.status, answer.body["kind"], answer.body["spec"]) == (200, "Scale", {"replicas": 5})
    scaled = (await api.get(f"{DEPLOYMENTS}/d")).body
    assert scaled["spec"]["replicas"] == 5
    assert scaled["spec"]["template"]["spec"]["containers"][0]["name"] == "c"
    (entry,) = (one for one in scaled["metadata"]["managedFields"] if one["manager"] == "scaler")
    assert entry["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert (entry["operation"], entry["apiVersion"], entry["subresource"]) == ("Apply", "apps/v1", "scale")


async def test_who_applied_a_scale_is_named_where_another_wants_to_change_it(api: Any) -> None:
    await api.patch(f"{DEPLOYMENTS}?fieldManager=me", DEPLOYMENT, "apply")
    await api.patch(f"{DEPLOYMENTS}/d?fieldManager=me", DEPLOYMENT, "apply")
    await api.patch(f"{DEPLOYMENTS}/d/scale?fieldManager=scaler&force=true", scale(5), "apply")
    answer = await api.patch(f"{DEPLOYMENTS}/d?fieldManager=me", DEPLOYMENT, "apply")
    assert answer.message == (
        'Apply failed with 1 conflict: conflict with "scaler" with subresource "scale": .spec.replicas'
    )


async def test_a_scale_is_printed_as_what_is_wanted_and_what_there_is(api: Any) -> None:
    await api.post(DEPLOYMENTS, DEPLOYMENT)
    answer = await api.get(f"{DEPLOYMENTS}/d/scale", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [column["name"] for column in answer.body["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert answer.body["rows"][0]["cells"] == ["d", 2, 0, "0s"]


async def test_only_a_scale_can_be_applied_to_a_scale(api: Any) -> None:
    await api.post(DEPLOYMENTS, DEPLOYMENT)
    answer = await api.patch(f"{DEPLOYMENTS}/d/scale?fieldManager=me", DEPLOYMENT, "apply")
    assert answer.status == 400
    assert (
        await api.patch(f"{DEPLOYMENTS}/none/scale?fieldManager=me", scale(1) | {"metadata": {}}, "apply")
    ).status == 404


PODS = "/api/v1/namespaces/default/pods"


def a_pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def owners(answer: Any) -> list[tuple[str, Any]]:
    return [(entry["manager"], entry["fieldsV1"]) for entry in answer.body["metadata"]["managedFields"]]


class NamesAnAccount:
    name = "NamesAnAccount"
    kinds = ()

    async def admit(self, admission: Admission) -> None:
        pod = admission.object
        admission.object = replace(pod, spec=replace(pod.spec, service_account_name="default"))

    async def validate(self, admission: Admission) -> None:
        return


async def test_a_creator_owns_what_it_asked_for_and_its_defaults_but_not_what_admission_added(api: Any) -> None:
    api.server.machine.use([NamesAnAccount()])
    answer = await api.post(f"{PODS}?fieldManager=me", a_pod("a"))
    assert answer.body["spec"]["serviceAccountName"] == "default"
    ((_, fields),) = owners(answer)
    assert "f:serviceAccountName" not in fields["f:spec"]
    assert "f:image" in fields["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert "f:restartPolicy" in fields["f:spec"]


async def test_the_fields_of_pods_of_one_template_are_worked_out_once(api: Any) -> None:
    first = await api.post(PODS, a_pod("a"))
    worked_out = tracking.kept_fields_of.cache_info().misses
    second = await api.post(PODS, a_pod("b"))
    other = await api.post(PODS, {**a_pod("c"), "metadata": {"name": "c", "labels": {"app": "a", "b": "b"}}})
    assert tracking.kept_fields_of.cache_info().misses == worked_out + 1
    assert owners(first) == owners(second) != owners(other)
    assert owners(other)[0][1]["f:metadata"]["f:labels"] == {".": {}, "f:app": {}, "f:b": {}}


async def test_binding_a_pod_changes_no_owner(api: Any) -> None:
    created = await api.post(f"{PODS}?fieldManager=me", a_pod("a"))
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await api.post(f"{PODS}/a/binding?fieldManager=scheduler", binding)).status == 201
    bound = await api.get(f"{PODS}/a")
    assert bound.body["spec"]["nodeName"] == "n1"
    assert owners(bound) == owners(created)
