"""What upstream's conformance suite asks of the API server's own kinds, and no other test here tells as one story.

The verbs of every kind are in `test_every_kind.py`, custom kinds in `customresources/`, webhooks and policies in
`tests/unit/webhooks`.
"""

import base64
from typing import Any

import pytest
from valid_objects import every_kind, pem_texts, valid_objects

from kybern.web.http import Request

V1 = "/api/v1/namespaces/default"


def valid(kind: str, group: str = "", **metadata: Any) -> dict[str, Any]:
    found = next(obj for known, obj in valid_objects().items() if (known.kind, known.group) == (kind, group))
    return {**found, "metadata": {**found["metadata"], **metadata}}


def names(answer: Any) -> list[str]:
    return sorted(item["metadata"]["name"] for item in answer.body["items"])


# --- namespaces -------------------------------------------------------------------------------------------------------


async def test_a_namespace_is_replaced_its_status_written_apart_and_its_finalizers_at_their_address(api: Any) -> None:
    made = (await api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})).body
    at = "/api/v1/namespaces/n"
    labelled = await api.put(at, {**made, "metadata": {**made["metadata"], "labels": {"n": "updated"}}})
    assert (labelled.status, labelled.body["metadata"]["labels"]["n"]) == (200, "updated")

    status = (await api.get(f"{at}/status")).body
    assert status["status"]["phase"] == "Active"
    condition = {"type": "Patched", "status": "True", "reason": "E2E", "message": "set"}
    patched = await api.patch(f"{at}/status", {"status": {"conditions": [condition]}})
    assert (patched.status, patched.body["status"]["conditions"][0]["reason"]) == (200, "E2E")
    told = {**patched.body, "status": {"phase": "Active", "conditions": [{**condition, "reason": "Put"}]}}
    assert (await api.put(f"{at}/status", told)).body["status"]["conditions"][0]["reason"] == "Put"

    held = {**(await api.get(at)).body, "spec": {"finalizers": ["kubernetes", "e2e.example.com/held"]}}
    assert (await api.put(at, held)).body["spec"]["finalizers"] == ["kubernetes"]
    assert (await api.put(f"{at}/finalize", held)).body["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/held"]
    free = {**(await api.get(at)).body, "spec": {"finalizers": ["kubernetes"]}}
    assert (await api.put(f"{at}/finalize", free)).body["spec"]["finalizers"] == ["kubernetes"]


# --- quotas -----------------------------------------------------------------------------------------------------------


async def test_what_is_written_to_a_quotas_status_never_becomes_its_spec(api: Any) -> None:
    quotas = f"{V1}/resourcequotas"
    await api.post(quotas, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}})
    said = {"spec": {"hard": {"pods": "9"}}, "status": {"hard": {"pods": "7"}, "used": {"pods": "0"}}}
    patched = await api.patch(f"{quotas}/q/status", said)
    assert (patched.body["spec"]["hard"], patched.body["status"]["hard"]) == ({"pods": "5"}, {"pods": "7"})
    put = await api.put(f"{quotas}/q/status", {**patched.body, **said, "status": {"hard": {"pods": "8"}}})
    assert (put.body["spec"]["hard"], put.body["status"]) == ({"pods": "5"}, {"hard": {"pods": "8"}})
    written = await api.patch(f"{quotas}/q", {"spec": {"hard": {"pods": "6"}}, "status": {"hard": {"pods": "1"}}})
    assert (written.body["spec"]["hard"], written.body["status"]["hard"]) == ({"pods": "6"}, {"pods": "8"})


async def test_quotas_of_all_namespaces_are_found_by_label_and_deleted_together(api: Any) -> None:
    for namespace in ("default", "other"):
        await api.post(
            f"/api/v1/namespaces/{namespace}/resourcequotas", {"metadata": {"name": "q", "labels": {"a": "b"}}}
        )
    assert names(await api.get("/api/v1/resourcequotas?labelSelector=a%3Db")) == ["q", "q"]
    assert (await api.delete(f"{V1}/resourcequotas?labelSelector=a%3Db")).status == 200
    assert names(await api.get("/api/v1/resourcequotas?labelSelector=a%3Db")) == ["q"]


