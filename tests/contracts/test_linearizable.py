"""L2: the same without trusting our versions. One object as a register, and a search for any order that explains all answers.

Twelve clients create, replace, compare-and-set, delete and read it; each operation is an interval between its call and its
return. `explained` looks for an order in which every answer is right and nobody who came after another is before it
(Wing and Gong, with Lowe's memory of what was tried). It must refuse histories that have none.
"""

import asyncio
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_watches_tell_everything import Everything, admin

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.interface import Store
from kybern.store.memory import MemoryStore
from kybern.store.sqlite import SqliteStore
from kybern.web.http import Request

HISTORIES = min(500, int(os.environ.get("HISTORY_OPERATIONS", "3000")) // 75)
CLIENTS, OPERATIONS_EACH = 12, 16
URL = "/api/v1/namespaces/default/configmaps"

State = str | None
"""The mark that the object bears; None: there is none."""


@dataclass(frozen=True, slots=True)
class Did:
    called: int
    returned: int
    what: str
    status: int
    mark: str = ""
    """What it wrote, or read."""
    expected: str = ""


def after(state: State, did: Did) -> tuple[bool, State]:
    """Whether the answer is right in a state, and the state that it leads to."""
    match did.what:
        case "create":
            return (did.status == 409, state) if state is not None else (did.status == 201, did.mark)
        case "get":
            return (did.status == 404 if state is None else (did.status, did.mark) == (200, state)), state
        case "delete":
            return did.status == (404 if state is None else 200), None
        case "cas" if state is not None and state != did.expected:
            return did.status == 409, state
    return (did.status == 404, state) if state is None else (did.status == 200, did.mark)


def explained(history: list[Did]) -> bool:
    """Whether there is an order of all operations, within their intervals, that makes every answer right."""
    order = sorted(history, key=lambda did: did.called)
    everything = (1 << len(order)) - 1
    tried: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, None)]
    while stack:
        done, state = stack.pop()
        if done == everything:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        first_return = min(did.returned for index, did in enumerate(order) if not done >> index & 1)
        for index, did in enumerate(order):
            if did.called > first_return:
                break  # it began after another had ended, which has to come first
            if done >> index & 1:
                continue
            right, next_ = after(state, did)
            if right:
                stack.append((done | 1 << index, next_))
    return False


class Register:
    """One object, and what was done to it."""

    def __init__(self, server: ApiServer, name: str, rng: random.Random) -> None:
        self.server, self.name, self.rng = server, name, rng
        self.history: list[Did] = []
        self.now = 0

    def tick(self) -> int:
        self.now += 1
        return self.now

    async def send(self, method: str, body: Any = None) -> tuple[int, Any]:
        path = URL if method == "POST" else f"{URL}/{self.name}"
        response = await self.server(Request(method, path, "", {}, b"" if body is None else json.dumps(body).encode()))
        await asyncio.sleep(0)
        return response.status, json.loads(await response.read())

    async def client(self, number: int) -> None:
        seen = ("", "")
        for count in range(OPERATIONS_EACH):
            await asyncio.sleep(0)
            what = self.rng.choice(("create", "put", "cas", "cas", "delete", "get", "get"))
            mark = f"{number}.{count}"
            body: dict[str, Any] = {"metadata": {"name": self.name}, "data": {"mark": mark}}
            if what == "cas":
                if not seen[0]:
                    continue
                body["metadata"]["resourceVersion"] = seen[0]
            called = self.tick()
            method = {"create": "POST", "put": "PUT", "cas": "PUT", "delete": "DELETE", "get": "GET"}[what]
            status, answer = await self.send(method, body if method in ("POST", "PUT") else None)
            if what == "get":
                mark = answer["data"]["mark"] if status == 200 else ""
            self.history.append(Did(called, self.tick(), what, status, mark, seen[1]))
            if status < 300 and what != "delete":
                seen = (answer["metadata"]["resourceVersion"], mark)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_every_history_has_an_order(kind: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else await SqliteStore.open(tmp_path / "db")
    machine = await open_machine(store, RESOURCES, SystemClock(), Ids(9))
    server = ApiServer(machine, authenticate=admin, authorizer=Authorizers((Everything(),)))
    rng, operations = random.Random(9), 0
    for number in range(HISTORIES):
        register = Register(server, f"r{number}", rng)
        await asyncio.gather(*(register.client(client) for client in range(CLIENTS)))
        operations += len(register.history)
        assert explained(register.history), register.history
    await store.close()
    assert operations > HISTORIES * 100


def did(called: int, returned: int, what: str, status: int, mark: str = "", expected: str = "") -> Did:
    return Did(called, returned, what, status, mark, expected)


MADE = did(1, 2, "create", 201, "a")
PUT = did(3, 4, "put", 200, "b")
GONE = did(3, 4, "delete", 200)
BAD: list[list[Did]] = [
    [did(1, 2, "get", 200, "a")],  # nobody wrote it
    [MADE, did(3, 4, "get", 404)],
    [MADE, did(3, 4, "get", 200, "b")],
    [MADE, did(3, 4, "create", 201, "b")],
    [did(1, 2, "create", 409, "a")],
    [did(1, 2, "put", 200, "a")],
    [did(1, 2, "delete", 200)],
    [MADE, did(3, 4, "put", 404, "b")],
    [MADE, did(3, 4, "delete", 404)],
    [MADE, PUT, did(5, 6, "get", 200, "a")],  # a read from before
    [MADE, GONE, did(5, 6, "get", 200, "a")],
    [MADE, GONE, did(5, 6, "delete", 200)],
    [MADE, GONE, did(5, 6, "put", 200, "b")],
    [MADE, PUT, did(5, 6, "cas", 200, "c", "a")],  # over another version
    [MADE, did(3, 4, "cas", 409, "b", "a")],  # without a reason
    [MADE, did(3, 6, "cas", 200, "b", "a"), did(4, 5, "cas", 200, "c", "a")],  # two winners
    [MADE, did(3, 6, "create", 201, "b"), did(4, 5, "get", 200, "a")],
    [MADE, did(3, 8, "put", 200, "b"), did(4, 5, "get", 200, "b"), did(6, 7, "get", 200, "a")],  # back again
    [MADE, did(3, 8, "delete", 200), did(4, 5, "get", 404), did(6, 7, "get", 200, "a")],
    [MADE, did(3, 4, "cas", 409, "b", "a"), did(5, 6, "get", 200, "b")],  # refused, and done
    [MADE, did(3, 10, "put", 200, "b"), did(4, 11, "put", 200, "c"), did(5, 6, "get", 200, "b"),
     did(7, 8, "get", 200, "c"), did(9, 12, "get", 200, "b")],
]  # fmt: skip
GOOD: list[list[Did]] = [
    [MADE, did(3, 6, "put", 200, "b"), did(4, 5, "get", 200, "a")],
    [MADE, did(3, 6, "put", 200, "b"), did(4, 5, "get", 200, "b")],
    [did(1, 4, "create", 409, "b"), did(2, 3, "create", 201, "a")],
    [MADE, did(3, 6, "delete", 200), did(4, 5, "create", 201, "b")],
    [MADE, did(3, 6, "cas", 200, "b", "a"), did(4, 5, "cas", 409, "c", "a")],
]


@pytest.mark.parametrize("history", BAD)
def test_a_history_without_an_order_is_refused(history: list[Did]) -> None:
    assert not explained(history)


@pytest.mark.parametrize("history", GOOD)
def test_a_history_with_an_order_is_accepted(history: list[Did]) -> None:
    assert explained(history)
