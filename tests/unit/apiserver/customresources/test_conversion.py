"""Conversion webhooks: a real HTTPS server makes `hostPort` of `host` and `port`, and back."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from custom_kinds import DEFINITIONS, definition, passes, serve, version
from webhooks import HookServer, hook_server, review_of

from kybern.api.codec import encode
from kybern.apiserver.customresources import feed
from kybern.web.http import Request, Response

V1, V2 = "/apis/example.com/v1/namespaces/default/links", "/apis/example.com/v2/namespaces/default/links"


def schema(**fields: str) -> dict[str, Any]:
    spec = {"type": "object", "properties": {name: {"type": type_} for name, type_ in fields.items()}}
    return {"type": "object", "properties": {"spec": spec}}


def link(name: str, api_version: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{api_version}", "kind": "Link", "metadata": {"name": name}, "spec": spec}


def converted(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
    spec = dict(obj["spec"])
    if wanted.endswith("v2") and "hostPort" in spec:
        host, _, port = spec.pop("hostPort").partition(":")
        spec |= {"host": host, "port": port}
    elif wanted.endswith("v1") and "host" in spec:
        spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port')}"
    return {**obj, "apiVersion": wanted, "spec": spec}


class Converter:
    """Answers reviews, unless told to do worse."""

    def __init__(self) -> None:
        self.fails = ""
        self.change: Any = lambda obj: obj
        self.meanwhile: Any = None

    async def __call__(self, request: Request) -> Response:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        review = review_of(request)
        asked = review["request"]
        objects = [self.change(converted(obj, asked["desiredAPIVersion"])) for obj in asked["objects"]]
        result = {"status": "Failed", "message": self.fails} if self.fails else {"status": "Success"}
        response = {"uid": asked["uid"], "convertedObjects": objects, "result": result}
        return Response(200, {"content-type": "application/json"}, encode({**review, "response": response}))


@asynccontextmanager
async def links(api: Any, selectable: Any = None, **more: Any) -> AsyncIterator[tuple[Converter, HookServer]]:
    converter = Converter()
    async with hook_server(converter) as hooks:
        versions = (
            version("v1", schema(hostPort="string")),
            {**version("v2", schema(host="string", port="string")), "storage": False},
        )
        webhook = {
            "clientConfig": hooks.client_config("/convert"),
            "conversionReviewVersions": ["v1", "v1beta1"],
            **more,
        }
        for made in versions if selectable else ():
            made["selectableFields"] = selectable[made["name"]]
        await serve(api, definition("links", "Link", *versions, conversion={"strategy": "Webhook", "webhook": webhook}))
        yield converter, hooks


async def test_an_object_is_read_and_written_in_either_version(api: Any) -> None:
    async with links(api) as (_, hooks):
        assert (await api.post(V1, link("a", "v1", hostPort="here:80"))).status == 201
        assert (await api.get(f"{V2}/a")).body["spec"] == {"host": "here", "port": "80"}
        made = await api.post(V2, link("b", "v2", host="there", port="81"))
        assert (made.status, made.body["apiVersion"]) == (201, "example.com/v2")
        assert (await api.get(f"{V1}/b")).body["spec"] == {"hostPort": "there:81"}
        changed = await api.patch(f"{V2}/b", {"spec": {"port": "82"}})
        assert changed.body["spec"] == {"host": "there", "port": "82"}
        assert (await api.get(f"{V1}/b")).body["spec"] == {"hostPort": "there:82"}
        assert (await api.delete(f"{V2}/a")).status == 200
        review = hooks.reviews[0]
        assert (review["kind"], review["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
        assert review["request"]["desiredAPIVersion"] == "example.com/v2"


async def test_the_defaults_of_a_version_are_filled_in_beside_the_loop(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def noting(obj: Any) -> bytes:
        threads.append(threading.get_ident())
        return encode(obj)

    monkeypatch.setattr(feed, "encode", noting)
    async with links(api):
        await api.post(V1, link("a", "v1", hostPort="here:80"))
        assert [one["spec"]["port"] for one in (await api.get(V2)).body["items"]] == ["80"]
    assert threads and threading.get_ident() not in threads


async def test_a_list_mixes_what_is_stored_in_several_versions(api: Any) -> None:
    async with links(api) as (_, hooks):
        await api.post(V1, link("old", "v1", hostPort="here:80"))
        found = (await api.get(f"{DEFINITIONS}/links.example.com")).body
        found["spec"]["versions"][0]["storage"], found["spec"]["versions"][1]["storage"] = False, True
        assert (await api.put(f"{DEFINITIONS}/links.example.com", found)).status == 200
        await passes()
        await api.post(V2, link("new", "v2", host="there", port="81"))
        assert (await api.get(f"{DEFINITIONS}/links.example.com")).body["status"]["storedVersions"] == ["v1", "v2"]
        asked = len(hooks.reviews)
        for address, specs in (
            (V1, [{"hostPort": "there:81"}, {"hostPort": "here:80"}]),
            (V2, [{"host": "there", "port": "81"}, {"host": "here", "port": "80"}]),
        ):
            assert [one["spec"] for one in (await api.get(address)).body["items"]] == specs
        for review in hooks.reviews[asked:]:
            versions = {obj["apiVersion"] for obj in review["request"]["objects"]}
            assert review["request"]["desiredAPIVersion"] not in versions


async def test_watches_tell_of_changes_in_their_own_version(api: Any) -> None:
    async with links(api):
        stream = await api.watch(f"{V2}?watch=true")
        await api.post(V1, link("a", "v1", hostPort="here:80"))
        event = await stream.next()
        assert (event["type"], event["object"]["spec"]) == ("ADDED", {"host": "here", "port": "80"})
        await api.patch(f"{V1}/a", {"spec": {"hostPort": "here:81"}})
        assert (await stream.next())["object"]["spec"] == {"host": "here", "port": "81"}
        await stream.close()


async def test_a_list_tells_how_far_it_has_come_so_that_a_watch_from_there_misses_nothing(api: Any) -> None:
    """While the webhook is asked about one object, another is written: the list is older than the store then."""
    async with links(api) as (converter, _):
        made = {}

        async def another() -> None:
            made["b"] = await api.post(V1, link("b", "v1", hostPort="here:81"))

        converter.meanwhile = another
        await api.post(V1, link("a", "v1", hostPort="here:80"))
        listed = (await api.get(V2)).body
        assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
        since = listed["metadata"]["resourceVersion"]
        assert int(since) < int(made["b"].body["metadata"]["resourceVersion"])
        stream = await api.watch(f"{V2}?watch=true&resourceVersion={since}")
        assert await stream.take(1) == [("ADDED", "b")]
        await stream.close()


async def test_a_webhook_that_fails_is_told_of_and_asked_again(api: Any) -> None:
    async with links(api) as (converter, _):
        await api.post(V1, link("a", "v1", hostPort="here:80"))
        converter.fails = "no idea"
        said = "conversion webhook for example.com/v1, Kind=Link failed: no idea"
        for answer in (
            await api.get(V2),
            await api.get(f"{V2}/a"),
            await api.patch(f"{V2}/a", {"spec": {"port": "1"}}),
        ):
            assert (answer.status, answer.message) == (500, said)
        assert (await api.get(V1)).status == 200
        converter.fails = ""
        assert [one["spec"]["port"] for one in (await api.get(V2)).body["items"]] == ["80"]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (
            lambda obj: {**obj, "apiVersion": "example.com/v7"},
            "invalid groupVersion (expected example.com/v2, received",
        ),
        (lambda obj: {**obj, "kind": "Chain"}, "must have the same kind: Link != Chain"),
        (lambda obj: {**obj, "metadata": {**obj["metadata"], "name": "z"}}, "must have the same name: a != z"),
        (lambda obj: {**obj, "metadata": {**obj["metadata"], "uid": "z"}}, "must have the same UID"),
        (
            lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": {"a b": "c"}}},
            "metadata.labels: Invalid value",
        ),
        (lambda obj: 7, "Expected `object`"),
    ],
)
async def test_an_answer_is_believed_only_so_far(api: Any, change: Any, wrong: str) -> None:
    async with links(api) as (converter, _):
        await api.post(V1, link("a", "v1", hostPort="here:80"))
        converter.change = change
        answer = await api.get(f"{V2}/a")
        assert (answer.status, wrong in answer.message) == (500, True), answer.message


async def test_of_the_metadata_only_labels_and_annotations_are_taken_over(api: Any) -> None:
    async with links(api) as (converter, _):
        await api.post(V1, link("a", "v1", hostPort="here:80"))
        converter.change = lambda obj: {
            **obj,
            "metadata": {**obj["metadata"], "labels": {"new": "x"}, "finalizers": ["example.com/x"], "generation": 99},
        }
        meta = (await api.get(f"{V2}/a")).body["metadata"]
        assert (meta["labels"], meta.get("finalizers"), meta["generation"]) == ({"new": "x"}, None, 1)


async def test_the_older_review_is_spoken_where_it_is_the_first_that_both_know(api: Any) -> None:
    async with links(api, conversionReviewVersions=["v9", "v1beta1"]) as (_, hooks):
        await api.post(V1, link("a", "v1", hostPort="here:80"))
        assert (await api.get(f"{V2}/a")).status == 200
        assert hooks.reviews[0]["apiVersion"] == "apiextensions.k8s.io/v1beta1"


async def test_a_definition_goes_though_its_webhook_is_gone(api: Any) -> None:
    async with links(api):
        await api.post(V1, link("a", "v1", hostPort="here:80"))
    await api.delete(f"{DEFINITIONS}/links.example.com")
    for _ in range(100):
        if (await api.get(f"{DEFINITIONS}/links.example.com")).status == 404:
            break
        await asyncio.sleep(0.01)
    assert (await api.get(f"{DEFINITIONS}/links.example.com")).status == 404


async def test_each_version_selects_by_its_own_fields(api: Any) -> None:
    """Lists and watches, in the version that is stored and in the one that a webhook makes of it."""
    selectable = {
        "v1": [{"jsonPath": ".spec.hostPort"}],
        "v2": [{"jsonPath": ".spec.host"}, {"jsonPath": ".spec.port"}],
    }
    async with links(api, selectable) as _:
        one = await api.watch(f"{V1}?watch=true&fieldSelector=spec.hostPort%3Dhere:80")
        two = await api.watch(f"{V2}?watch=true&fieldSelector=spec.host%3Dhere,spec.port%3D80")
        await api.post(V1, link("a", "v1", hostPort="here:80"))
        await api.post(V2, link("b", "v2", host="here", port="81"))
        assert await one.take(1) == [("ADDED", "a")] and await two.take(1) == [("ADDED", "a")]
        for url, selector, names in (
            (V1, "spec.hostPort%3Dhere:80", ["a"]), (V1, "spec.hostPort!%3Dhere:80", ["b"]),
            (V2, "spec.host%3Dhere", ["a", "b"]), (V2, "spec.host%3Dhere,spec.port%3D81", ["b"]),
        ):  # fmt: skip
            listed = (await api.get(f"{url}?fieldSelector={selector}")).body["items"]
            assert [item["metadata"]["name"] for item in listed] == names
        await api.patch(f"{V2}/b", {"spec": {"port": "80"}})
        assert await one.take(1) == [("ADDED", "b")] and await two.take(1) == [("ADDED", "b")]
        await api.patch(f"{V1}/a", {"spec": {"hostPort": "there:80"}})
        assert await one.take(1) == [("DELETED", "a")] and await two.take(1) == [("DELETED", "a")]
        refused = await api.get(f"{V1}?fieldSelector=spec.host%3Dhere")
        assert (refused.status, "field label not supported: spec.host" in refused.message) == (400, True)
        await one.close()
        await two.close()
