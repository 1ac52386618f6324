"""GET: one object, lists, pages, selectors, tables, formats."""

import asyncio
from threading import current_thread, main_thread
from typing import Any

import pytest
from turns_taken import turns_during

from kybern.api.custom import CustomObject
from kybern.apiserver import tables
from kybern.apiserver.health import EXCLUDED_MAX
from kybern.apiserver.openapi.descriptions import Descriptions
from kybern.apiserver.tables import definitions
from kybern.registry.parts import body_kind
from kybern.registry.resource import Column, Resource

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
ALL = "/api/v1/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


async def fill(api: Any, *names: str, namespace: str = "default", **labels: str) -> None:
    for name in names:
        body = {"metadata": {"name": name, "labels": labels}, "data": {"of": name}}
        answer = await api.post(f"/api/v1/namespaces/{namespace}/configmaps", body)
        assert answer.status == 201


def names(answer: Any) -> list[str]:
    return [item["metadata"]["name"] for item in answer.body["items"]]


async def test_a_missing_object_is_not_found(api: Any) -> None:
    answer = await api.get(f"{CONFIG_MAPS}/a")
    assert answer.status == 404
    assert answer.body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "code": 404, "status": "Failure", "reason": "NotFound",
        "message": 'configmaps "a" not found', "details": {"name": "a", "kind": "configmaps"},
    }  # fmt: skip


async def test_an_empty_list_is_a_list(api: Any) -> None:
    answer = await api.get(CONFIG_MAPS)
    assert answer.body == {
        "kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "0"}, "items": [],
    }  # fmt: skip


async def test_a_list_is_in_order_and_at_the_newest_revision(api: Any) -> None:
    await fill(api, "b", "c", "a")
    answer = await api.get(CONFIG_MAPS)
    assert names(answer) == ["a", "b", "c"]
    assert answer.body["metadata"]["resourceVersion"] == "3"


async def test_a_list_of_a_namespace_leaves_others_out(api: Any) -> None:
    await fill(api, "a")
    await fill(api, "b", namespace="default-2")
    assert names(await api.get(CONFIG_MAPS)) == ["a"]
    assert names(await api.get(ALL)) == ["b", "a"], "as the keys sort"


async def test_label_selectors_restrict_a_list(api: Any) -> None:
    await fill(api, "a", color="red")
    await fill(api, "b", color="blue")
    assert names(await api.get(f"{ALL}?labelSelector=color%3Dred")) == ["a"]
    assert names(await api.get(f"{ALL}?labelSelector=color+in+(red,blue)")) == ["a", "b"]
    assert names(await api.get(f"{ALL}?labelSelector=!color")) == []


