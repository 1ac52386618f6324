"""A definition becomes a kind that is served like any other, changes while it is, and goes with its objects."""

import asyncio
import copy
from typing import Any

import pytest
from custom_kinds import DEFINITIONS, SCHEMA, condition, definition, passes, serve, version, widget

from kybern.apiserver.customresources.serving import CustomResources

WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


async def test_a_definition_is_served_once_its_names_are_accepted(api: Any) -> None:
    found = await serve(api, definition(names={"shortNames": ["wd"], "categories": ["all"]}))
    assert condition(found, "NamesAccepted") == "True"
    assert found["status"]["acceptedNames"] == {
        "plural": "widgets", "singular": "widget", "shortNames": ["wd"], "kind": "Widget", "listKind": "WidgetList",
        "categories": ["all"],
    }  # fmt: skip
    assert found["status"]["storedVersions"] == ["v1"]
    listed = (await api.get("/apis/example.com/v1")).body["resources"]
    assert [(one["name"], one["shortNames"], one["categories"]) for one in listed] == [("widgets", ["wd"], ["all"])]
    groups = (await api.get("/apis")).body["groups"]
    assert "example.com" in [group["name"] for group in groups]


async def test_objects_are_created_read_changed_listed_and_deleted(api: Any) -> None:
    await serve(api, definition())
    made = await api.post(WIDGETS, widget())
    assert made.status == 201
    assert made.body["spec"] == {"size": 3, "color": "blue"}
    assert made.body["metadata"]["generation"] == 1
    assert made.body["metadata"]["namespace"] == "default"
    assert (await api.get(f"{WIDGETS}/a")).body == made.body
    changed = await api.patch(f"{WIDGETS}/a", {"spec": {"size": 4}})
    assert (changed.body["spec"]["size"], changed.body["metadata"]["generation"]) == (4, 2)
    labelled = await api.patch(f"{WIDGETS}/a", {"metadata": {"labels": {"x": "y"}}})
    assert labelled.body["metadata"]["generation"] == 2
    put = await api.put(f"{WIDGETS}/a", {**labelled.body, "spec": {"size": 5}})
    assert put.body["spec"] == {"size": 5, "color": "blue"}
    listed = (await api.get(f"{WIDGETS}?labelSelector=x%3Dy")).body
    assert (listed["kind"], len(listed["items"])) == ("WidgetList", 1)
    assert (await api.delete(f"{WIDGETS}/a")).status == 200
    assert (await api.get(f"{WIDGETS}/a")).status == 404


async def test_a_write_that_says_the_same_in_another_order_changes_nothing(api: Any) -> None:
    await serve(api, definition())
    made = (await api.post(WIDGETS, widget())).body
    again = {"spec": {"color": "blue", "size": 3}, "metadata": made["metadata"], "kind": "Widget"}
    put = await api.put(f"{WIDGETS}/a", {**again, "apiVersion": "example.com/v1"})
    assert put.body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_unknown_fields_are_pruned_and_told(api: Any) -> None:
    await serve(api, definition())
    made = await api.post(WIDGETS, {**widget(shape="round"), "extra": 1})
    assert "shape" not in made.body["spec"]
    assert "extra" not in made.body
    assert made.headers["Warning"] == '299 - "unknown field \\"spec.shape\\"", 299 - "unknown field \\"extra\\""'
    refused = await api.post(f"{WIDGETS}?fieldValidation=Strict", widget("b", shape="round"))
    assert refused.status == 400
    assert refused.message == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.shape"'
    )


async def test_what_the_schema_does_not_allow_is_refused_in_upstreams_words(api: Any) -> None:
    await serve(api, definition())
    wrong = widget(size=11, color="red", ports=[{"port": 2**40}, {"name": "x"}, {"name": "x"}])
    refused = await api.post(WIDGETS, wrong)
    assert refused.status == 422
    assert [cause["field"] + ": " + cause["message"] for cause in refused.body["details"]["causes"]] == [
        "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10",
        'spec.color: Unsupported value: "red": supported values: "blue", "green"',
        '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.ports[0].port',
        "spec.ports[0].name: Required value",
        'spec.ports[2]: Duplicate value: {"name":"x"}',
    ]
    missing = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {}}
    assert (await api.post(WIDGETS, missing)).message == 'Widget.example.com "a" is invalid: spec.size: Required value'


