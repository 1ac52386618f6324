"""POST: new objects, and everything that is refused."""

from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


async def test_a_created_object_gets_identity_from_the_server(api: Any, config_map: Any) -> None:
    answer = await api.post(CONFIG_MAPS, config_map)
    assert answer.status == 201
    meta = answer.body["metadata"]
    assert meta["namespace"] == "default"
    assert meta["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert meta["resourceVersion"] == "1"
    assert len(meta["uid"]) == 36
    assert (await api.get(f"{CONFIG_MAPS}/a")).body == answer.body


async def test_identity_that_is_sent_is_not_believed(api: Any, config_map: Any) -> None:
    config_map["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x"}
    meta = (await api.post(CONFIG_MAPS, config_map)).body["metadata"]
    assert meta["uid"] != "mine"
    assert meta["creationTimestamp"].startswith("2026")
    assert "selfLink" not in meta


async def test_the_second_creation_of_a_name_conflicts(api: Any, config_map: Any) -> None:
    await api.post(CONFIG_MAPS, config_map)
    answer = await api.post(CONFIG_MAPS, config_map)
    assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.message == 'configmaps "a" already exists'
    assert answer.body["details"] == {"name": "a", "kind": "configmaps"}


async def test_a_name_is_made_from_a_prefix(api: Any, config_map: Any) -> None:
    config_map["metadata"] = {"generateName": "run-"}
    names = [(await api.post(CONFIG_MAPS, config_map)).body["metadata"]["name"] for _ in range(3)]
    assert len(set(names)) == 3
    assert all(name.startswith("run-") and len(name) == 9 for name in names)


async def test_a_generated_name_that_exists_is_tried_again(api: Any, config_map: Any) -> None:
    taken = ["aaaaa", "aaaaa", "bbbbb"]
    api.server.machine.ids.suffix = lambda length: taken.pop(0)
    config_map["metadata"] = {"generateName": "run-"}
    first = await api.post(CONFIG_MAPS, config_map)
    second = await api.post(CONFIG_MAPS, config_map)
    assert [one.body["metadata"]["name"] for one in (first, second)] == ["run-aaaaa", "run-bbbbb"]


async def test_a_generated_name_is_cut_to_63_characters(api: Any, config_map: Any) -> None:
    config_map["metadata"] = {"generateName": "x" * 70}
    name = (await api.post(CONFIG_MAPS, config_map)).body["metadata"]["name"]
    assert len(name) == 63


async def test_an_object_without_a_name_is_invalid(api: Any, config_map: Any) -> None:
    del config_map["metadata"]["name"]
    answer = await api.post(CONFIG_MAPS, config_map)
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.message == (
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    )
    assert answer.body["details"]["causes"][0]["field"] == "metadata.name"


async def test_another_namespace_than_the_address_is_refused(api: Any, config_map: Any) -> None:
    config_map["metadata"]["namespace"] = "other"
    answer = await api.post(CONFIG_MAPS, config_map)
    assert answer.status == 400
    assert answer.message == "the namespace of the provided object does not match the namespace sent on the request"


async def test_a_resource_version_on_creation_is_refused(api: Any, config_map: Any) -> None:
    config_map["metadata"]["resourceVersion"] = "7"
    answer = await api.post(CONFIG_MAPS, config_map)
    assert (answer.status, answer.message) == (400, "resourceVersion should not be set on objects to be created")


async def test_a_dry_run_answers_and_writes_nothing(api: Any, config_map: Any) -> None:
    answer = await api.post(f"{CONFIG_MAPS}?dryRun=All", config_map)
    assert answer.status == 201
    assert answer.body["metadata"]["uid"]
    assert "resourceVersion" not in answer.body["metadata"]
    assert api.store.revision == 0


async def test_a_dry_run_of_an_existing_name_conflicts(api: Any, config_map: Any) -> None:
    await api.post(CONFIG_MAPS, config_map)
    assert (await api.post(f"{CONFIG_MAPS}?dryRun=All", config_map)).status == 409


async def test_an_unknown_dry_run_is_invalid(api: Any, config_map: Any) -> None:
    answer = await api.post(f"{CONFIG_MAPS}?dryRun=Some", config_map)
    assert answer.status == 422
    assert 'dryRun: Unsupported value: "Some": supported values: "All"' in answer.message


async def test_an_unknown_field_is_a_warning_by_default(api: Any, config_map: Any) -> None:
    config_map["spec"] = {}
    answer = await api.post(CONFIG_MAPS, config_map)
    assert answer.status == 201
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec\\""'


async def test_an_unknown_field_is_refused_when_strict(api: Any, config_map: Any) -> None:
    config_map["spec"] = {}
    answer = await api.post(f"{CONFIG_MAPS}?fieldValidation=Strict", config_map)
    assert answer.status == 400
    assert answer.message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "spec"'
    )
    assert api.store.revision == 0


async def test_an_unknown_field_is_passed_over_when_ignored(api: Any, config_map: Any) -> None:
    config_map["spec"] = {}
    answer = await api.post(f"{CONFIG_MAPS}?fieldValidation=Ignore", config_map)
    assert answer.status == 201
    assert "Warning" not in answer.headers
    assert "spec" not in answer.body