async def test_field_selectors_restrict_a_list(api: Any) -> None:
    await fill(api, "a", "b")
    assert names(await api.get(f"{ALL}?fieldSelector=metadata.name%3Db")) == ["b"]
    assert names(await api.get(f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Db")) == ["b"]
    assert names(await api.get(f"{ALL}?fieldSelector=metadata.namespace!%3Ddefault")) == []


async def test_selectors_that_cannot_be_read_are_refused(api: Any) -> None:
    for query in ("labelSelector=a%3D%3D%3Db", "fieldSelector=spec.nonsense%3Da", "fieldSelector=x", "limit=a"):
        answer = await api.get(f"{ALL}?{query}")
        assert (answer.status, answer.body["reason"]) == (400, "BadRequest"), query


async def test_a_list_in_pages_shows_one_moment(api: Any) -> None:
    await fill(api, "a", "b", "c", "d", "e")
    first = await api.get(f"{ALL}?limit=2")
    assert names(first) == ["a", "b"]
    assert first.body["metadata"]["remainingItemCount"] == 3
    await api.delete(f"{CONFIG_MAPS}/c")
    await fill(api, "bb")
    second = await api.get(f"{ALL}?limit=2&continue={first.body['metadata']['continue']}")
    assert names(second) == ["c", "d"]
    assert second.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
    third = await api.get(f"{ALL}?limit=2&continue={second.body['metadata']['continue']}")
    assert names(third) == ["e"]
    assert "continue" not in third.body["metadata"]


async def test_the_remaining_count_is_left_out_with_selectors(api: Any) -> None:
    await fill(api, "a", "b", "c", color="red")
    answer = await api.get(f"{ALL}?limit=2&labelSelector=color%3Dred")
    assert "remainingItemCount" not in answer.body["metadata"]
    assert "continue" in answer.body["metadata"]


async def test_a_continue_token_expires_with_its_revision(api: Any) -> None:
    await fill(api, "a", "b", "c")
    token = (await api.get(f"{ALL}?limit=1")).body["metadata"]["continue"]
    await fill(api, "d", "aa")
    await compact(api)
    answer = await api.get(f"{ALL}?limit=1&continue={token}")
    assert (answer.status, answer.body["reason"]) == (410, "Expired")
    assert answer.message.startswith("The provided continue parameter is too old")
    fresh = answer.body["metadata"]["continue"]
    assert names(await api.get(f"{ALL}?limit=9&continue={fresh}")) == ["aa", "b", "c", "d"]


async def test_a_nonsense_continue_token_is_refused(api: Any) -> None:
    for token in ("nonsense", "e30", "!!!", "W1tb" * 2_000):
        assert (await api.get(f"{ALL}?limit=1&continue={token}")).status == 400
    told = "invalid continue token: continue key is not valid: invalid character 'x' looking for beginning of value"
    assert (await api.get(f"{ALL}?limit=1&continue=eHl6")).message == told


async def test_an_exact_version_shows_the_past(api: Any) -> None:
    await fill(api, "a", "b")
    await api.delete(f"{CONFIG_MAPS}/a")
    await fill(api, "c")
    answer = await api.get(f"{ALL}?resourceVersion=2&resourceVersionMatch=Exact")
    assert names(answer) == ["a", "b"]
    assert answer.body["metadata"]["resourceVersion"] == "2"


async def test_an_exact_version_that_is_gone_is_expired(api: Any) -> None:
    await fill(api, "a", "b", "c")
    await compact(api)
    answer = await api.get(f"{ALL}?resourceVersion=1&resourceVersionMatch=Exact")
    assert (answer.status, answer.body["reason"]) == (410, "Expired")


async def test_not_older_than_shows_the_newest(api: Any) -> None:
    await fill(api, "a", "b")
    for query in ("resourceVersion=0", "resourceVersion=1", "resourceVersion=1&resourceVersionMatch=NotOlderThan"):
        assert names(await api.get(f"{ALL}?{query}")) == ["a", "b"], query


async def test_a_version_to_come_is_a_timeout(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.verbs.versions.FUTURE_WAIT_SECONDS", 0.01)
    for url in (f"{ALL}?resourceVersion=99", f"{CONFIG_MAPS}/a?resourceVersion=99"):
        answer = await api.get(url)
        assert (answer.status, answer.body["reason"]) == (504, "Timeout")
        assert answer.message == "Too large resource version: 99, current: 0"
        assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_who_waits_for_a_version_is_shown_it(api: Any) -> None:
    await fill(api, "a")
    coming = int((await api.get(ALL)).body["metadata"]["resourceVersion"]) + 1
    urls = (f"{CONFIG_MAPS}/a", ALL)
    waiting = [asyncio.create_task(api.get(f"{url}?resourceVersion={coming}")) for url in urls]
    for _ in range(5):
        await asyncio.sleep(0)
    await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "new"}})
    one, listed = [(await task).body for task in waiting]
    assert one["data"]["k"] == listed["items"][0]["data"]["k"] == "new"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Sometimes", 422),
        ("resourceVersion=abc", 400),
        ("resourceVersion=-1", 400),
        ("limit=abc", 400),
        ("timeoutSeconds=abc", 400),
        ("continue=abc", 400),
        ("sendInitialEvents=true", 422),
    ],
)
async def test_versions_that_make_no_sense_are_refused(api: Any, query: str, status: int) -> None:
    assert (await api.get(f"{ALL}?{query}")).status == status