async def test_an_object_says_its_kind_and_version(api: Any) -> None:
    await serve(api, definition())
    nameless = {"metadata": {"name": "a"}, "spec": {"size": 1}}
    assert (await api.post(WIDGETS, nameless)).status == 400
    other = await api.post(WIDGETS, {**widget(), "kind": "Gadget"})
    assert other.message == 'Widget.example.com "a" is invalid: kind: Invalid value: "Gadget": must be Widget'
    wrong = await api.post(WIDGETS, widget(api_version="example.com/v2"))
    assert wrong.message == (
        "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)"
    )


async def test_metadata_is_typed_like_everywhere(api: Any) -> None:
    await serve(api, definition())
    bad = widget()
    bad["metadata"]["labels"] = {"a": 1}
    refused = await api.post(WIDGETS, bad)
    assert (refused.status, "json: cannot unmarshal number" in refused.message) == (400, True)
    bad["metadata"]["labels"] = {"a": "not valid!"}
    assert (await api.post(WIDGETS, bad)).status == 422


async def test_strategic_merge_is_no_language_for_custom_kinds(api: Any) -> None:
    await serve(api, definition())
    await api.post(WIDGETS, widget())
    assert (await api.patch(f"{WIDGETS}/a", {"spec": {"size": 4}}, "strategic")).status == 415


async def test_apply_merges_by_the_schema_and_tracks_owners(api: Any) -> None:
    await serve(api, definition())
    one = widget(ports=[{"name": "a", "port": 1}])
    made = await api.patch(f"{WIDGETS}/a?fieldManager=one", one, "apply")
    assert made.status == 201, made.body
    two = {**widget(ports=[{"name": "b", "port": 2}])}
    del two["spec"]["size"]
    both = await api.patch(f"{WIDGETS}/a?fieldManager=two", two, "apply")
    assert [port["name"] for port in both.body["spec"]["ports"]] == ["a", "b"]
    conflict = await api.patch(f"{WIDGETS}/a?fieldManager=two", widget(size=9), "apply")
    assert conflict.status == 409
    assert conflict.message == 'Apply failed with 1 conflict: conflict with "one": .spec.size'
    less = await api.patch(f"{WIDGETS}/a?fieldManager=one", widget(), "apply")
    assert [port["name"] for port in less.body["spec"]["ports"]] == ["b"]


async def test_watches_tell_of_custom_objects(api: Any) -> None:
    await serve(api, definition())
    revision = (await api.get(WIDGETS)).body["metadata"]["resourceVersion"]
    stream = await api.watch(f"{WIDGETS}?watch=true&resourceVersion={revision}")
    await api.post(WIDGETS, widget())
    await api.patch(f"{WIDGETS}/a", {"spec": {"size": 4}})
    await api.delete(f"{WIDGETS}/a")
    assert await stream.take(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    await stream.close()


async def test_defaults_that_make_more_of_an_object_than_can_be_stored_are_refused_before_they_are_written_out(
    api: Any,
) -> None:
    """Or left out, where they are younger than the object: three letters of each stand for a hundred thousand."""
    part = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = {"type": "object", "properties": {"spec": {"type": "array", "items": part}}}
    await serve(api, definition("widgets", "Widget", version(schema=schema)))
    few = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "few"}, "spec": [{}] * 10}
    many = {**few, "metadata": {"name": "many"}, "spec": [{}] * 10_000}
    assert (await api.post(WIDGETS, few)).status == (await api.post(WIDGETS, many)).status == 201
    part["properties"]["a"]["default"] = "x" * 100_000
    found = (await api.get(f"{DEFINITIONS}/widgets.example.com")).body
    found["spec"]["versions"] = [version(schema=schema)]
    assert (await api.put(f"{DEFINITIONS}/widgets.example.com", found)).status == 200
    async with asyncio.timeout(30):
        while (await api.get(f"{WIDGETS}/few")).body["spec"] != [{"a": "x" * 100_000}] * 10:
            await asyncio.sleep(0.01)  # a large definition is compiled beside the loop
    assert (await api.get(f"{WIDGETS}/many")).body["spec"] == [{}] * 10_000
    refused = await api.post(WIDGETS, {**many, "metadata": {"name": "more"}})
    assert (refused.status, refused.body["message"]) == (413, "Request entity too large: limit is 1572864")