async def test_a_repeated_field_is_refused_when_strict(api: Any) -> None:
    body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","name":"b"}}'
    answer = await api.post(f"{CONFIG_MAPS}?fieldValidation=Strict", body)
    assert answer.status == 400
    assert 'duplicate field "metadata.name"' in answer.message


async def test_a_body_that_is_no_json_is_refused(api: Any) -> None:
    for body in (b"", b"{", b"[]", b"nonsense", b"\xff\xfe", b"7"):
        answer = await api.post(CONFIG_MAPS, body)
        assert (answer.status, answer.body["reason"]) == (400, "BadRequest"), body


async def test_a_body_of_the_wrong_type_is_refused(api: Any, config_map: Any) -> None:
    config_map["data"] = {"k": 7}
    answer = await api.post(CONFIG_MAPS, config_map)
    assert answer.status == 400
    assert answer.message.startswith(
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal'
    )


async def test_a_body_of_another_kind_is_refused(api: Any, config_map: Any) -> None:
    answer = await api.post(CONFIG_MAPS, config_map | {"kind": "Secret"})
    assert answer.status == 400


async def test_a_body_of_another_version_is_refused(api: Any, config_map: Any) -> None:
    answer = await api.post(CONFIG_MAPS, config_map | {"apiVersion": "v2"})
    assert answer.status == 400
    assert answer.message == (
        'ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" '
        'in scheme "pkg/api/legacyscheme/scheme.go:30"'
    )
    old = {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1", "metadata": {"name": "a"}}
    answer = await api.post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", old)
    assert answer.message == (
        "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
    )


async def test_a_body_of_another_kind_is_refused_in_upstreams_words(api: Any) -> None:
    answer = await api.post(CONFIG_MAPS, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}})
    assert answer.message == (
        'Pod in version "v1" cannot be handled as a ConfigMap: '
        "converting (v1.Pod) to (core.ConfigMap): unknown conversion"
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "unexpected end of JSON input (<empty>)"),
        (b"{", "unexpected end of JSON input ({)"),
        (b'{"kind":"ConfigMap"}trailing', "invalid character 't' after top-level value "
                                          '({"kind":"ConfigMap"}trailing)'),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair ({\"a\":1 \"b\":2})"),
        (b'{"kind":5}', 'json: cannot unmarshal number into Go struct field .kind of type string ({"kind":5})'),
    ],
)  # fmt: skip
async def test_a_body_that_cannot_say_its_kind_is_unrecognized(api: Any, body: bytes, why: str) -> None:
    answer = await api.post(CONFIG_MAPS, body)
    assert answer.message == (
        "the object provided is unrecognized (must be of type ConfigMap): "
        f"couldn't get version/kind; json parse error: {why}"
    )


async def test_null_is_an_object_without_a_name(api: Any) -> None:
    answer = await api.post(CONFIG_MAPS, b"null")
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "metadata.name")


async def test_a_body_need_not_say_what_it_is(api: Any) -> None:
    answer = await api.post(CONFIG_MAPS, {"metadata": {"name": "a"}})
    assert (answer.status, answer.body["kind"]) == (201, "ConfigMap")


async def test_a_body_may_be_yaml(api: Any) -> None:
    answer = await api.post(CONFIG_MAPS, b"metadata:\n  name: a\ndata: {k: v}\n", content_type="application/yaml")
    assert (answer.status, answer.body["data"]) == (201, {"k": "v"})


async def test_another_media_type_is_not_supported(api: Any) -> None:
    answer = await api.post(CONFIG_MAPS, b"<x/>", content_type="text/xml")
    assert (answer.status, answer.body["reason"]) == (415, "UnsupportedMediaType")
    assert answer.message.startswith("the body of the request was in an unknown format - accepted media types include:")


async def test_a_body_over_three_megabytes_is_too_large(api: Any) -> None:
    answer = await api.post(CONFIG_MAPS, b" " * (3 * 1024 * 1024 + 1))
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_deeply_nested_body_is_refused(api: Any) -> None:
    body = b'{"metadata":{"name":"a"},"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert (await api.post(CONFIG_MAPS, body)).status == 400


async def test_a_post_to_a_name_is_not_allowed(api: Any, config_map: Any) -> None:
    answer = await api.post(f"{CONFIG_MAPS}/a", config_map)
    assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed")
    assert answer.message == "the server does not allow this method on the requested resource"


async def test_an_unknown_resource_is_not_found(api: Any) -> None:
    answer = await api.post("/api/v1/namespaces/default/nothings", {})
    assert (answer.status, answer.message) == (404, "the server could not find the requested resource")


async def test_a_cluster_scoped_object_has_no_namespace(api: Any) -> None:
    answer = await api.post("/api/v1/namespaces", {"metadata": {"name": "a"}})
    assert answer.status == 201
    assert "namespace" not in answer.body["metadata"]
    assert (await api.get("/api/v1/namespaces/a")).status == 200


async def test_the_generation_begins_at_one_where_it_is_counted(api: Any) -> None:
    body = {
        "metadata": {"name": "a"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }
    answer = await api.post("/apis/apps/v1/namespaces/default/deployments", body)
    assert (answer.status, answer.body["metadata"]["generation"]) == (201, 1)
