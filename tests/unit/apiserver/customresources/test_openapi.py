"""What upstream's conformance tests of CustomResourcePublishOpenAPI ask, and the same of OpenAPI 3."""

import copy
from typing import Any

from custom_kinds import DEFINITIONS, definition, passes, serve, version

from kybern.apiserver.documents import OPENAPI_PROTOBUF
from kybern.apiserver.openapi import gnostic

FOO = {
    "description": "Foo CRD for Testing",
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Foo",
            "properties": {
                "bars": {
                    "description": "List of Bars and their specs.",
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"description": "Name of Bar.", "type": "string"},
                            "age": {"description": "Age of Bar.", "type": "string", "maxLength": 3},
                            "feeling": {"type": "string", "enum": ["Great", "Down"]},
                        },
                    },
                },
                "count": {"x-kubernetes-int-or-string": True},
                "maybe": {"type": "string", "nullable": True},
            },
            "required": ["maybe"],
        }
    },
}
REST = {
    "type": "object",
    "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": "Free"}},
}
EVERYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": "Anything"}


async def swagger(api: Any) -> dict[str, Any]:
    answer = await api.get("/openapi/v2", accept="application/json")
    found: dict[str, Any] = answer.body
    return found


def own(found: dict[str, Any]) -> dict[str, Any]:
    """A published schema without what every object has."""
    kept = copy.deepcopy(found)
    kept.pop("x-kubernetes-group-version-kind", None)
    for name in ("apiVersion", "kind", "metadata"):
        kept.get("properties", {}).pop(name, None)
    return kept


def names(found: dict[str, Any]) -> set[str]:
    return {name for name in found["definitions"] if name.startswith("com.example")}


async def test_a_schema_is_published_as_it_was_written(api: Any) -> None:
    await serve(api, definition("foos", "Foo", version(schema=FOO)))
    found = (await swagger(api))["definitions"]["com.example.v1.Foo"]
    assert found["x-kubernetes-group-version-kind"] == [{"group": "example.com", "kind": "Foo", "version": "v1"}]
    assert found["properties"]["metadata"]["$ref"] == "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    wanted = copy.deepcopy(FOO)
    spec: Any = wanted["properties"]["spec"]  # type: ignore[index]
    spec["properties"]["maybe"] = {}  # OpenAPI 2 has no null
    del spec["required"]
    assert own(found) == wanted
    listed = (await swagger(api))["definitions"]["com.example.v1.FooList"]
    assert listed["properties"]["items"]["items"] == {"$ref": "#/definitions/com.example.v1.Foo"}


async def test_where_anything_may_stand_nothing_is_said(api: Any) -> None:
    await serve(api, definition("foos", "Foo", version(schema=EVERYTHING)))
    await serve(api, definition("bars", "Bar", version(schema=REST)))
    found = (await swagger(api))["definitions"]
    assert found["com.example.v1.Foo"].keys() == {"type", "x-kubernetes-group-version-kind"}
    spec = found["com.example.v1.Bar"]["properties"]["spec"]
    assert spec == {"description": "Free", "x-kubernetes-preserve-unknown-fields": True}


async def test_an_embedded_object_has_metadata(api: Any) -> None:
    inner = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}}
    schema = {"type": "object", "properties": {"template": inner}}
    await serve(api, definition("foos", "Foo", version(schema=schema)))
    template = (await swagger(api))["definitions"]["com.example.v1.Foo"]["properties"]["template"]
    assert template["properties"].keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert template["properties"]["apiVersion"]["description"].startswith("APIVersion defines")  # upstream's suite asks
    assert template["required"] == ["kind", "apiVersion"]


async def test_groups_versions_and_kinds_are_published_beside_each_other(api: Any) -> None:
    await serve(api, definition("foos", "Foo", version("v1"), {**version("v2"), "storage": False}))
    await serve(api, definition("bars", "Bar", version("v1")))
    await serve(api, definition("foos", "Foo", version("v5"), group="other.example.com"))
    found = names(await swagger(api))
    assert {"com.example.v1.Foo", "com.example.v2.Foo", "com.example.v1.Bar", "com.example.other.v5.Foo"} <= found


async def test_what_is_no_longer_served_is_no_longer_published(api: Any) -> None:
    made = await serve(api, definition("foos", "Foo", version("v1"), {**version("v2"), "storage": False}))
    made["spec"]["versions"][1]["served"] = False
    await api.put(f"{DEFINITIONS}/foos.example.com", made)
    await passes()
    assert names(await swagger(api)) == {"com.example.v1.Foo", "com.example.v1.FooList"}
    await api.delete(f"{DEFINITIONS}/foos.example.com")
    await passes()
    assert names(await swagger(api)) == set()


async def test_a_version_that_is_renamed_is_published_under_its_new_name(api: Any) -> None:
    await serve(api, definition("foos", "Foo", version("v2"), {**version("v3"), "storage": False}))
    renamed = await api.patch(
        f"{DEFINITIONS}/foos.example.com", [{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}], "json"
    )
    assert renamed.status == 200, renamed.body
    await passes()
    assert names(await swagger(api)) >= {"com.example.v2.Foo", "com.example.v4.Foo"}
    assert "com.example.v3.Foo" not in names(await swagger(api))


async def test_a_changed_schema_is_another_document(api: Any) -> None:
    made = await serve(api, definition("foos", "Foo", version(schema=FOO)))
    before = await api.get("/openapi/v2", accept="application/json")
    again = await api.get("/openapi/v2", accept="application/json", if_none_match=before.headers["etag"])
    assert again.status == 304
    index = (await api.get("/openapi/v3")).body["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["description"] = "Other"
    await api.put(f"{DEFINITIONS}/foos.example.com", made)
    await passes()
    after = await api.get("/openapi/v2", accept="application/json", if_none_match=before.headers["etag"])
    assert (after.status, after.headers["etag"] != before.headers["etag"]) == (200, True)
    assert (await api.get("/openapi/v3")).body["paths"]["apis/example.com/v1"]["serverRelativeURL"] != index


async def test_openapi_3_keeps_what_openapi_2_cannot_say(api: Any) -> None:
    await serve(api, definition("foos", "Foo", version(schema=FOO, selectableFields=[{"jsonPath": ".spec.maybe"}])))
    document = (await api.get("/openapi/v3/apis/example.com/v1")).body
    found = document["components"]["schemas"]["com.example.v1.Foo"]
    spec = found["properties"]["spec"]
    assert spec["properties"]["maybe"] == {"type": "string", "nullable": True}
    assert spec["properties"]["count"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert found["x-kubernetes-selectable-fields"] == [{"fieldPath": "spec.maybe"}]
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/foos/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]


async def test_the_protobuf_form_has_custom_kinds(api: Any) -> None:
    await serve(api, definition("foos", "Foo", version(schema=FOO)))
    answer = await api.get("/openapi/v2", accept=OPENAPI_PROTOBUF)
    message = gnostic.messages()["Document"]()
    message.ParseFromString(answer.raw)
    found = {named.name: named.value for named in message.definitions.additional_properties}["com.example.v1.Foo"]
    spec = {named.name: named.value for named in found.properties.additional_properties}["spec"]
    bars = {named.name: named.value for named in spec.properties.additional_properties}["bars"]
    fields = {named.name: named.value for named in bars.items.schema[0].properties.additional_properties}
    assert (fields["age"].max_length, [choice.yaml for choice in fields["feeling"].enum]) == (3, ["Great\n", "Down\n"])
