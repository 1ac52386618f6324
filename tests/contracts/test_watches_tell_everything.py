"""W1: every watcher gets every change that concerns it, once and in order, whatever it selects and wherever it begins.

What each should have got is worked out from the store's own log, without the cache.
"""

import asyncio
import json
import random
from typing import Any

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.request import Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.memory import MemoryStore
from kybern.web.http import Request

WRITES, WATCHERS = 600, 40
COLORS, NAMESPACES, NAMES = ("red", "green", "blue"), ("one", "two", "three"), ("a", "b", "c", "d")
SELECTORS = ("", *(f"labelSelector=color%3D{color}" for color in COLORS), "fieldSelector=metadata.name%3Da",
             "labelSelector=color+notin+(red)", "fieldSelector=metadata.name!%3Db")  # fmt: skip

Told = tuple[str, str, str, int]
"""(type, namespace, name, version)."""


async def admin(request: Request) -> User:
    return User("admin", ("system:masters",))


class Everything:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(True)


async def test_forty_watchers_miss_nothing_and_repeat_nothing() -> None:
    rng = random.Random(7)
    store = MemoryStore()
    machine = await open_machine(store, RESOURCES, SystemClock(), Ids(7))
    server = ApiServer(machine, authenticate=admin, authorizer=Authorizers((Everything(),)))
    watches: list[tuple[str, str, int, asyncio.Task[list[Told]]]] = []
    for number in range(WRITES):
        await write(server, rng)
        if number % (WRITES // WATCHERS) == 0:
            namespace, selector = rng.choice(("", *NAMESPACES)), rng.choice(SELECTORS)
            begin = rng.randint(1, store.revision)
            reading = asyncio.create_task(read(server, namespace, f"{selector}&resourceVersion={begin}"))
            watches.append((namespace, selector, begin, reading))
        if rng.random() < 0.3:
            await asyncio.sleep(0)
    last = {"metadata": {"name": "end", "labels": {"color": "end"}}}
    for namespace in NAMESPACES:
        await send(server, "POST", f"/api/v1/namespaces/{namespace}/configmaps", last)
    await asyncio.sleep(0.01)  # for readers whose turn has not come
    for namespace, selector, begin, reading in watches:
        wanted = expected(await store.changes("/registry/configmaps/", after=begin), namespace, selector)
        await asyncio.sleep(0)
        reading.cancel()
        assert await reading == wanted, (namespace, selector, begin)
    assert sum(len(task.result()) for *_, task in watches) > WRITES


async def write(server: ApiServer, rng: random.Random) -> None:
    url = f"/api/v1/namespaces/{rng.choice(NAMESPACES)}/configmaps"
    name = rng.choice(NAMES)
    body = {"metadata": {"name": name, "labels": {"color": rng.choice(COLORS)}}, "data": {"n": str(rng.random())}}
    if await send(server, "PUT", f"{url}/{name}", body) == 404:
        await send(server, "POST", url, body)
    elif rng.random() < 0.2:
        await send(server, "DELETE", f"{url}/{name}")


async def send(server: ApiServer, method: str, url: str, body: Any = None) -> int:
    data = b"" if body is None else json.dumps(body).encode()
    return (await server(Request(method, url, "", {}, data))).status


async def read(server: ApiServer, namespace: str, query: str) -> list[Told]:
    """What a watch told until it was cancelled."""
    path = f"/api/v1/namespaces/{namespace}/configmaps" if namespace else "/api/v1/configmaps"
    response = await server(Request("GET", path, f"watch=true&{query}"))
    told: list[Told] = []
    try:
        async for piece in response.body:  # type: ignore[union-attr]
            for line in piece.splitlines():
                event = json.loads(line)
                meta = event["object"]["metadata"]
                told.append((event["type"], meta["namespace"], meta["name"], int(meta["resourceVersion"])))
    except asyncio.CancelledError:
        await response.body.aclose()  # type: ignore[union-attr]
    return told


def expected(changes: Any, namespace: str, selector: str) -> list[Told]:
    found: list[Told] = []
    for change in changes:
        _, _, _, where, name = change.key.split("/")
        was = change.previous is not None and takes(change.previous.value, where, name, namespace, selector)
        now = change.value is not None and takes(change.value, where, name, namespace, selector)
        if now:
            found.append(("MODIFIED" if was else "ADDED", where, name, change.revision))
        elif was:
            found.append(("DELETED", where, name, change.revision))
    return found


def takes(value: bytes, where: str, name: str, namespace: str, selector: str) -> bool:
    color: str = json.loads(value)["metadata"]["labels"]["color"]
    if namespace and where != namespace:
        return False
    return {
        "": True,
        "labelSelector=color+notin+(red)": color != "red",
        "fieldSelector=metadata.name%3Da": name == "a",
        "fieldSelector=metadata.name!%3Db": name != "b",
    }.get(selector, selector == f"labelSelector=color%3D{color}")
