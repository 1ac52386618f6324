import json
from pathlib import Path
from typing import Any

import pytest

from kybern.api import core_v1
from kybern.api.custom import CustomObject
from kybern.api.kind import Kind
from kybern.api.kinds import KINDS
from kybern.apiserver.documents import OPENAPI_PROTOBUF, OPENAPI_PROTOBUF_OLD, Documents
from kybern.apiserver.openapi import gnostic, v2, v3
from kybern.apiserver.openapi.definitions import V2, Definitions, kind_of, name_of
from kybern.apiserver.openapi.descriptions import Descriptions
from kybern.registry.resource import Resource, Subresource
from kybern.web.http import Request, Response

SERVED = tuple(
    Resource(kind=kind, subresources=tuple(Subresource(name=p.name) for p in kind.subresources if p.name == "status"))
    for kind in KINDS
    if (kind.group, kind.version) in (("", "v1"), ("apps", "v1"))
)
CRON_TAB = Resource(
    kind=Kind(
        type=CustomObject, list_type=None, group="example.com", version="v1", kind="CronTab", plural="crontabs", namespaced=True,
        verbs=("get", "list", "post", "patch", "delete"),
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def swagger() -> dict[str, Any]:
    return v2.document([*SERVED, CRON_TAB], "v1.37.0")


@pytest.fixture(scope="module")
def core() -> dict[str, Any]:
    return v3.document([resource for resource in SERVED if not resource.kind.group], "v1.37.0")


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(item) for item in value.values()), set())
    if isinstance(value, list):
        return set().union(*map(references, value), set())
    return set()


def test_types_are_named_as_upstream_names_them() -> None:
    assert name_of(core_v1.Pod) == "io.k8s.api.core.v1.Pod"
    assert kind_of(core_v1.Pod) == {"group": "", "kind": "Pod", "version": "v1"}
    assert kind_of(core_v1.Container) is None


def test_every_reference_leads_to_a_definition(swagger: dict[str, Any], core: dict[str, Any]) -> None:
    assert {ref.removeprefix("#/definitions/") for ref in references(swagger)} <= set(swagger["definitions"])
    assert {ref.removeprefix("#/components/schemas/") for ref in references(core)} <= set(core["components"]["schemas"])


def test_a_definition_says_how_its_fields_merge(swagger: dict[str, Any]) -> None:
    spec = swagger["definitions"]["io.k8s.api.core.v1.PodSpec"]
    assert spec["required"] == ["containers"]
    containers = spec["properties"]["containers"]
    assert containers["type"] == "array"
    assert containers["items"] == {"$ref": "#/definitions/io.k8s.api.core.v1.Container"}
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-type"] == "map"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert swagger["definitions"]["io.k8s.api.core.v1.SecretKeySelector"]["x-kubernetes-map-type"] == "atomic"