async def test_a_new_schema_holds_at_once_and_defaults_reach_what_is_stored(api: Any) -> None:
    await serve(api, definition())
    await api.post(WIDGETS, widget())
    found = (await api.get(f"{DEFINITIONS}/widgets.example.com")).body
    spec = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["weight"] = {"type": "integer", "default": 7}
    del spec["color"]
    spec["size"]["maximum"] = 2
    assert (await api.put(f"{DEFINITIONS}/widgets.example.com", found)).status == 200
    await passes()
    assert (await api.get(f"{WIDGETS}/a")).body["spec"] == {"size": 3, "weight": 7}
    assert (await api.post(WIDGETS, widget("b"))).status == 422
    assert (await api.patch(f"{WIDGETS}/a", {"spec": {"weight": 8}})).status == 200  # what was wrong before may stay
    assert (await api.patch(f"{WIDGETS}/a", {"spec": {"size": 4}})).status == 422


async def test_a_watch_of_a_former_schema_ends_and_can_be_resumed(api: Any) -> None:
    await serve(api, definition())
    stream = await api.watch(f"{WIDGETS}?watch=true")
    await api.post(WIDGETS, widget())
    seen = await stream.next()
    found = (await api.get(f"{DEFINITIONS}/widgets.example.com")).body
    found["spec"]["versions"][0]["additionalPrinterColumns"] = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}
    ]
    await api.put(f"{DEFINITIONS}/widgets.example.com", found)
    await passes()
    assert await anext(stream.body, None) is None
    revision = seen["object"]["metadata"]["resourceVersion"]
    again = await api.watch(f"{WIDGETS}?watch=true&resourceVersion={revision}")
    await api.post(WIDGETS, widget("b"))
    assert await again.take(1) == [("ADDED", "b")]
    await again.close()


