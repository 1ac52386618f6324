"""What upstream's conformance tests ask of definitions, discovery, field selectors and field validation, one by one."""

import json
from typing import Any

from custom_kinds import DEFINITIONS, condition, definition, passes, serve, version, widget

WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
EMBEDDED = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"inner": {**ANYTHING, "x-kubernetes-embedded-resource": True}}},
    },
}
STRICT = "fieldManager=m&fieldValidation=Strict"


async def test_definitions_are_watched_and_made_and_deleted(api: Any) -> None:
    stream = await api.watch(f"{DEFINITIONS}?watch=true")
    await serve(api, definition())
    assert (await stream.take(1)) == [("ADDED", "widgets.example.com")]
    assert (await api.delete(f"{DEFINITIONS}/widgets.example.com")).status == 200
    await passes()
    while (event := await stream.next())["type"] != "DELETED":
        assert event["object"]["kind"] == "CustomResourceDefinition"
    assert (await api.get(f"{DEFINITIONS}/widgets.example.com")).status == 404
    await stream.close()


async def test_definitions_are_listed_and_deleted_by_label(api: Any) -> None:
    for number in range(10):
        wanted = definition(f"things{number}", f"Thing{number}")
        wanted["metadata"]["labels"] = {"batch": "ten"}
        await serve(api, wanted)
    await serve(api, definition())
    listed = (await api.get(f"{DEFINITIONS}?labelSelector=batch%3Dten")).body["items"]
    assert len(listed) == 10
    assert (await api.delete(f"{DEFINITIONS}?labelSelector=batch%3Dten")).status == 200
    await passes()
    assert (await api.get(f"{DEFINITIONS}?labelSelector=batch%3Dten")).body["items"] == []
    assert len((await api.get(DEFINITIONS)).body["items"]) == 1


async def test_the_status_of_a_definition_is_read_replaced_and_patched(api: Any) -> None:
    await serve(api, definition())
    url = f"{DEFINITIONS}/widgets.example.com/status"
    found = (await api.get(url)).body
    assert condition(found, "Established") == "True"
    told = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"}
    found["status"]["conditions"].append(told)
    found["spec"]["group"] = "other.example.com"
    assert condition((await api.put(url, found)).body, "StatusUpdate") == "True"
    patched = await api.patch(url, {"metadata": {"annotations": {"x": "y"}}, "status": {"storedVersions": ["v1"]}})
    assert (patched.status, patched.body["spec"]["group"]) == (200, "example.com")