def test_scalars_have_their_formats(swagger: dict[str, Any]) -> None:
    deployment = swagger["definitions"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]
    assert (deployment["replicas"]["type"], deployment["replicas"]["format"]) == ("integer", "int32")
    meta = swagger["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]
    assert meta["creationTimestamp"]["$ref"].endswith(".meta.v1.Time")
    secret = swagger["definitions"]["io.k8s.api.core.v1.Secret"]["properties"]
    assert secret["data"]["additionalProperties"] == {"type": "string", "format": "byte"}
    resources = swagger["definitions"]["io.k8s.api.core.v1.ResourceRequirements"]["properties"]
    assert resources["limits"]["additionalProperties"]["$ref"].endswith("resource.Quantity")


def test_an_object_knows_its_kind(swagger: dict[str, Any]) -> None:
    pod = swagger["definitions"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]
    assert pod["description"].startswith("Pod is a collection of containers")


def test_a_patch_takes_the_parameters_that_kubectl_looks_for(swagger: dict[str, Any], core: dict[str, Any]) -> None:
    old = swagger["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    new = core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    for operation in (old, new):
        named = {parameter["name"] for parameter in operation["parameters"]}
        assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= named
        assert operation["x-kubernetes-action"] == "patch"
    assert old["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert "application/apply-patch+yaml" in new["requestBody"]["content"]


def test_operations_have_upstreams_ids_and_each_its_own(swagger: dict[str, Any]) -> None:
    operations = [(path, op) for path, item in swagger["paths"].items() for op in item.values()]
    ids = [op["operationId"] for _, op in operations]
    assert len(ids) == len(set(ids))
    assert {"listCoreV1NamespacedPod", "readCoreV1NamespacedPod", "createAppsV1NamespacedDeployment", "listCoreV1PodForAllNamespaces",
            "deleteCoreV1CollectionNamespacedPod", "patchCoreV1NodeStatus", "readCoreV1Namespace"} <= set(ids)  # fmt: skip


def test_a_custom_resource_may_hold_anything(swagger: dict[str, Any]) -> None:
    definition = swagger["definitions"]["com.example.v1.CronTab"]
    assert definition.keys() == {"type", "x-kubernetes-group-version-kind"}
    assert "/apis/example.com/v1/namespaces/{namespace}/crontabs/{name}" in swagger["paths"]


def test_no_list_has_items_of_which_nothing_is_said() -> None:
    """`kubectl explain --recursive` stops at such a list."""
    swagger = v2.document([Resource(kind=kind) for kind in KINDS], "v1.37.0")
    lists = [
        f"{name}.{key}"
        for name, definition in swagger["definitions"].items()
        for key, property_ in definition.get("properties", {}).items()
        if property_.get("items") == {}
    ]
    assert lists == []
    parts = swagger["definitions"]["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"][
        "properties"
    ]
    assert parts["enum"]["items"]["$ref"].endswith(".v1.JSON")
    assert parts["items"]["$ref"].endswith(".v1.JSONSchemaPropsOrArray")


def test_a_reference_with_a_description_is_wrapped_in_openapi_3(core: dict[str, Any]) -> None:
    spec = core["components"]["schemas"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]
    assert spec["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    quantity = core["components"]["schemas"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    assert quantity["oneOf"] == [{"type": "string"}, {"type": "number"}]


def test_the_protobuf_form_says_the_same(swagger: dict[str, Any]) -> None:
    message = gnostic.messages()["Document"]()
    message.ParseFromString(gnostic.encoded(swagger))
    definitions = {named.name: named.value for named in message.definitions.additional_properties}
    assert definitions.keys() == swagger["definitions"].keys()
    spec = {
        named.name: named.value for named in definitions["io.k8s.api.core.v1.PodSpec"].properties.additional_properties
    }
    containers = spec["containers"]
    assert list(containers.type.value) == ["array"]
    assert getattr(containers.items.schema[0], "_ref") == "#/definitions/io.k8s.api.core.v1.Container"  # noqa: B009
    extensions = {named.name: named.value.yaml for named in containers.vendor_extension}
    assert extensions["x-kubernetes-patch-merge-key"] == "name\n"
    paths = {named.name: named.value for named in message.paths.path}
    patch = paths["/api/v1/namespaces/{namespace}/pods/{name}"].patch
    queries = {p.parameter.non_body_parameter.query_parameter_sub_schema.name for p in patch.parameters}
    assert "dryRun" in queries
    gvk = {named.name: named.value.yaml for named in patch.vendor_extension}["x-kubernetes-group-version-kind"]
    assert gvk == 'group: ""\nkind: Pod\nversion: v1\n'


def ask(path: str, accept: str = "application/json") -> Response:
    path, _, query = path.partition("?")
    found = Documents(lambda: SERVED).answer(Request("GET", path, query, {"accept": accept}))
    assert found is not None
    return found


@pytest.mark.parametrize("wanted", [OPENAPI_PROTOBUF, OPENAPI_PROTOBUF_OLD])
def test_old_clients_get_protobuf_by_either_name(wanted: str) -> None:
    response = ask("/openapi/v2", f"{wanted}, */*")
    assert response.headers["content-type"] == OPENAPI_PROTOBUF
    assert isinstance(response.body, bytes) and response.body.startswith(b"\x0a\x032.0")


def test_the_index_of_openapi_3_leads_to_documents_that_never_change() -> None:
    body = ask("/openapi/v3").body
    assert isinstance(body, bytes)
    address = json.loads(body)["paths"]["apis/apps/v1"]["serverRelativeURL"]
    assert address.startswith("/openapi/v3/apis/apps/v1?hash=")
    response = ask(address)
    assert response.status == 200
    assert "immutable" in response.headers["cache-control"]
    stale = ask("/openapi/v3/apis/apps/v1?hash=OLD")
    assert (stale.status, stale.headers["location"]) == (301, address)


def test_descriptions_flow_in_paragraphs_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "core_v1.py").write_text(
        'class Thing(DictMixin):\n    r"""A thing.\n\n      More of\n      it.\n\n      **parameters**\n\n'
        '      * **name** ``str`` - Its name,\n        in two lines.\n      * **from_** ``Optional[str]`` - Whence.\n    """\n'
    )
    found = Descriptions(tmp_path)
    assert found.of_type("core_v1", "Thing") == "A thing.\n\nMore of it."
    assert found.of_fields("core_v1", "Thing") == {"name": "Its name, in two lines.", "from": "Whence."}
    assert found.of_type("core_v1", "Other") == found.of_type("other_v1", "Thing") == ""


def test_without_descriptions_the_types_still_stand(tmp_path: Path) -> None:
    definitions = Definitions(V2, Descriptions(tmp_path)).complete([core_v1.ConfigMap])
    assert "description" not in definitions["io.k8s.api.core.v1.ConfigMap"]
    assert definitions["io.k8s.api.core.v1.ConfigMap"]["properties"]["data"]["type"] == "object"