async def test_deleting_a_definition_deletes_its_objects_and_waits_for_their_finalizers(api: Any) -> None:
    await serve(api, definition())
    held = widget("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.post(WIDGETS, held)
    await api.post(WIDGETS, widget("free"))
    deleted = await api.delete(f"{DEFINITIONS}/widgets.example.com")
    assert deleted.status == 200
    await passes()
    found = (await api.get(f"{DEFINITIONS}/widgets.example.com")).body
    assert found["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert condition(found, "Terminating") == "True"
    assert [one["metadata"]["name"] for one in (await api.get(WIDGETS)).body["items"]] == ["held"]
    assert (await api.post(WIDGETS, widget("new"))).status == 405
    await api.patch(f"{WIDGETS}/held", {"metadata": {"finalizers": None}})
    await passes()
    assert (await api.get(f"{DEFINITIONS}/widgets.example.com")).status == 404
    assert (await api.get(WIDGETS)).status == 404
    assert "example.com" not in [group["name"] for group in (await api.get("/apis")).body["groups"]]
    assert not [key for key in api.store._log.entries if "/example.com/" in key]


async def test_a_name_that_another_has_is_refused_until_it_is_free(api: Any) -> None:
    await serve(api, definition("widgets", "Widget", names={"shortNames": ["w"]}))
    await api.post(DEFINITIONS, definition("wheels", "Widget", names={"shortNames": ["w"]}))
    await passes()
    found = (await api.get(f"{DEFINITIONS}/wheels.example.com")).body
    said = {one["type"]: one for one in found["status"]["conditions"]}
    assert said["NamesAccepted"]["reason"] == "ListKindConflict"
    assert said["NamesAccepted"]["message"] == '"WidgetList" is already in use'
    assert said["Established"]["status"] == "False"
    assert (await api.get("/apis/example.com/v1/wheels")).status == 404
    await api.delete(f"{DEFINITIONS}/widgets.example.com")
    await passes()
    found = (await api.get(f"{DEFINITIONS}/wheels.example.com")).body
    assert condition(found, "Established") == "True"


async def test_versions_show_the_same_objects_in_their_own_schema(api: Any) -> None:
    newer = copy.deepcopy(SCHEMA)
    newer["properties"]["spec"]["properties"]["mood"] = {"type": "string", "default": "good"}
    versions = (version("v1"), {**version("v2", newer), "storage": False})
    await serve(api, definition("widgets", "Widget", *versions))
    await api.post(WIDGETS, widget())
    as_v2 = (await api.get("/apis/example.com/v2/namespaces/default/widgets/a")).body
    assert (as_v2["apiVersion"], as_v2["spec"]["mood"]) == ("example.com/v2", "good")
    sent = {**widget("b", "example.com/v2", mood="bad")}
    made = await api.post("/apis/example.com/v2/namespaces/default/widgets", sent)
    assert made.body["spec"]["mood"] == "good"  # v1, in which it is stored, does not know moods
    assert (await api.get(f"{WIDGETS}/b")).body["apiVersion"] == "example.com/v1"


async def test_a_version_that_is_not_served_is_not_there(api: Any) -> None:
    await serve(
        api, definition("widgets", "Widget", version("v1"), {**version("v2"), "storage": False, "served": False})
    )
    assert (await api.get("/apis/example.com/v2/widgets")).status == 404


async def test_a_deprecated_version_warns(api: Any) -> None:
    await serve(api, definition("widgets", "Widget", version("v1", deprecated=True)))
    answer = await api.get(WIDGETS)
    assert answer.headers["Warning"] == '299 - "example.com/v1 Widget is deprecated"'


async def test_status_and_scale_are_parts_with_addresses_of_their_own(api: Any) -> None:
    paths = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    await serve(api, definition("widgets", "Widget", version(subresources={"status": {}, "scale": paths})))
    made = (await api.post(WIDGETS, {**widget(replicas=2), "status": {"replicas": 9}})).body
    assert "status" not in made
    status = {"replicas": 1, "selector": "a=b"}
    told = await api.put(f"{WIDGETS}/a/status", {**made, "spec": {"size": 9}, "status": status})
    assert (told.body["spec"]["size"], told.body["status"]) == (3, status)
    assert told.body["metadata"]["generation"] == 1
    scale = (await api.get(f"{WIDGETS}/a/scale")).body
    assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 2}, status)
    scaled = await api.patch(f"{WIDGETS}/a/scale", {"spec": {"replicas": 5}})
    assert scaled.body["spec"] == {"replicas": 5}
    found = (await api.get(f"{WIDGETS}/a")).body
    assert (found["spec"]["replicas"], found["metadata"]["generation"], found["status"]) == (5, 2, status)
    kept = await api.put(f"{WIDGETS}/a", {**found, "status": {"replicas": 77}})
    assert kept.body["status"] == status
    refused = await api.put(f"{WIDGETS}/a/status", {**found, "status": {"replicas": "many"}})
    assert refused.status == 422


