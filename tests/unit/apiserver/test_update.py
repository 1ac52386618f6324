"""PUT and subresources: what may change, and under which conditions."""

from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"

DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}


@pytest.fixture
async def stored(api: Any, config_map: Any) -> Any:
    return (await api.post(CONFIG_MAPS, config_map)).body


async def test_an_update_replaces_the_object(api: Any, stored: Any) -> None:
    stored["data"] = {"k": "w"}
    answer = await api.put(f"{CONFIG_MAPS}/a", stored)
    assert (answer.status, answer.body["data"], answer.body["metadata"]["resourceVersion"]) == (200, {"k": "w"}, "2")


async def test_an_update_of_an_old_version_conflicts(api: Any, stored: Any) -> None:
    await api.put(f"{CONFIG_MAPS}/a", stored | {"data": {"k": "w"}})
    answer = await api.put(f"{CONFIG_MAPS}/a", stored | {"data": {"k": "x"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert answer.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert (await api.get(f"{CONFIG_MAPS}/a")).body["data"] == {"k": "w"}


async def test_an_update_without_a_version_is_unconditional(api: Any, stored: Any, config_map: Any) -> None:
    await api.put(f"{CONFIG_MAPS}/a", stored | {"data": {"k": "w"}})
    answer = await api.put(f"{CONFIG_MAPS}/a", config_map)
    assert (answer.status, answer.body["metadata"]["uid"]) == (200, stored["metadata"]["uid"])


async def test_who_replaces_a_lease_says_which_version_of_it_also_by_a_patch(api: Any) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
    await api.post(leases, lease)
    answer = await api.put(f"{leases}/n1", lease)
    assert (answer.status, answer.message) == (
        422,
        'leases.coordination.k8s.io "n1" is invalid: '
        "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
    )
    merge = "application/merge-patch+json"
    assert (await api.patch(f"{leases}/n1", {"metadata": {"resourceVersion": None}}, merge)).status == 422
    assert (await api.patch(f"{leases}/n1", {"spec": {"holderIdentity": "n2"}}, merge)).status == 200


async def test_an_update_that_changes_nothing_writes_nothing(api: Any, stored: Any) -> None:
    answer = await api.put(f"{CONFIG_MAPS}/a", stored)
    assert (answer.status, answer.body) == (200, stored)
    assert api.store.revision == 1


async def test_an_update_of_nothing_is_not_found(api: Any, config_map: Any) -> None:
    answer = await api.put(f"{CONFIG_MAPS}/a", config_map)
    assert (answer.status, answer.message) == (404, 'configmaps "a" not found')


async def test_an_update_may_create_where_the_resource_allows(api: Any) -> None:
    lease = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
    answer = await api.put("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", lease)
    assert answer.status == 201


async def test_the_name_in_the_body_must_be_that_of_the_address(api: Any, stored: Any) -> None:
    stored["metadata"]["name"] = "b"
    answer = await api.put(f"{CONFIG_MAPS}/a", stored)
    assert (answer.status, answer.message) == (
        400, "the name of the object (b) does not match the name on the URL (a)",
    )  # fmt: skip


async def test_another_uid_is_a_failed_precondition(api: Any, stored: Any) -> None:
    uid = stored["metadata"]["uid"]
    stored["metadata"]["uid"] = "other"
    answer = await api.put(f"{CONFIG_MAPS}/a", stored)
    assert answer.status == 409
    assert f"Precondition failed: UID in precondition: other, UID in object meta: {uid}" in answer.message


async def test_the_moment_of_creation_cannot_change(api: Any, stored: Any) -> None:
    stored["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z"
    answer = await api.put(f"{CONFIG_MAPS}/a", stored)
    assert answer.status == 422
    assert "metadata.creationTimestamp: Invalid value" in answer.message
    assert "field is immutable" in answer.message


async def test_a_dry_run_of_an_update_changes_nothing(api: Any, stored: Any) -> None:
    answer = await api.put(f"{CONFIG_MAPS}/a?dryRun=All", stored | {"data": {"k": "w"}})
    assert (answer.status, answer.body["data"]) == (200, {"k": "w"})
    assert (await api.get(f"{CONFIG_MAPS}/a")).body == stored


async def test_the_generation_counts_changes_of_the_spec_only(api: Any) -> None:
    made = (await api.post(DEPLOYMENTS, DEPLOYMENT)).body
    made["metadata"]["labels"] = {"x": "y"}
    labelled = (await api.put(f"{DEPLOYMENTS}/web", made)).body
    assert labelled["metadata"]["generation"] == 1
    labelled["spec"]["replicas"] = 3
    assert (await api.put(f"{DEPLOYMENTS}/web", labelled)).body["metadata"]["generation"] == 2


async def test_an_update_leaves_the_status_alone(api: Any) -> None:
    made = (await api.post(DEPLOYMENTS, DEPLOYMENT)).body
    made["status"] = {"replicas": 9}
    assert "replicas" not in (await api.put(f"{DEPLOYMENTS}/web", made)).body.get("status", {})


async def test_a_status_write_leaves_the_spec_alone(api: Any) -> None:
    made = (await api.post(DEPLOYMENTS, DEPLOYMENT)).body
    made["spec"]["replicas"] = 7
    made["status"] = {"replicas": 2, "observedGeneration": 1}
    answer = await api.put(f"{DEPLOYMENTS}/web/status", made)
    assert answer.status == 200
    assert (answer.body["spec"]["replicas"], answer.body["status"]["replicas"]) == (1, 2)
    assert answer.body["metadata"]["generation"] == 1


async def test_the_status_can_be_patched(api: Any) -> None:
    await api.post(DEPLOYMENTS, DEPLOYMENT)
    answer = await api.patch(f"{DEPLOYMENTS}/web/status", {"status": {"replicas": 4}, "spec": {"replicas": 9}})
    assert (answer.status, answer.body["status"]["replicas"], answer.body["spec"]["replicas"]) == (200, 4, 1)


async def test_the_scale_reads_and_writes_one_number(api: Any) -> None:
    await api.post(DEPLOYMENTS, DEPLOYMENT)
    scale = (await api.get(f"{DEPLOYMENTS}/web/scale")).body
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 1)
    scale["spec"]["replicas"] = 5
    answer = await api.put(f"{DEPLOYMENTS}/web/scale", scale)
    assert (answer.status, answer.body["spec"]["replicas"]) == (200, 5)
    assert answer.body["metadata"]["resourceVersion"] == "2"
    deployment = (await api.get(f"{DEPLOYMENTS}/web")).body
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (5, 2)


async def test_the_scale_of_an_old_version_conflicts(api: Any) -> None:
    await api.post(DEPLOYMENTS, DEPLOYMENT)
    scale = (await api.get(f"{DEPLOYMENTS}/web/scale")).body
    await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 2}})
    assert (await api.put(f"{DEPLOYMENTS}/web/scale", scale)).status == 409


async def test_an_unknown_subresource_is_not_found(api: Any, stored: Any) -> None:
    assert (await api.get(f"{CONFIG_MAPS}/a/status")).status == 404


async def test_a_concurrent_unconditional_update_never_conflicts(api: Any, stored: Any, config_map: Any) -> None:
    import asyncio

    answers = await asyncio.gather(
        *(api.put(f"{CONFIG_MAPS}/a", config_map | {"data": {"k": str(number)}}) for number in range(20))
    )
    assert {answer.status for answer in answers} == {200}
    assert sorted(int(answer.body["metadata"]["resourceVersion"]) for answer in answers) == list(range(2, 22))
