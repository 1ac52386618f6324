"""An API server over a memory store, driven by requests without a network."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.customresources.serving import CustomResources
from kybern.apiserver.documents import Documents
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry.resources import RESOURCES
from kybern.store.interface import Store
from kybern.store.memory import MemoryStore
from kybern.web.http import Request

ADMIN = User("admin", ("system:masters", "system:authenticated"))

MEDIA = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


async def admin(request: Request) -> User:
    return ADMIN


class Everything:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(True)


class SteppedClock(SystemClock):
    """Whose wall a test can move."""

    def __init__(self) -> None:
        self.offset = 0.0

    def wall(self) -> float:
        return 1_767_225_600.0 + self.offset

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def message(self) -> str:
        return str(self.body["message"])


class Api:
    def __init__(self, server: ApiServer, store: Store, clock: SteppedClock) -> None:
        self.server, self.store, self.clock = server, store, clock
        self.objects = ClusterObjects(server.machine)

    async def send(self, method: str, url: str, body: Any = None, **headers: str) -> Answer:
        path, _, query = url.partition("?")
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.server(Request(method, path, query, sent, data))
        return Answer(response.status, dict(response.headers), await response.read())

    async def get(self, url: str, **headers: str) -> Answer:
        return await self.send("GET", url, **headers)

    async def post(self, url: str, body: Any, **headers: str) -> Answer:
        return await self.send("POST", url, body, **headers)

    async def put(self, url: str, body: Any, **headers: str) -> Answer:
        return await self.send("PUT", url, body, **headers)

    async def patch(self, url: str, body: Any, how: str = "merge", **headers: str) -> Answer:
        return await self.send("PATCH", url, body, content_type=MEDIA.get(how, how), **headers)

    async def delete(self, url: str, body: Any = None, **headers: str) -> Answer:
        return await self.send("DELETE", url, body, **headers)

    async def watch(self, url: str, **headers: str) -> "Stream":
        path, _, query = url.partition("?")
        response = await self.server(Request("GET", path, query, headers))
        assert response.status == 200
        return Stream(response.body)


class Stream:
    """A watch's events, one at a time."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.waiting: list[bytes] = []

    async def next(self) -> Any:
        while not self.waiting:
            piece = await asyncio.wait_for(anext(self.body), 5)
            self.waiting += piece.splitlines()
        return json.loads(self.waiting.pop(0))

    async def take(self, count: int) -> list[tuple[str, str]]:
        """The next events as (type, name)."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    async def close(self) -> None:
        await self.body.aclose()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    store, clock = MemoryStore(), SteppedClock()
    machine = await open_machine(store, RESOURCES, clock, Ids(1))
    documents = Documents(machine.resources)
    server = ApiServer(machine, authenticate=admin, authorizer=Authorizers((Everything(),)), documents=(documents,))
    objects = ClusterObjects(machine)
    definitions = CustomResources(machine, objects, documents.invalidate, Callouts(objects, Random(1)))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(definitions.run())
        yield Api(server, store, clock)
        running.cancel()
    await store.close()


@pytest.fixture
def config_map() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
