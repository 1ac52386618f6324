"""L1: whatever concurrent clients are answered can be explained by one order of writes, the order of resource versions.

Eight clients mix creations, conditional and blind updates, patches in every language, deletions, dry runs, reads, lists and
lists in pages over few keys, each answer noted with the versions known before it was asked for and after it came. A watch
tells the order; replaying it must give every answer again. `HISTORY_OPERATIONS` sets how many (3,000). Broken servers, made on purpose, must be caught.
"""

import asyncio
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.cache import Cache, Page
from kybern.apiserver.request import Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.interface import Conflict, Store
from kybern.store.memory import MemoryStore
from kybern.store.sqlite import SqliteStore
from kybern.web.http import Request

OPERATIONS = int(os.environ.get("HISTORY_OPERATIONS", "3000"))
CLIENTS, KEYS = 8, 5
URL = "/api/v1/namespaces/default/configmaps"
JSON = {"content-type": "application/json"}
PATCHES = {
    "patch": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
    "json-patch": "application/json-patch+json",
}
WRITES = ("create", "cas", "blind", *PATCHES)
OPERATIONS_OF_A_CLIENT = (*WRITES, "delete", "delete-at", "delete-all", "dry-run", "get", "get", "list", "pages")


async def admin(request: Request) -> User:
    return User("admin", ("system:masters",))


class Everything:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(True)


@dataclass
class Answer:
    """One operation: `before` is the highest version acknowledged when it was sent, `after` when it was answered."""

    what: str
    name: str
    status: int
    before: int
    after: int
    expected: int = 0
    version: int = 0
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)
    """What it showed: name -> (version, mark)."""