async def test_a_table_has_the_columns_of_the_resource(api: Any) -> None:
    await fill(api, "a", "b")
    answer = await api.get(CONFIG_MAPS, accept=TABLE)
    assert (answer.body["kind"], answer.body["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert answer.body["columnDefinitions"][0]["name"] == "Name"
    assert [row["cells"][0] for row in answer.body["rows"]] == ["a", "b"]
    row = answer.body["rows"][0]["object"]
    assert (row["kind"], row["metadata"]["name"]) == ("PartialObjectMetadata", "a")


@pytest.mark.parametrize("path", [CONFIG_MAPS, f"{CONFIG_MAPS}/a", f"{CONFIG_MAPS}?watch=true&timeoutSeconds=1"])
async def test_what_columns_mean_is_not_read_while_others_wait(
    api: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    await api.post(CONFIG_MAPS, {"metadata": {"name": "a"}})
    readers: list[str] = []

    def of_field(self: Descriptions, field: str) -> str:
        readers.append(current_thread().name)
        return field

    monkeypatch.setattr(tables, "KEPT", {})
    monkeypatch.setattr(Descriptions, "of_field", of_field)
    for _ in range(2):
        assert (await api.get(path, accept=TABLE)).status == 200
    assert len(readers) == 3 and main_thread().name not in readers


async def test_a_table_carries_as_much_of_the_object_as_asked(api: Any) -> None:
    await fill(api, "a")
    whole = await api.get(f"{CONFIG_MAPS}?includeObject=Object", accept=TABLE)
    assert whole.body["rows"][0]["object"]["data"] == {"of": "a"}
    none = await api.get(f"{CONFIG_MAPS}?includeObject=None", accept=TABLE)
    assert "object" not in none.body["rows"][0]


async def test_the_row_of_a_pod_that_has_ended_says_so(api: Any) -> None:
    said = {"": None, "Running": None, "Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    for phase, message in said.items():
        name = phase.lower() or "new"
        pod = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await api.post("/api/v1/namespaces/default/pods", pod)
        url = f"/api/v1/namespaces/default/pods/{name}"
        if phase:
            await api.patch(f"{url}/status", {"status": {"phase": phase}})
        [row] = (await api.get(url, accept=TABLE)).body["rows"]
        completed = {"type": "Completed", "status": "True", "reason": phase, "message": message}
        assert row.get("conditions") == ([completed] if message else None)


async def test_one_object_can_be_a_table(api: Any) -> None:
    await fill(api, "a")
    answer = await api.get(f"{CONFIG_MAPS}/a", accept=TABLE)
    assert answer.body["kind"] == "Table"
    assert len(answer.body["rows"]) == 1


async def test_metadata_alone_can_be_listed(api: Any) -> None:
    await fill(api, "a")
    answer = await api.get(CONFIG_MAPS, accept=PARTIAL)
    assert answer.body["kind"] == "PartialObjectMetadataList"
    assert answer.body["items"][0]["metadata"]["name"] == "a"
    assert "data" not in answer.body["items"][0]


async def test_answers_can_be_yaml(api: Any) -> None:
    await fill(api, "a")
    answer = await api.get(f"{CONFIG_MAPS}/a", accept="application/yaml")
    assert answer.headers["Content-Type"] == "application/yaml"
    assert b"name: a\n" in answer.raw


async def test_the_first_wish_that_can_be_met_is(api: Any) -> None:
    await fill(api, "a")
    for accept in ("application/cbor, application/json", "text/html;q=0.9,*/*;q=0.8", ""):
        assert (await api.get(f"{CONFIG_MAPS}/a", accept=accept)).headers["Content-Type"] == "application/json"


async def test_an_unknown_format_is_not_acceptable(api: Any) -> None:
    answer = await api.get(CONFIG_MAPS, accept="image/png")
    assert (answer.status, answer.body["reason"]) == (406, "NotAcceptable")


async def test_head_has_no_body(api: Any) -> None:
    await fill(api, "a")
    answer = await api.send("HEAD", f"{CONFIG_MAPS}/a")
    assert (answer.status, answer.raw) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/configmaps/a%2Fb", "/api/v1/namespaces/../secrets", "/api/v1//configmaps",
        "/api/v1/namespaces/default/configmaps/..", "/api/v1/namespaces/%2e%2e/configmaps", "/api/v2/configmaps",
        "/apis/apps/v1/configmaps", "/api/v1/namespaces/default/configmaps/a/b/c", "/nothing", "/api/v1/configmaps/a",
        "/api/v1/namespaces/default/nodes/a",
    ],
)  # fmt: skip
async def test_paths_that_name_nothing_are_not_found(api: Any, path: str) -> None:
    assert (await api.get(path)).status == 404


async def test_names_may_be_percent_encoded(api: Any) -> None:
    role = {"metadata": {"name": "system:x"}, "rules": []}
    await api.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    assert (await api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Ax")).status == 200


async def test_health_has_checks(api: Any) -> None:
    assert (await api.get("/readyz")).raw == b"ok"
    assert b"[+]store ok" in (await api.get("/livez?verbose")).raw
    assert (await api.get("/healthz/ping")).raw == b"ok"
    assert (await api.get("/readyz/nothing")).status == 404


async def test_health_checks_can_be_left_out(api: Any) -> None:
    lines = (await api.get("/readyz?verbose&exclude=store&exclude=b&exclude=a")).raw.decode().splitlines()
    assert lines == [
        "[+]ping ok",
        "[+]store excluded: ok",
        'warn: some health checks cannot be excluded: no matches for "a","b"',
        "readyz check passed",
    ]


async def test_of_very_many_checks_to_leave_out_the_first_are_looked_at(api: Any) -> None:
    many = ",".join(["store", *(f"x{number}" for number in range(20_000))])
    answer = await api.get(f"/readyz?verbose&exclude={many}")
    assert b"[+]store excluded: ok" in answer.raw
    assert answer.raw.count(b'"x') == EXCLUDED_MAX - 1


async def test_requests_are_counted(api: Any) -> None:
    await fill(api, "a")
    lines = (await api.get("/metrics")).raw.decode()
    assert 'apiserver_request_total{code="201",group="",resource="configmaps"' in lines


async def compact(api: Any) -> None:
    await api.store.compact(api.store.revision)
    for storage in api.server.machine.storages.values():
        storage.cache.forget(api.store.oldest)


async def test_a_person_reads_lines(api: Any) -> None:
    await fill(api, "a")
    for url in (ALL, "/api/v1/namespaces/default/configmaps/a"):
        assert b'\n  "kind"' in (await api.get(url, user_agent="curl/8.0")).raw
        assert b'\n  "kind"' in (await api.get(f"{url}?pretty=true")).raw
        assert b"\n " not in (await api.get(f"{url}?pretty=false", user_agent="curl/8.0")).raw
        assert b"\n " not in (await api.get(url, user_agent="kubectl/v1.32")).raw


FORMS = ("application/json", "application/vnd.kubernetes.protobuf", TABLE, PARTIAL)


@pytest.mark.parametrize("accept", FORMS)
@pytest.mark.parametrize("query", ["", "?labelSelector=none", "?fieldSelector=metadata.namespace=none"])
async def test_others_get_their_turn_while_a_long_list_is_made(api: Any, accept: str, query: str) -> None:
    await fill(api, "a")
    await api.get(ALL + query, accept=accept)  # what a first table's columns mean is read
    short = await turns_of_others(api, ALL + query, accept)
    for name in "bcdefg":
        body = {"metadata": {"name": name, "labels": {"app": "x"}}, "data": {"k": "v" * 256 * 1024}}
        assert (await api.post(CONFIG_MAPS, body)).status == 201
    assert await turns_of_others(api, ALL + query, accept) > short


async def turns_of_others(api: Any, url: str, accept: str) -> int:
    turns, answer = await turns_during(api.get(url, accept=accept))
    assert answer.status == 200
    return turns


async def test_a_table_of_one_object_has_its_version(api: Any) -> None:
    await fill(api, "a")
    table = (await api.get(f"{CONFIG_MAPS}/a", accept=TABLE)).body
    assert table["metadata"] == {"resourceVersion": "1"}
    assert table["columnDefinitions"][0]["description"].startswith("Name must be unique")


def test_the_columns_of_custom_kinds_are_not_kept() -> None:
    kind = body_kind(CustomObject, "example.com", "v1", "Widget")
    column = Column("Size", lambda obj, now: 1, description="x" * 1_000_000)
    before = len(tables.KEPT)
    assert len(definitions(Resource(kind=kind, columns=(column,)))) > 1_000_000
    assert len(tables.KEPT) == before


async def test_how_much_a_table_carries_is_one_of_three(api: Any) -> None:
    answer = await api.get(f"{CONFIG_MAPS}?includeObject=All", accept=TABLE)
    why = "must be 'Metadata', 'Object', 'None', or empty"
    assert (answer.status, answer.message) == (
        400,
        f'Unable to convert to Table as requested: includeObject: Invalid value: "All": {why}',
    )


NAMESPACED, CLUSTER_WIDE = "metadata.name metadata.namespace", "metadata.name"
EVENT = "kind namespace name uid apiVersion resourceVersion fieldPath"
SELECTABLE = {
    "/api/v1/pods": f"{NAMESPACED} spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName "
    "spec.hostNetwork status.phase status.podIP status.podIPs status.nominatedNodeName",
    "/api/v1/nodes": f"{CLUSTER_WIDE} spec.unschedulable",
    "/api/v1/namespaces": f"{CLUSTER_WIDE} status.phase",
    "/api/v1/secrets": f"{NAMESPACED} type",
    "/api/v1/services": f"{NAMESPACED} spec.clusterIP spec.type",
    "/api/v1/replicationcontrollers": f"{NAMESPACED} status.replicas",
    "/api/v1/events": f"{NAMESPACED} reason reportingComponent source type "
    + " ".join(f"involvedObject.{part}" for part in EVENT.split()),
    "/apis/events.k8s.io/v1/events": f"{NAMESPACED} reason reportingController type "
    + " ".join(f"regarding.{part}" for part in EVENT.split()),
    "/apis/batch/v1/jobs": f"{NAMESPACED} status.successful",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests": f"{CLUSTER_WIDE} spec.signerName",
    "/apis/certificates.k8s.io/v1/clustertrustbundles": f"{CLUSTER_WIDE} spec.signerName",
    "/apis/resource.k8s.io/v1/resourceslices": f"{CLUSTER_WIDE} spec.nodeName spec.driver",
    "/api/v1/configmaps": NAMESPACED,
    "/apis/apps/v1/deployments": NAMESPACED,
    "/apis/apps/v1/replicasets": NAMESPACED,
    "/api/v1/persistentvolumes": NAMESPACED,
}


@pytest.mark.parametrize("url", SELECTABLE)
async def test_a_kind_is_selected_by_upstreams_fields_and_no_others(api: Any, url: str) -> None:
    known = SELECTABLE[url].split()
    for field in known:
        assert (await api.get(f"{url}?fieldSelector={field}!=x")).status == 200, field
    for field in {"metadata.namespace", "spec.what"} - {*known}:
        assert (await api.get(f"{url}?fieldSelector={field}=x")).status == 400, field
        assert (await api.get(f"{url}?watch=true&fieldSelector={field}=x")).status == 400, field


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("/api/v1/pods", "field label not supported: spec.what"),
        ("/api/v1/configmaps", '"spec.what" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("/apis/batch/v1/jobs", 'field label "spec.what" not supported for batchv1.Job'),
        (
            "/apis/resource.k8s.io/v1/resourceslices",
            "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.what",
        ),
    ],
)
async def test_a_field_that_is_not_selectable_is_named_as_upstream_names_it(api: Any, url: str, message: str) -> None:
    assert (await api.get(f"{url}?fieldSelector=spec.what=x")).message == message