# --- lists in pages ---------------------------------------------------------------------------------------------------


async def test_a_long_list_comes_in_pages_of_one_version_and_each_tells_how_much_is_left(api: Any) -> None:
    templates = f"{V1}/podtemplates"
    total, each = 400, 57
    body = {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
    for number in range(total):
        await api.post(templates, {"metadata": {"name": f"template-{number:04}"}, **body})
    found: list[str] = []
    versions, token = set(), ""
    while True:
        page = (await api.get(f"{templates}?limit={each}&continue={token}")).body
        found += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        assert page["metadata"].get("remainingItemCount", 0) == total - len(found)
        token = page["metadata"].get("continue", "")
        if not token:
            break
        await api.post(templates, {"metadata": {"name": f"later-{len(found)}"}, **body})
    assert found == [f"template-{number:04}" for number in range(total)]
    assert len(versions) == 1
    assert len((await api.get(templates)).body["items"]) == total + total // each


# --- certificates -----------------------------------------------------------------------------------------------------

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


async def test_a_signing_request_is_approved_and_signed_at_addresses_of_its_own(api: Any) -> None:
    made = valid("CertificateSigningRequest", "certificates.k8s.io")
    del made["metadata"]["name"]
    made["metadata"]["generateName"] = "e2e-"
    created = (await api.post(CSRS, made)).body
    at = f"{CSRS}/{created['metadata']['name']}"
    assert created["metadata"]["name"].startswith("e2e-")
    assert len(names(await api.get(f"{CSRS}?fieldSelector=spec.signerName%3Dexample.com/x"))) == 1
    assert names(await api.get(f"{CSRS}?fieldSelector=spec.signerName%3Dexample.com/y")) == []

    approved = {"type": "Approved", "status": "True", "reason": "E2E", "message": "yes"}
    told = {**created, "status": {"conditions": [approved]}}
    assert (await api.put(f"{at}/approval", told)).body["status"]["conditions"][0]["type"] == "Approved"
    other = {"status": {"conditions": [approved, {"type": "ApprovalPatch", "status": "True", "reason": "E2E"}]}}
    patched = await api.patch(f"{at}/approval", other)
    assert [one["type"] for one in patched.body["status"]["conditions"]] == ["Approved", "ApprovalPatch"]

    certificate = base64.b64encode(pem_texts()["CERTIFICATE"].replace("\\n", "\n").encode()).decode()
    signed = await api.patch(f"{at}/status", {"status": {"certificate": certificate}})
    assert (signed.status, signed.body["status"]["certificate"]) == (200, certificate)
    assert (await api.get(f"{at}/status")).body["status"] == signed.body["status"]
    wrong = await api.patch(f"{at}/status", {"status": {"certificate": base64.b64encode(b"no").decode()}})
    assert wrong.status == 422


async def test_a_pods_certificate_request_takes_its_status_apart(api: Any) -> None:
    requests = "/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests"
    await api.post(requests, valid("PodCertificateRequest", "certificates.k8s.io"))
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "E2E",
        "message": "no",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    answer = await api.patch(
        f"{requests}/sample/status", {"spec": {"podName": "q"}, "status": {"conditions": [failed]}}
    )
    assert (answer.status, answer.body["status"]["conditions"][0]["type"]) == (200, "Failed")
    assert answer.body["spec"]["podName"] == "p"


# --- events -----------------------------------------------------------------------------------------------------------

NEW = "/apis/events.k8s.io/v1"


async def test_an_event_is_one_object_in_both_groups_and_found_by_where_it_comes_from(api: Any) -> None:
    events = f"{NEW}/namespaces/default/events"
    made = valid("Event", "events.k8s.io", labels={"e2e": "yes"})
    created = (await api.post(events, made)).body
    assert (await api.get(f"{V1}/events/sample")).body["message"] == "it did"
    await api.post(f"{V1}/events", valid("Event", "", name="core"))
    assert names(await api.get(f"{V1}/events?fieldSelector=source%3Dkubelet")) == ["core"]
    assert names(await api.get(f"{NEW}/events?fieldSelector=reportingController%3Dexample.com/c")) == ["sample"]

    series = {"count": 100, "lastObservedTime": "2026-01-01T00:10:00.000000Z"}
    patched = await api.patch(f"{events}/sample", {"series": series})
    assert (patched.status, patched.body["series"]["count"]) == (200, 100)
    put = await api.put(f"{events}/sample", {**patched.body, "series": {**series, "count": 200}})
    assert (put.status, put.body["series"]["count"]) == (200, 200)
    assert put.body["metadata"]["uid"] == created["metadata"]["uid"]
    assert (await api.delete(f"{events}?labelSelector=e2e%3Dyes")).status == 200
    assert names(await api.get(f"{NEW}/events")) == ["core"]


async def test_an_event_of_the_core_group_lives_patched_and_updated_with_a_series(api: Any) -> None:
    events = f"{V1}/events"
    await api.post(events, valid("Event", "", labels={"e2e": "yes"}))
    patched = await api.patch(f"{events}/sample", {"message": "changed"}, "strategic")
    assert patched.body["message"] == "changed"
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:10:00.000000Z"}
    put = await api.put(f"{events}/sample", {**patched.body, "series": series})
    assert (put.status, put.body["series"]["count"]) == (200, 2)
    assert names(await api.get("/api/v1/events?labelSelector=e2e%3Dyes")) == ["sample"]
    assert (await api.delete(f"{events}/sample")).status == 200
    assert (await api.get(f"{events}/sample")).status == 404


# --- fields that are not known, and those that stand twice ------------------------------------------------------------


@pytest.mark.parametrize("strictness", ["Strict", "Warn", "Ignore"])
async def test_a_typed_object_is_read_as_strictly_as_was_asked_for(api: Any, strictness: str) -> None:
    body = (
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","labels":{"a":"b"},"unknownMeta":"x"},'
        b'"data":{"k":"1"},"data":{"k":"2"},"unknown":1}'
    )
    answer = await api.post(f"{V1}/configmaps?fieldValidation={strictness}", body)
    if strictness == "Strict":
        assert answer.status == 400
        for problem in ('unknown field "metadata.unknownMeta"', 'unknown field "unknown"', 'duplicate field "data"'):
            assert problem in answer.message
        return
    assert (answer.status, answer.body["data"]) == (201, {"k": "2"})
    assert ("unknown" in answer.headers.get("Warning", "")) == (strictness == "Warn")


async def test_an_unknown_field_in_metadata_cannot_be_applied(api: Any) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "unknownMeta": "x"}}
    answer = await api.patch(f"{V1}/configmaps/c?fieldManager=me&fieldValidation=Strict", body, "apply")
    assert ".metadata.unknownMeta: field not declared in schema" in answer.message


