import json
import re
from typing import Any

import pytest

from kybern.api import core_v1
from kybern.api.kind import Kind
from kybern.api.kinds import KINDS
from kybern.apiserver import discovery
from kybern.apiserver.documents import AGGREGATED, Documents
from kybern.registry.resource import Resource, Subresource
from kybern.registry.resources import RESOURCES as SERVED
from kybern.web.http import Request, Response

SCALE = Kind(
    type=dict, list_type=None, group="autoscaling", version="v1", kind="Scale", plural="", namespaced=True, verbs=()
)
RESOURCES = tuple(
    Resource(
        kind=kind,
        short_names=("po",) if kind.type is core_v1.Pod else (),
        categories=("all",) if kind.type is core_v1.Pod else (),
        subresources=(
            *(Subresource(name=part.name) for part in kind.subresources if part.name == "status"),
            *(Subresource(name="scale", kind=SCALE) for part in kind.subresources if part.name == "scale"),
        ),
    )
    for kind in KINDS
)


def ask(
    path: str, accept: str = "application/json", documents: Documents | None = None, **headers: str
) -> Response | None:
    found = documents or Documents(lambda: RESOURCES, lambda: "127.0.0.1:6443")
    path, _, query = path.partition("?")
    return found.answer(
        Request("GET", path, query, {"accept": accept, **{k.replace("_", "-"): v for k, v in headers.items()}})
    )


def value(path: str, accept: str = "application/json") -> Any:
    response = ask(path, accept)
    assert response is not None and response.status == 200
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def test_the_core_group_has_its_own_root() -> None:
    found = value("/api")
    assert found["kind"] == "APIVersions"
    assert found["versions"] == ["v1"]
    assert found["serverAddressByClientCIDRs"] == [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}]


def test_groups_come_in_upstreams_order_with_the_newest_stable_version_preferred() -> None:
    groups = value("/apis")["groups"]
    assert [group["name"] for group in groups][:2] == ["apiregistration.k8s.io", "apps"]
    autoscaling = next(group for group in groups if group["name"] == "autoscaling")
    assert [version["version"] for version in autoscaling["versions"]] == ["v2", "v1"]
    assert autoscaling["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    assert value("/apis/autoscaling") == {"kind": "APIGroup", "apiVersion": "v1", **autoscaling}


def test_a_resource_is_listed_with_its_names_verbs_and_parts() -> None:
    listed = {item["name"]: item for item in value("/api/v1")["resources"]}
    assert listed["pods"] == {
        "name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "shortNames": ["po"], "categories": ["all"],
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "storageVersionHash": "xPOwRZ+Yhw8=",
    }  # fmt: skip
    assert listed["pods/status"] == {
        "name": "pods/status", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get", "patch", "update"],
    }  # fmt: skip
    assert listed["namespaces"]["namespaced"] is False


def test_a_part_of_another_kind_says_so() -> None:
    listed = {item["name"]: item for item in value("/apis/apps/v1")["resources"]}
    scale = listed["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_everything_comes_in_one_document_when_asked_for(version: str) -> None:
    type_ = AGGREGATED[version]
    response = ask("/apis", f"{type_},application/json")
    assert response is not None
    assert response.headers["content-type"] == type_
    found = value("/apis", f"{type_},application/json")
    assert found["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    apps = next(item for item in found["items"] if item["metadata"]["name"] == "apps")
    deployments = next(r for r in apps["versions"][0]["resources"] if r["resource"] == "deployments")
    assert deployments["responseKind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert deployments["scope"] == "Namespaced"
    assert [part["subresource"] for part in deployments["subresources"]] == ["scale", "status"]
    core = value("/api", type_)["items"]
    assert [item["versions"][0]["version"] for item in core] == ["v1"]
    assert "name" not in core[0]["metadata"]


def test_the_clients_first_wish_that_exists_wins() -> None:
    wishes = f"application/vnd.kubernetes.protobuf, {AGGREGATED['v2beta1']}, application/json"
    assert value("/apis", wishes)["apiVersion"] == "apidiscovery.k8s.io/v2beta1"
    assert value("/apis", f"application/json,{AGGREGATED['v2']}")["kind"] == "APIGroupList"
    assert value("/apis", "")["kind"] == "APIGroupList"


@pytest.mark.parametrize(
    "path", ["/apis/nothing", "/apis/apps/v9", "/api/v2", "/openapi/v3/apis/nothing/v1", "/healthz", "/apis/a/b/c"]
)
def test_a_path_that_is_no_document_has_no_answer(path: str) -> None:
    assert ask(path) is None


def test_only_reading_is_answered() -> None:
    assert Documents(lambda: RESOURCES).answer(Request("POST", "/apis")) is None


def test_the_version_is_one_that_clients_can_read() -> None:
    found = value("/version")
    assert (found["major"], found["minor"], found["gitVersion"]) == ("1", "37", "v1.37.0+kybern")
    assert re.fullmatch("[0-9a-f]{40}", found["gitCommit"])
    assert found["platform"].startswith("linux/")


def test_what_a_client_has_is_not_sent_again() -> None:
    first = ask("/apis")
    assert first is not None
    again = ask("/apis", if_none_match=first.headers["etag"])
    assert again is not None
    assert (again.status, again.body) == (304, b"")


def test_documents_are_kept_until_the_resources_change() -> None:
    served: list[Resource] = list(RESOURCES)
    documents = Documents(lambda: served)
    before = ask("/apis", documents=documents)
    served.clear()
    assert ask("/apis", documents=documents) is before
    documents.invalidate()
    after = ask("/apis", documents=documents)
    assert after is not None and isinstance(after.body, bytes)
    assert json.loads(after.body)["groups"] == []


def test_versions_are_ordered_stable_before_beta_before_alpha() -> None:
    versions = ["v1alpha1", "v2beta1", "v1", "v10", "v1beta2", "odd", "v2"]
    assert sorted(versions, key=discovery.version_order) == ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "odd"]


def test_the_root_lists_paths() -> None:
    assert {"/api/v1", "/apis/apps/v1", "/openapi/v3", "/version"} <= set(value("/")["paths"])


def test_what_is_stored_has_the_hash_of_the_version_that_it_is_stored_in() -> None:
    def hashes(group: str, version: str) -> dict[str, str | None]:
        document = discovery.resource_list(group, version, SERVED)
        assert document is not None
        return {found["name"]: found.get("storageVersionHash") for found in document["resources"]}

    core = hashes("", "v1")
    assert (core["pods"], core["configmaps"]) == ("xPOwRZ+Yhw8=", "qFsyl6wFWjQ="), "as upstream's"
    assert core["pods/status"] is core["bindings"] is core["componentstatuses"] is None
    assert hashes("events.k8s.io", "v1")["events"] == core["events"] == "r2yiGXH7wu8="
