"""Watches: every change once, in order, from any moment that is still known."""

import asyncio
from typing import Any

import pytest

from kybern.apiserver.turns import turns
from kybern.store.interface import Change

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
WATCH = f"{CONFIG_MAPS}?watch=true"


async def make(api: Any, name: str, **labels: str) -> Any:
    return (await api.post(CONFIG_MAPS, {"metadata": {"name": name, "labels": labels}})).body


async def test_changes_arrive_in_order(api: Any) -> None:
    await make(api, "z")
    stream = await api.watch(f"{WATCH}&resourceVersion=1")
    await make(api, "a")
    await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "v"}})
    await api.delete(f"{CONFIG_MAPS}/a")
    assert await stream.take(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    await stream.close()


async def test_a_watch_without_a_version_begins_with_what_there_is(api: Any) -> None:
    await make(api, "a")
    await make(api, "b")
    stream = await api.watch(WATCH)
    assert await stream.take(2) == [("ADDED", "a"), ("ADDED", "b")]
    await make(api, "c")
    assert await stream.take(1) == [("ADDED", "c")]
    await stream.close()


async def test_a_watch_resumes_after_a_version(api: Any) -> None:
    version = (await make(api, "a"))["metadata"]["resourceVersion"]
    await make(api, "b")
    await api.delete(f"{CONFIG_MAPS}/a")
    stream = await api.watch(f"{WATCH}&resourceVersion={version}")
    assert await stream.take(2) == [("ADDED", "b"), ("DELETED", "a")]
    await stream.close()


async def test_a_deletion_carries_the_last_state_at_its_own_version(api: Any) -> None:
    await make(api, "a", color="red")
    stream = await api.watch(f"{WATCH}&resourceVersion=1")
    await api.delete(f"{CONFIG_MAPS}/a")
    event = await stream.next()
    assert event["object"]["metadata"]["labels"] == {"color": "red"}
    assert event["object"]["metadata"]["resourceVersion"] == "2"
    await stream.close()


async def test_a_watch_from_a_forgotten_version_is_expired(api: Any) -> None:
    for name in ("a", "b", "c"):
        await make(api, name)
    await api.store.compact(2)
    for storage in api.server.machine.storages.values():
        storage.cache.forget(2)
    stream = await api.watch(f"{WATCH}&resourceVersion=1")
    event = await stream.next()
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert event["object"]["message"] == "too old resource version: 1 (2)"
    stream = await api.watch(f"{WATCH}&resourceVersion=2")
    assert await stream.take(1) == [("ADDED", "c")]
    await stream.close()


async def test_entering_a_selector_is_added_and_leaving_it_is_deleted(api: Any) -> None:
    await make(api, "a", color="blue")
    stream = await api.watch(f"{WATCH}&resourceVersion=1&labelSelector=color%3Dred")
    await api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"color": "red"}}})
    await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "v"}})
    await api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"color": "green"}}})
    await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "w"}})
    events = [await stream.next() for _ in range(3)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert events[2]["object"]["metadata"]["labels"] == {"color": "red"}
    assert events[2]["object"]["metadata"]["resourceVersion"] == "4"
    await stream.close()


async def test_a_watch_of_one_name_sees_only_it(api: Any) -> None:
    await make(api, "z")
    stream = await api.watch(f"{WATCH}&fieldSelector=metadata.name%3Db&resourceVersion=1")
    await make(api, "a")
    await make(api, "b")
    assert await stream.take(1) == [("ADDED", "b")]
    await stream.close()


async def test_a_watch_of_a_namespace_leaves_others_out(api: Any) -> None:
    await make(api, "z")
    stream = await api.watch("/api/v1/namespaces/other/configmaps?watch=1&resourceVersion=1")
    await make(api, "a")
    await api.post("/api/v1/namespaces/other/configmaps", {"metadata": {"name": "b"}})
    assert await stream.take(1) == [("ADDED", "b")]
    await stream.close()


async def test_initial_events_end_with_a_bookmark(api: Any) -> None:
    await make(api, "a")
    query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    stream = await api.watch(f"{WATCH}&{query}")
    assert await stream.take(1) == [("ADDED", "a")]
    mark = await stream.next()
    assert mark["type"] == "BOOKMARK"
    assert mark["object"] == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}},
    }
    await make(api, "b")
    assert await stream.take(1) == [("ADDED", "b")]
    await stream.close()