# --- secrets and config maps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plural", "value"), [("secrets", "djE="), ("configmaps", "v1")])
async def test_values_need_keys_are_patched_and_deleted_by_label(api: Any, plural: str, value: str) -> None:
    at = f"{V1}/{plural}"
    assert (await api.post(at, {"metadata": {"name": "empty"}, "data": {"": value}})).status == 422
    await api.post(at, {"metadata": {"name": "x", "labels": {"e2e": "yes"}}, "data": {"k": value}})
    patched = await api.patch(f"{at}/x", {"data": {"l": value}, "metadata": {"labels": {"more": "1"}}}, "strategic")
    assert patched.body["data"] == {"k": value, "l": value}
    assert names(await api.get(f"/api/v1/{plural}?labelSelector=e2e%3Dyes,more%3D1")) == ["x"]
    assert (await api.delete(f"{at}?labelSelector=e2e%3Dyes")).status == 200
    assert names(await api.get(f"/api/v1/{plural}")) == []


# --- what is no list of objects ---------------------------------------------------------------------------------------


async def test_a_review_is_never_a_table() -> None:
    body = b'{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}'
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    async with every_kind() as server:
        asked = Request("POST", path, "", {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}, body)
        assert (await server(asked)).status == 406
        assert (await server(Request("POST", path, "", {}, body))).status == 201