@dataclass
class History:
    server: ApiServer
    rng: random.Random
    answers: list[Answer] = field(default_factory=list)
    highest: int = 0
    marks: int = 0

    async def send(self, method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        path, _, query = url.partition("?")
        data = b"" if body is None else json.dumps(body).encode()
        response = await self.server(Request(method, path, query, headers or JSON, data))
        await asyncio.sleep(0)
        return response.status, json.loads(await response.read())

    def config(self, name: str, version: str | None = None) -> dict[str, Any]:
        self.marks += 1
        return {"metadata": {"name": name, "resourceVersion": version}, "data": {"mark": str(self.marks)}}

    async def client(self, operations: int) -> None:
        known: dict[str, str] = {}
        for _ in range(operations):
            name = f"k{self.rng.randrange(KEYS)}"
            what = self.rng.choice(OPERATIONS_OF_A_CLIENT)
            if what == "delete-all" and self.rng.random() < 0.9:
                continue
            expected = known.get(name, "")
            if what in ("cas", "delete-at") and not expected:
                continue
            await self.one(what, name, expected, known)

    async def one(self, what: str, name: str, expected: str, known: dict[str, str]) -> None:
        before = self.highest
        match what:
            case "create":
                status, body = await self.send("POST", URL, self.config(name))
            case "cas":
                status, body = await self.send("PUT", f"{URL}/{name}", self.config(name, expected))
            case "blind":
                status, body = await self.send("PUT", f"{URL}/{name}", self.config(name))
            case "patch" | "strategic":
                status, body = await self.patch(name, what, self.config(name))
            case "apply":
                about = {"apiVersion": "v1", "kind": "ConfigMap"}
                status, body = await self.patch(name, what, about | self.config(name), "?fieldManager=a&force=true")
            case "json-patch":
                mark = self.config(name)["data"]["mark"]
                status, body = await self.patch(name, what, [{"op": "add", "path": "/data/mark", "value": mark}])
            case "dry-run":
                status, body = await self.send("PUT", f"{URL}/{name}?dryRun=All", self.config(name))
            case "delete-all":
                status, body = await self.send("DELETE", URL)
            case "delete":
                status, body = await self.send("DELETE", f"{URL}/{name}")
            case "delete-at":
                options = {"preconditions": {"resourceVersion": expected}}
                status, body = await self.send("DELETE", f"{URL}/{name}", options)
            case "get":
                status, body = await self.send("GET", f"{URL}/{name}")
            case "pages":
                status, body = await self.pages()
            case _:
                status, body = await self.send("GET", URL)
        answer = Answer(what, name, status, before, 0, int(expected or 0))
        if what == "dry-run" and status < 300:
            answer.seen = {name: (0, body["data"]["mark"])}
        elif status < 300 and what not in ("delete", "delete-at", "delete-all"):
            answer.version = int(body["metadata"]["resourceVersion"])
            items = body["items"] if what in ("list", "pages") else [body]
            answer.seen = {
                item["metadata"]["name"]: (int(item["metadata"]["resourceVersion"]), item["data"]["mark"])
                for item in items
            }
            known.update({one: str(version) for one, (version, _) in answer.seen.items()})
        self.highest = max(self.highest, answer.version)
        answer.after = self.server.machine.store.revision
        self.answers.append(answer)

    async def patch(self, name: str, what: str, body: Any, query: str = "") -> Any:
        return await self.send("PATCH", f"{URL}/{name}{query}", body, {"content-type": PATCHES[what]})

    async def pages(self) -> Any:
        """A list read two by two, while others write."""
        status, first = await self.send("GET", f"{URL}?limit=2")
        items, token = first["items"], first["metadata"].get("continue")
        while token:
            await asyncio.sleep(0)
            status, body = await self.send("GET", f"{URL}?limit=2&continue={token}")
            items += body["items"]
            token = body["metadata"].get("continue")
            assert body["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        return status, {"metadata": first["metadata"], "items": items}


State = dict[str, tuple[int, str]]


async def recorded(store: Store, seed: int, operations: int) -> tuple[list[Answer], list[State]]:
    """The answers, and the state after every version according to a watch of the store from the beginning."""
    machine = await open_machine(store, RESOURCES, SystemClock(), Ids(seed))
    history = History(
        ApiServer(machine, authenticate=admin, authorizer=Authorizers((Everything(),))), random.Random(seed)
    )
    await asyncio.gather(*(history.client(operations // CLIENTS) for _ in range(CLIENTS)))
    states: list[State] = [{}]
    for change in await store.changes("/registry/configmaps/", after=0):
        state = dict(states[-1])
        states += [states[-1]] * (change.revision - len(states))
        name = change.key.rpartition("/")[2]
        if change.value is None:
            del state[name]
        else:
            state[name] = (change.revision, json.loads(change.value)["data"]["mark"])
        states.append(state)
    return history.answers, states


def violations(answers: list[Answer], states: list[State]) -> list[str]:
    found: list[str] = []
    writes: set[int] = set()
    marks = {mark for state in states for _, mark in state.values()}
    for one in answers:
        within = states[one.before : one.after + 1]
        told = f"{one}"
        if one.status == 500:
            found.append(f"an error inside: {told}")
        if one.what in WRITES and one.status < 300:
            if one.version in writes:
                found.append(f"a version used twice: {told}")
            writes.add(one.version)
            if one.version <= one.before:
                found.append(f"a write older than one answered before it was sent: {told}")
            elif states[one.version].get(one.name) != one.seen[one.name]:
                found.append(f"a write that the order does not show: {told}")
            previous = states[one.version - 1].get(one.name, (0, ""))[0]
            if one.what == "cas" and previous != one.expected:
                found.append(f"a conditional write over another version: {told}")
            if one.what == "create" and previous:
                found.append(f"a creation of what was there: {told}")
        if one.what == "dry-run" and any(mark in marks for _, mark in one.seen.values()):
            found.append(f"a dry run that wrote: {told}")
        if one.what == "get" and one.status == 200 and not any(s.get(one.name) == one.seen[one.name] for s in within):
            found.append(f"a read of what was not there then: {told}")
        if one.status == 404 and all(one.name in s for s in within):
            found.append(f"nothing where something was all the time: {told}")
        if one.what in ("list", "pages") and (one.version < one.before or states[one.version] != one.seen):
            found.append(f"a list that is no state: {told}")
        if one.what in ("blind", *PATCHES) and one.status == 409:
            found.append(f"a conflict where nothing was expected: {told}")
        if (
            one.what == "delete-at"
            and one.status == 200
            and all(s.get(one.name, (0,))[0] != one.expected for s in within)
        ):
            found.append(f"a deletion of another version: {told}")
        if one.what == "cas" and one.status == 409 and all(s.get(one.name, (0,))[0] == one.expected for s in within):
            found.append(f"a conflict without a reason: {told}")
    return found


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_every_answer_fits_into_one_order(kind: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else await SqliteStore.open(tmp_path / "db")
    answers, states = await recorded(store, seed=1, operations=OPERATIONS)
    await store.close()
    assert violations(answers, states) == []
    assert len(states) > OPERATIONS // 5, "too few writes to prove anything"


def ignoring_expectations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.verbs.update.check_preconditions", lambda *_: None)


def stale_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Cache.get
    old: dict[tuple[str, str], Any] = {}
    rng = random.Random(1)

    def stale(self: Cache, namespace: str, name: str) -> Any:
        found = fresh(self, namespace, name)
        key = namespace, name
        shown = old.get(key, found)
        if rng.random() < 0.3:
            old[key] = found
        return shown

    monkeypatch.setattr(Cache, "get", stale)


def mixed_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Cache.page

    async def mixed(self: Cache, *args: Any, **kwargs: Any) -> Any:
        page = await whole(self, *args, **kwargs)
        items = [event.old or item for item in page.items for event in self.events[-1:]]
        return type(page)(items, page.revision, page.next, page.remaining)

    monkeypatch.setattr(Cache, "page", mixed)


def lost_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is put over whatever is there by then."""
    put = MemoryStore.put
    monkeypatch.setattr(MemoryStore, "put", lambda self, key, value, *, expected=None: put(self, key, value))
    monkeypatch.setattr(MemoryStore, "head", delayed(MemoryStore.head))


def delayed(head: Callable[[MemoryStore, str], Any]) -> Callable[[MemoryStore, str], Any]:
    """Sometimes what was there a moment ago."""
    before: dict[str, Any] = {}
    rng = random.Random(1)

    def old(self: MemoryStore, key: str) -> Any:
        found = head(self, key)
        shown = before.get(key, found)
        before[key] = found
        return shown if rng.random() < 0.3 and shown is not None else found

    return old


def dry_runs_that_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.options.bool", lambda _: False, raising=False)


def deletions_of_any_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.deletion.check", lambda *_: None)


def conflicts_after_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    put, rng = MemoryStore.put, random.Random(1)

    async def late(self: MemoryStore, key: str, value: bytes, *, expected: int | None = None) -> int:
        revision = await put(self, key, value, expected=expected)
        if rng.random() < 0.05:
            raise Conflict(key)
        return revision

    monkeypatch.setattr(MemoryStore, "put", late)


def pages_of_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Cache.page

    async def present(self: Cache, *args: Any, at: int = 0, **rest: Any) -> Page:
        page = await whole(self, *args, **rest)
        return replace(page, revision=at or page.revision)

    monkeypatch.setattr(Cache, "page", present)


@pytest.mark.parametrize(
    "broken",
    [
        ignoring_expectations,
        stale_reads,
        mixed_lists,
        lost_updates,
        dry_runs_that_write,
        deletions_of_any_version,
        conflicts_after_writing,
        pages_of_the_present,
    ],
)
async def test_broken_servers_are_caught(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    answers, states = await recorded(MemoryStore(), seed=2, operations=800)
    assert violations(answers, states)