async def test_columns_and_selectable_fields_are_the_definitions(api: Any) -> None:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ports", "type": "string", "jsonPath": ".spec.ports[*].name", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    fields = [{"jsonPath": ".spec.color"}]
    made = version(additionalPrinterColumns=columns, selectableFields=fields)
    await serve(api, definition("widgets", "Widget", made))
    await api.post(WIDGETS, widget(ports=[{"name": "x"}]))
    await api.post(WIDGETS, widget("b", color="green"))
    table = (await api.get(WIDGETS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size", "Ports", "Age"]
    described = "Custom resource definition column (in JSONPath format): .spec.size"
    assert [column["description"] for column in table["columnDefinitions"]][1] == described
    assert table["columnDefinitions"][0]["description"].startswith("Name must be unique")
    assert table["rows"][0]["cells"][:3] == ["a", 3, "x"]
    marked = f"{WIDGETS}?watch=true&allowWatchBookmarks=true&resourceVersion=0&labelSelector=no%3Dbody"
    stream = await api.watch(marked, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    (row,) = (await stream.next())["object"]["rows"]
    assert row["cells"] == ["", None, None, None]
    await stream.close()
    chosen = (await api.get(f"{WIDGETS}?fieldSelector=spec.color%3Dgreen")).body
    assert [one["metadata"]["name"] for one in chosen["items"]] == ["b"]
    assert (await api.get(f"{WIDGETS}?fieldSelector=spec.size%3D3")).status == 400


async def test_a_cluster_scoped_kind_has_no_namespace(api: Any) -> None:
    await serve(api, definition(scope="Cluster"))
    assert (await api.post("/apis/example.com/v1/widgets", widget())).status == 201
    assert (await api.get("/apis/example.com/v1/widgets/a")).body["metadata"].get("namespace") is None
    refused = await api.get("/apis/example.com/v1/widgets?fieldSelector=metadata.namespace%3Da")
    assert (refused.status, refused.message) == (400, "field label not supported: metadata.namespace")
    assert (await api.post(WIDGETS, widget("b"))).status == 404


async def test_protobuf_is_refused_in_words_that_clients_understand(api: Any) -> None:
    await serve(api, definition())
    await api.post(WIDGETS, widget())
    protobuf = "application/vnd.kubernetes.protobuf"
    assert (await api.get(WIDGETS, accept=protobuf)).status == 406
    both = await api.get(WIDGETS, accept=f"{protobuf},application/json")
    assert both.body["kind"] == "WidgetList"
    assert (await api.post(WIDGETS, b"k8s\0junk", content_type=protobuf)).status == 415


async def test_an_object_that_is_too_large_to_keep_is_refused(api: Any) -> None:
    """What etcd takes; so that no object can be so large that every later write of it holds the server up."""
    ports = [{"name": f"port-{number}"} for number in range(30_000)]
    await serve(api, definition())
    refused = await api.post(WIDGETS, widget("a", ports=ports))
    assert (refused.status, refused.message) == (413, "Request entity too large: limit is 1572864")
    assert (await api.get(WIDGETS)).body["items"] == []
    assert (await api.post(WIDGETS, widget("a", ports=ports[:1000]))).status == 201
    assert (await api.patch(f"{WIDGETS}/a", {"spec": {"ports": ports}})).status == 413
    assert len((await api.get(f"{WIDGETS}/a")).body["spec"]["ports"]) == 1000


async def test_objects_with_the_same_fields_own_what_is_in_each_of_them(api: Any) -> None:
    await serve(api, definition())
    for name, ports in (("a", [{"name": "web"}]), ("b", [{"name": "dns", "port": 53}]), ("c", [])):
        made = (await api.post(WIDGETS, widget(name, ports=ports))).body
        owned = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:ports"]
        steps = [f'k:{{"name":"{port["name"]}"}}' for port in ports]
        assert [step for step in owned if step != "."] == steps
        assert [("f:port" in owned[step]) for step in steps] == ["port" in port for port in ports]


async def test_a_definition_is_looked_at_when_it_changes_and_not_whenever_another_does(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    reconcile = CustomResources.reconcile

    async def noting(self: CustomResources, name: str) -> None:
        looks.append(name)
        await reconcile(self, name)

    monkeypatch.setattr(CustomResources, "reconcile", noting)
    for index in range(20):
        await api.post(DEFINITIONS, definition(f"w{index}s", f"W{index}"))
    for _ in range(20):
        await passes()
    assert len({*looks}) == 20 and len(looks) <= 3 * 20
    assert len((await api.get("/apis/example.com/v1")).body["resources"]) == 20