async def test_discovery_names_definitions_and_what_they_define(api: Any) -> None:
    await serve(api, definition("widgets", "Widget", version(subresources={"status": {}})))
    groups = {group["name"]: group for group in (await api.get("/apis")).body["groups"]}
    assert groups["apiextensions.k8s.io"]["preferredVersion"]["version"] == "v1"
    assert (await api.get("/apis/example.com")).body["preferredVersion"]["groupVersion"] == "example.com/v1"
    own = (await api.get("/apis/apiextensions.k8s.io/v1")).body["resources"]
    assert "customresourcedefinitions" in [one["name"] for one in own]
    answer = await api.get("/apis", accept=AGGREGATED)
    (found,) = [group for group in answer.body["items"] if group["metadata"]["name"] == "example.com"]
    (resource,) = found["versions"][0]["resources"]
    assert (resource["resource"], resource["scope"]) == ("widgets", "Namespaced")
    assert resource["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert [part["subresource"] for part in resource["subresources"]] == ["status"]
    await api.delete(f"{DEFINITIONS}/widgets.example.com")
    await passes()
    again = await api.get("/apis", accept=AGGREGATED)
    assert "example.com" not in [group["metadata"]["name"] for group in again.body["items"]]


async def test_a_watch_by_fields_sees_objects_come_into_the_selection_and_leave_it(api: Any) -> None:
    made = version(selectableFields=[{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}])
    await serve(api, definition("widgets", "Widget", made))
    stream = await api.watch(f"{WIDGETS}?watch=true&fieldSelector=spec.color%3Dgreen,spec.size%3D3")
    await api.post(WIDGETS, widget("a"))
    await api.post(WIDGETS, widget("b", color="green"))
    assert await stream.take(1) == [("ADDED", "b")]
    await api.patch(f"{WIDGETS}/a", {"spec": {"color": "green"}})
    assert await stream.take(1) == [("ADDED", "a")]
    await api.patch(f"{WIDGETS}/b", {"spec": {"size": 4}})
    assert await stream.take(1) == [("DELETED", "b")]
    await api.delete(f"{WIDGETS}/a")
    assert await stream.take(1) == [("DELETED", "a")]
    await stream.close()


async def test_objects_of_a_cluster_wide_kind_are_watched_by_their_names(api: Any) -> None:
    await serve(api, definition("widgets", "Widget", scope="Cluster"))
    widgets = "/apis/example.com/v1/widgets"
    since = (await api.get(widgets)).body["metadata"]["resourceVersion"]
    watched = f"{widgets}?watch=true&resourceVersion={since}&fieldSelector=metadata.name%3D"
    streams = {name: await api.watch(watched + name) for name in "ab"}
    for name in "ab":
        await api.post(widgets, widget(name))
        await api.patch(f"{widgets}/{name}", {"spec": {"size": 4}})
        await api.delete(f"{widgets}/{name}")
    for name, stream in streams.items():
        assert await stream.take(3) == [("ADDED", name), ("MODIFIED", name), ("DELETED", name)]
        await stream.close()


# --- field validation -------------------------------------------------------------------------------------------------


async def test_any_field_is_applied_where_the_schema_keeps_unknown_ones(api: Any) -> None:
    await serve(api, definition("widgets", "Widget", version(schema=ANYTHING)))
    made = await api.patch(f"{WIDGETS}/a?{STRICT}", widget("a", shape={"round": True}), how="apply")
    assert (made.status, made.body["spec"]["shape"]) == (201, {"round": True})
    assert (await api.post(f"{WIDGETS}?{STRICT}", {**widget("b"), "more": 1})).status == 201


async def test_what_fits_is_applied_and_what_is_too_much_is_refused(api: Any) -> None:
    await serve(api, definition())
    fits = await api.patch(f"{WIDGETS}/a?{STRICT}", widget("a", color="green"), how="apply")
    assert fits.status == 201
    refused = await api.patch(f"{WIDGETS}/a?{STRICT}", widget("a", shape="round"), how="apply")
    assert ".spec.shape: field not declared in schema" in refused.message
    refused = await api.post(f"{WIDGETS}?{STRICT}", widget("b", shape="round"))
    assert 'strict decoding error: unknown field "spec.shape"' in refused.message


async def test_a_field_that_stands_twice_is_told_though_unknown_ones_are_kept(api: Any) -> None:
    await serve(api, definition("widgets", "Widget", version(schema=ANYTHING)))
    twice = json.dumps(widget("a", one=1)).replace('"one": 1', '"one": 1, "one": 2').encode()
    refused = await api.post(f"{WIDGETS}?{STRICT}", twice)
    assert refused.status == 400
    assert 'strict decoding error: duplicate field "spec.one"' in refused.message
    warned = await api.post(f"{WIDGETS}?fieldValidation=Warn", twice)
    assert (warned.status, 'duplicate field \\"spec.one\\"' in warned.headers["Warning"]) == (201, True)
    assert (await api.post(f"{WIDGETS}?{STRICT}", widget("b", one=1, other=2))).status == 201


async def test_unknown_metadata_is_told_at_the_root_and_in_embedded_objects(api: Any) -> None:
    await serve(api, definition("widgets", "Widget", version(schema=EMBEDDED)))
    inner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "unknownSub": "s"}}
    sent = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "unknownMeta": "u"}}
    refused = await api.post(f"{WIDGETS}?{STRICT}", {**sent, "spec": {"inner": inner}})
    assert refused.status == 400
    for place in ("metadata.unknownMeta", "spec.inner.metadata.unknownSub"):
        assert f'unknown field "{place}"' in refused.message
    made = await api.post(f"{WIDGETS}?fieldValidation=Ignore", {**sent, "spec": {"inner": inner}})
    assert (made.status, made.headers.get("Warning")) == (201, None)
    assert made.body["spec"]["inner"]["metadata"] == {"name": "x"}
