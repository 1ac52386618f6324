"""W8: every combination of resourceVersion, resourceVersionMatch, limit and continue, as upstream's tables have them."""

import asyncio
import base64
import json
from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
NEWEST, THEN = ["a", "c", "d"], ["a", "b", "c"]
PAST, NOW, GONE, FUTURE = "4", "6", "1", "99"
LIMITED = 2

# (match, version): what a list without a limit shows, and with one. A number is the status of a refusal.
LISTS: dict[tuple[str, str], tuple[Any, Any]] = {
    ("", ""): (NEWEST, NEWEST),
    ("", "0"): (NEWEST, NEWEST),
    ("", PAST): (NEWEST, THEN),  # not older than; with a limit, exactly
    ("", NOW): (NEWEST, NEWEST),
    ("", GONE): (NEWEST, 410),
    ("", FUTURE): (504, 504),
    ("", "x"): (400, 400),
    ("", "-1"): (400, 400),
    ("Exact", ""): (422, 422),
    ("Exact", "0"): (422, 422),
    ("Exact", PAST): (THEN, THEN),
    ("Exact", NOW): (NEWEST, NEWEST),
    ("Exact", GONE): (410, 410),
    ("Exact", FUTURE): (504, 504),
    ("Exact", "x"): (400, 400),
    ("NotOlderThan", ""): (422, 422),
    ("NotOlderThan", "0"): (NEWEST, NEWEST),
    ("NotOlderThan", PAST): (NEWEST, NEWEST),
    ("NotOlderThan", NOW): (NEWEST, NEWEST),
    ("NotOlderThan", GONE): (NEWEST, NEWEST),
    ("NotOlderThan", FUTURE): (504, 504),
    ("NotOlderThan", "x"): (400, 400),
    ("exact", PAST): (422, 422),
    ("Newest", ""): (422, 422),
}

# With a token of the list at PAST: (match, version): what the second page shows.
CONTINUED: dict[tuple[str, str], Any] = {
    ("", ""): ["c"],
    ("", "0"): ["c"],
    ("", PAST): 400,
    ("", NOW): 400,
    ("Exact", PAST): 422,
    ("NotOlderThan", PAST): 422,
    ("NotOlderThan", "0"): 422,
}

# What a watch is sent first: (query, names of ADDED and so on; a number is the status of a refusal, or of an ERROR event).
SNAPSHOT = ["ADDED a", "ADDED c", "ADDED d"]
MARK = "BOOKMARK initial-events-end"
WATCHES: dict[str, Any] = {
    "": SNAPSHOT,
    "resourceVersion=0": SNAPSHOT,
    "allowWatchBookmarks=true": [*SNAPSHOT, MARK],
    f"resourceVersion={PAST}": ["DELETED b", "ADDED d"],
    f"resourceVersion={NOW}": [],
    f"resourceVersion={PAST}&allowWatchBookmarks=true": ["DELETED b", "ADDED d"],
    f"resourceVersion={GONE}": ["ERROR 410"],
    "resourceVersion=x": 400,
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan": SNAPSHOT,
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true": [*SNAPSHOT, MARK],
    f"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={PAST}": [*SNAPSHOT, MARK],
    f"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={GONE}": [*SNAPSHOT, MARK],
    "sendInitialEvents=false&resourceVersionMatch=NotOlderThan": [],
    "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=0": [],
    f"sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion={PAST}": ["DELETED b", "ADDED d"],
    f"sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion={GONE}": ["ERROR 410"],
    "sendInitialEvents=true": 422,
    "sendInitialEvents=false": 422,
    "sendInitialEvents=true&resourceVersionMatch=Exact": 422,
    "resourceVersionMatch=NotOlderThan": 422,
    "resourceVersionMatch=Exact&resourceVersion=4": 422,
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x": 422,
}  # fmt: skip