async def test_a_watch_ends_when_its_time_is_up(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = await api.watch(f"{WATCH}&timeoutSeconds=1&allowWatchBookmarks=true")
    monkeypatch.setattr("kybern.apiserver.verbs.watching.BOOKMARK_SECONDS", 0.01)
    mark = await stream.next()
    assert mark["type"] == "BOOKMARK"
    with pytest.raises(StopAsyncIteration):
        while True:
            await stream.next()


async def test_bookmarks_tell_a_quiet_watcher_how_far_it_is(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.verbs.watching.BOOKMARK_SECONDS", 0.01)
    stream = await api.watch("/api/v1/secrets?watch=true&allowWatchBookmarks=true&resourceVersion=0")
    await make(api, "a")
    mark = await stream.next()
    while mark["object"]["metadata"]["resourceVersion"] == "0":
        mark = await stream.next()
    assert (mark["type"], mark["object"]["kind"]) == ("BOOKMARK", "Secret")
    assert mark["object"]["metadata"]["resourceVersion"] == "1"
    await stream.close()


async def test_a_watcher_that_does_not_read_is_cut(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.watcher.FRAMES_MAX", 3)
    await make(api, "z")
    stream = await api.watch(WATCH)
    await stream.next()
    for name in "abcdef":
        await make(api, name)
    with pytest.raises(StopAsyncIteration):
        await stream.next()


async def test_a_closed_watch_leaves_nothing_behind(api: Any) -> None:
    stream = await api.watch(WATCH)
    await make(api, "a")
    await stream.next()
    cache = api.server.machine.storages[("", "v1", "configmaps")].cache
    assert cache.audience.size == 1
    await stream.close()
    assert cache.audience.size == 0


async def test_a_table_can_be_watched_and_its_first_event_says_what_the_columns_are(api: Any) -> None:
    await make(api, "a")
    stream = await api.watch(WATCH, accept=AS_TABLE)
    await make(api, "b")
    await make(api, "c")
    tables = [(await stream.next())["object"] for _ in range(3)]
    assert [table["rows"][0]["cells"][0] for table in tables] == ["a", "b", "c"]
    assert [len(table["columnDefinitions"] or ()) for table in tables] == [3, 0, 0]
    assert tables[0]["metadata"]["resourceVersion"] == "1"
    await stream.close()


AS_TABLE, AS_METADATA = (
    f"application/json;as={kind};v=v1;g=meta.k8s.io" for kind in ("Table", "PartialObjectMetadata")
)
INITIAL = "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
ENDED = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
METADATA = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": ENDED}


@pytest.mark.parametrize("include", ["Metadata", "None"])
async def test_a_bookmark_of_a_table_is_a_table_of_an_object_that_is_nothing_but_its_version(
    api: Any, include: str
) -> None:
    await make(api, "a")
    stream = await api.watch(f"/api/v1/secrets?watch=true&{INITIAL}&includeObject={include}", accept=AS_TABLE)
    mark = await stream.next()
    table = mark["object"]
    assert (mark["type"], table["kind"], table["metadata"]) == ("BOOKMARK", "Table", {"resourceVersion": "1"})
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Type", "Data", "Age"]
    assert table["rows"] == [{"cells": ["", "", 0, "<unknown>"], "object": METADATA}]
    await api.post("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
    added = (await stream.next())["object"]
    assert added["columnDefinitions"] is None
    assert ("object" in added["rows"][0]) is (include == "Metadata")
    await stream.close()


async def test_a_bookmark_of_metadata_is_metadata(api: Any) -> None:
    await make(api, "a")
    stream = await api.watch(f"/api/v1/secrets?watch=true&{INITIAL}", accept=AS_METADATA)
    assert await stream.next() == {"type": "BOOKMARK", "object": METADATA}
    await stream.close()


async def test_of_a_later_bookmark_nothing_is_shown_to_who_wants_no_objects(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kybern.apiserver.verbs.watching.BOOKMARK_SECONDS", 0.01)
    query = "watch=true&allowWatchBookmarks=true&resourceVersion=1&includeObject=None"
    await make(api, "a")
    stream = await api.watch(f"/api/v1/secrets?{query}", accept=AS_TABLE)
    assert (await stream.next())["object"]["rows"] == [{"cells": ["", "", 0, "<unknown>"]}]
    await stream.close()


async def test_a_table_s_columns_are_told_to_whoever_resumes(api: Any) -> None:
    version = (await make(api, "a"))["metadata"]["resourceVersion"]
    await make(api, "b")
    stream = await api.watch(f"{WATCH}&resourceVersion={version}", accept=AS_TABLE)
    assert (await stream.next())["object"]["columnDefinitions"][0]["name"] == "Name"
    await stream.close()


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        AS_TABLE,
        AS_METADATA,
    ],
)
async def test_what_begins_to_match_a_field_selector_is_added_and_what_stops_is_deleted(api: Any, accept: str) -> None:
    pods = "/api/v1/namespaces/default/pods"
    stream = await api.watch(f"{pods}?watch=true&resourceVersion=1&fieldSelector=status.phase=Running", accept=accept)
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.post(pods, pod)
    for phase, reason in (("Running", ""), ("Running", "again"), ("Failed", ""), ("Running", "")):
        await api.patch(f"{pods}/p/status", {"status": {"phase": phase, "reason": reason}})
    await api.delete(f"{pods}/p?gracePeriodSeconds=0")
    seen = [(await stream.next())["type"] for _ in range(5)]
    assert seen == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    await stream.close()


async def test_the_old_watch_prefix_is_understood(api: Any) -> None:
    await make(api, "a")
    stream = await api.watch("/api/v1/watch/namespaces/default/configmaps/a")
    assert await stream.take(1) == [("ADDED", "a")]
    await stream.close()


async def test_a_hundred_watchers_see_the_same_order(api: Any) -> None:
    await make(api, "z")
    streams = [await api.watch(f"{WATCH}&resourceVersion=1") for _ in range(100)]
    waiting = [asyncio.create_task(stream.take(20)) for stream in streams]
    for number in range(10):
        await make(api, f"n{number}")
        await api.delete(f"{CONFIG_MAPS}/n{number}")
    seen = await asyncio.gather(*waiting)
    assert all(events == seen[0] for events in seen)
    assert len(seen[0]) == 20
    for stream in streams:
        await stream.close()


async def test_a_kubelet_sees_pods_come_to_its_node_and_no_others(api: Any) -> None:
    pods = "/api/v1/namespaces/default/pods"
    spec = {"containers": [{"name": "c", "image": "i"}]}
    await make(api, "z")
    streams = [
        await api.watch(f"/api/v1/pods?watch=true&resourceVersion=1&fieldSelector=spec.nodeName%3Dn{n}") for n in (1, 2)
    ]
    waiting = [asyncio.create_task(stream.take(1)) for stream in streams]
    await asyncio.sleep(0.01)
    for name, node in (("a", "n1"), ("b", "n2")):
        await api.post(pods, {"metadata": {"name": name}, "spec": spec})
        await api.post(f"{pods}/{name}/binding", {"target": {"kind": "Node", "name": node}})
    assert [await task for task in waiting] == [[("ADDED", "a")], [("ADDED", "b")]]
    await api.delete(f"{pods}/a?gracePeriodSeconds=0")
    assert await streams[0].take(1) == [("DELETED", "a")]
    for stream in streams:
        await stream.close()


async def test_what_happens_while_a_client_waits_goes_straight_to_its_connection(api: Any) -> None:
    await make(api, "first")
    stream = await api.watch(f"{WATCH}&resourceVersion=1")
    sent: list[bytes] = []

    def push(piece: bytes) -> bool:
        sent.append(piece)
        return len(sent) == 1  # then the connection is full

    stream.body.push = push
    reading = asyncio.create_task(stream.take(1))
    await asyncio.sleep(0.01)
    await make(api, "straight")
    await make(api, "queued")
    assert await reading == [("ADDED", "queued")]
    assert len(sent) == 2 and sent[0].count(b"\n") == 1 and b"straight" in sent[0]
    await make(api, "later")
    assert len(sent) == 2  # nobody waits: what was queued must go out first
    assert await stream.take(1) == [("ADDED", "later")]
    await stream.close()


async def test_the_changes_of_one_commit_are_one_piece(api: Any) -> None:
    await make(api, "first")
    stream = await api.watch(f"{WATCH}&resourceVersion=1")
    sent: list[bytes] = []
    stream.body.push = lambda piece: sent.append(piece) is None
    reading = asyncio.create_task(stream.next())
    await asyncio.sleep(0.01)
    cache = next(s.cache for s in api.server.machine.storages.values() if s.resource.kind.kind == "ConfigMap")
    changes = [Change(f"{cache.prefix}default/{n}", n, b'{"metadata":{"name":"x"}}', None) for n in (2, 3)]
    cache.take(changes)
    assert [piece.count(b"ADDED") for piece in sent] == [2]
    reading.cancel()


class OthersTurn:
    """Stands for asyncio in the cache: while a list gives others their turn, they write."""

    def __init__(self, write: Any) -> None:
        self.write = write

    async def sleep(self, seconds: float) -> None:
        write, self.write = self.write, None
        if write is not None:
            await write()


@pytest.fixture
async def written_meanwhile(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four objects, of which two are looked at in a turn; in the turn of others one goes, one is no longer meant, and one
    comes."""
    monkeypatch.setattr(turns, "__defaults__", (600,))
    for name in "abcd":
        await make(api, name, app="x", more="y" * 60)

    async def write() -> None:
        await api.delete(f"{CONFIG_MAPS}/a")
        await api.patch(f"{CONFIG_MAPS}/d", {"metadata": {"labels": {"app": "other"}}})
        await make(api, "e", app="x")

    monkeypatch.setattr("kybern.apiserver.cache.asyncio", OthersTurn(write))


MEANWHILE = [("DELETED", "a"), ("DELETED", "d"), ("ADDED", "e")]


@pytest.mark.usefixtures("written_meanwhile")
async def test_a_list_made_in_turns_is_of_one_moment_and_a_watch_from_there_tells_the_rest(api: Any) -> None:
    listed = (await api.get(f"{CONFIG_MAPS}?labelSelector=app%3Dx")).body
    assert [item["metadata"]["name"] for item in listed["items"]] == [*"abcd"]
    assert {item["metadata"]["labels"]["app"] for item in listed["items"]} == {"x"}
    since = listed["metadata"]["resourceVersion"]
    stream = await api.watch(f"{WATCH}&labelSelector=app%3Dx&resourceVersion={since}")
    assert await stream.take(3) == MEANWHILE
    await stream.close()


@pytest.mark.usefixtures("written_meanwhile")
async def test_a_watch_that_begins_in_turns_tells_of_what_others_write_after_them(api: Any) -> None:
    query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    stream = await api.watch(f"{WATCH}&labelSelector=app%3Dx&{query}")
    assert await stream.take(8) == [*(("ADDED", name) for name in "abcd"), ("BOOKMARK", ""), *MEANWHILE]
    await stream.close()


@pytest.mark.usefixtures("written_meanwhile")
async def test_a_collection_is_deleted_as_it_was_when_that_was_asked_for(api: Any) -> None:
    """One that has gone meanwhile is nobody's error, and one that has come stays."""
    assert (await api.delete(f"{CONFIG_MAPS}?labelSelector=app%3Dx")).status == 200
    left = (await api.get(CONFIG_MAPS)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["e"]