@pytest.fixture
async def past(api: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Six revisions, of which the first is forgotten."""
    monkeypatch.setattr("kybern.apiserver.verbs.versions.FUTURE_WAIT_SECONDS", 0.02)
    for name in ("a", "b", "c"):
        await api.post(CONFIG_MAPS, {"metadata": {"name": name}})
    await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "v"}})
    await api.delete(f"{CONFIG_MAPS}/b")
    await api.post(CONFIG_MAPS, {"metadata": {"name": "d"}})
    await api.store.compact(2)
    for storage in api.server.machine.storages.values():
        storage.cache.forget(2)
    return api


def query_of(**values: Any) -> str:
    return "&".join(f"{name}={value}" for name, value in values.items() if value not in ("", 0))


async def names(api: Any, query: str) -> Any:
    """A list, page by page as its tokens lead; the status of a refusal."""
    answer = await api.get(f"{CONFIG_MAPS}?{query}")
    if answer.status != 200:
        assert (answer.body["kind"], answer.body["code"]) == ("Status", answer.status)
        return answer.status
    found = [item["metadata"]["name"] for item in answer.body["items"]]
    meta = answer.body["metadata"]
    if meta.get("continue"):
        assert len(found) == LIMITED and meta["remainingItemCount"] == 1
        rest = await api.get(f"{CONFIG_MAPS}?limit={LIMITED}&continue={meta['continue']}")
        assert rest.body["metadata"] == {"resourceVersion": meta["resourceVersion"]}
        found += [item["metadata"]["name"] for item in rest.body["items"]]
    return found


@pytest.mark.parametrize(("match", "version"), LISTS)
@pytest.mark.parametrize("limit", [0, LIMITED])
async def test_lists(past: Any, match: str, version: str, limit: int) -> None:
    whole, in_pages = LISTS[match, version]
    query = query_of(resourceVersion=version, resourceVersionMatch=match, limit=limit)
    assert await names(past, query) == (in_pages if limit else whole)


@pytest.mark.parametrize("match", ["", "NotOlderThan"])
async def test_a_limit_says_nothing_where_any_version_will_do(past: Any, match: str) -> None:
    query = query_of(resourceVersion="0", resourceVersionMatch=match, limit=LIMITED)
    answer = await past.get(f"{CONFIG_MAPS}?{query}")
    assert [item["metadata"]["name"] for item in answer.body["items"]] == NEWEST
    assert "continue" not in answer.body["metadata"]


@pytest.mark.parametrize(("match", "version"), CONTINUED)
async def test_continued_lists(past: Any, match: str, version: str) -> None:
    first = (await past.get(f"{CONFIG_MAPS}?limit=2&resourceVersion={PAST}&resourceVersionMatch=Exact")).body
    token = first["metadata"]["continue"]
    query = query_of(resourceVersion=version, resourceVersionMatch=match, limit=2) + f"&continue={token}"
    assert await names(past, query) == CONTINUED[match, version]


@pytest.mark.parametrize("query", WATCHES)
async def test_watches(past: Any, query: str) -> None:
    if WATCHES[query] in (400, 422):
        assert (await past.get(f"{CONFIG_MAPS}?watch=true&{query}")).status == WATCHES[query]
        return
    stream = await past.watch(f"{CONFIG_MAPS}?watch=true&{query}")
    wanted = list(WATCHES[query])
    if wanted != ["ERROR 410"]:
        wanted.append("ADDED live")  # so that nothing more than what is expected comes first
    reading = asyncio.create_task(first_events(stream, len(wanted)))
    await asyncio.sleep(0.01)
    await past.post(CONFIG_MAPS, {"metadata": {"name": "live"}})
    assert await reading == wanted
    await stream.close()


async def first_events(stream: Any, count: int) -> list[str]:
    return [shown(await stream.next()) for _ in range(count)]


def shown(event: Any) -> str:
    obj = event["object"]
    if event["type"] == "ERROR":
        return f"ERROR {obj['code']}"
    if event["type"] == "BOOKMARK":
        assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        return MARK
    return f"{event['type']} {obj['metadata']['name']}"


async def test_a_watch_of_a_version_to_come_says_nothing_before_it(past: Any) -> None:
    stream = await past.watch(f"{CONFIG_MAPS}?watch=true&resourceVersion=8")
    for name in ("e", "f", "g"):
        await past.post(CONFIG_MAPS, {"metadata": {"name": name}})
    assert await stream.take(1) == [("ADDED", "g")]
    await stream.close()


async def test_what_goes_wrong_is_said_in_upstreams_words(past: Any) -> None:
    async def message(query: str) -> str:
        return str((await past.get(f"{CONFIG_MAPS}?{query}")).body["message"])

    about = 'ListOptions.meta.k8s.io "" is invalid: '
    at = about + "resourceVersionMatch: "
    assert await message("resourceVersionMatch=Exact") == (
        at + "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    )
    assert await message("resourceVersionMatch=Exact&resourceVersion=0") == (
        at + 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    )
    assert await message("resourceVersionMatch=x&resourceVersion=1") == (
        at + 'Unsupported value: "x": supported values: "Exact", "NotOlderThan", ""'
    )
    assert await message("resourceVersionMatch=Exact&resourceVersion=4&continue=x") == (
        at + "Forbidden: resourceVersionMatch is forbidden when continue is provided"
    )
    assert await message("sendInitialEvents=false") == (
        about + "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"
    )
    assert await message("watch=true&sendInitialEvents=true") == (
        at + "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    )
    assert await message("watch=true&resourceVersionMatch=NotOlderThan") == (
        at + "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    )


@pytest.mark.parametrize("query", ["", "&watch=true", "&resourceVersionMatch=Exact", "&limit=1"])
async def test_a_version_that_is_no_number_is_its_sender_s_mistake(past: Any, query: str) -> None:
    for text, quoted, why in (
        ("-1", '"-1"', "invalid syntax"),
        ("1e9", '"1e9"', "invalid syntax"),
        ("%D9%A1", '"\u0661"', "invalid syntax"),
        ("%22", '"\\""', "invalid syntax"),
        (str(2**64), f'"{2**64}"', "value out of range"),
        ("9" * 5000, f'"{"9" * 5000}"', "value out of range"),
    ):
        answer = await past.get(f"{CONFIG_MAPS}?resourceVersion={text}{query}")
        told = f"resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: {why}"
        assert (answer.status, answer.body["reason"], answer.body["message"]) == (400, "BadRequest", told)
    assert (await past.get(f"{CONFIG_MAPS}?resourceVersion=0004")).status == 200


@pytest.mark.parametrize(
    "token",
    ["x", "e30", base64.urlsafe_b64encode(json.dumps({"v": "meta.k8s.io/v1", "rv": 4, "start": "../secrets/x"}).encode()).decode()],
)  # fmt: skip
async def test_a_forged_token_is_refused(past: Any, token: str) -> None:
    answer = await past.get(f"{CONFIG_MAPS}?continue={token}")
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
