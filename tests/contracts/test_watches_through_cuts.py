"""W1 to W5: whatever cuts a watch short, its client that resumes misses nothing, gets nothing twice and nothing out of order.

Clients list and watch as informers do, each through its own selector, while somebody writes and the past is compacted away.
Their streams are cut at random places, and resumed from the last event or bookmark; what is gone is one clean 410. What each
should have been told is worked out from the store's own log. `HISTORY_OPERATIONS` sets how many writes there are (a fifth of
it; 600). Broken servers, made on purpose, must be caught.
"""

import asyncio
import json
import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from test_watches_tell_everything import SELECTORS, Everything, Told, admin, expected, write

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.apiserver import watcher
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.cache import Cache
from kybern.apiserver.server import ApiServer, open_machine
from kybern.apiserver.verbs.watching import WatchStream
from kybern.registry import RESOURCES
from kybern.store.interface import Change, Store
from kybern.store.memory import MemoryStore
from kybern.store.sqlite import SqliteStore
from kybern.web.http import Request
from kybern.web.server import serve

WRITES = int(os.environ.get("HISTORY_OPERATIONS", "3000")) // 5
CLIENTS = 24
URL, PREFIX = "/api/v1/configmaps", "/registry/configmaps/"
KEPT_REVISIONS = 40


@dataclass
class Span:
    """What one client was told between two lists."""

    selector: str
    begin: int
    end: int = 0
    told: list[Told] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Informer:
    server: ApiServer
    selector: str
    rng: random.Random
    spans: list[Span] = field(default_factory=list)
    expired: int = 0
    cuts: int = 0
    bookmarks: int = 0

    async def run(self) -> None:
        try:
            while True:
                await self._list()
                while await self._watch():
                    self.cuts += 1
                    await self._pause()
                self.expired += 1
        except asyncio.CancelledError:
            pass

    async def _pause(self) -> None:
        """Sometimes for so long that its version is forgotten meanwhile."""
        store = self.server.machine.store
        until = store.revision + self.rng.choice((0, 1, 5, 3 * KEPT_REVISIONS))
        while store.revision < until:
            await asyncio.sleep(0.0005)

    async def _list(self) -> None:
        response = await self.server(Request("GET", URL, self.selector))
        begin = int(json.loads(await response.read())["metadata"]["resourceVersion"])
        self.spans.append(Span(self.selector, begin, begin))

    async def _watch(self) -> bool:
        """Until it is cut; False where its version is gone."""
        span = self.spans[-1]
        query = f"watch=true&allowWatchBookmarks=true&{self.selector}&resourceVersion={span.end}"
        stream: Any = (await self.server(Request("GET", URL, query))).body
        left = self.rng.randint(1, 60)
        try:
            async for piece in stream:
                for line in piece.splitlines():
                    if not self._take(span, json.loads(line)):
                        return False
                    left -= 1
                    if not left:
                        return True
        finally:
            await stream.aclose()
        return True

    def _take(self, span: Span, event: Any) -> bool:
        if event["type"] == "ERROR":
            if event["object"]["code"] != 410:
                span.wrong.append(f"an error that is none: {event}")
            return False
        meta = event["object"]["metadata"]
        version = int(meta["resourceVersion"])
        if event["type"] == "BOOKMARK":
            self.bookmarks += 1
            if version < span.end:
                span.wrong.append(f"a bookmark that goes back from {span.end} to {version}")
        elif version <= span.end:
            span.wrong.append(f"{event['type']} {version} after {span.end}")
        else:
            span.told.append((event["type"], meta["namespace"], meta["name"], version))
        span.end = max(span.end, version)
        return True


async def witnessed(store: Store, seed: int, writes: int) -> tuple[list[Informer], list[Change]]:
    rng = random.Random(seed)
    machine = await open_machine(store, RESOURCES, SystemClock(), Ids(seed))
    server = ApiServer(machine, authenticate=admin, authorizer=Authorizers((Everything(),)))
    log: list[Change] = []
    store.subscribe(PREFIX, log.extend)
    await write(server, rng)  # from version 0 a watch would begin with what there is
    informers = [Informer(server, rng.choice(SELECTORS), random.Random(rng.random())) for _ in range(CLIENTS)]
    tasks = [asyncio.create_task(informer.run()) for informer in informers]
    for number in range(writes):
        await write(server, rng)
        if number % 10 == 9:
            await asyncio.sleep(0)
        if number % 50 == 49:
            before = max(store.oldest, store.revision - KEPT_REVISIONS)
            await store.compact(before)
            for storage in machine.storages.values():
                storage.cache.forget(before)
    await asyncio.sleep(0.3)  # for those who pause
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks)
    return informers, log


def violations(informers: list[Informer], log: list[Change]) -> list[str]:
    found: list[str] = []
    for span in (span for informer in informers for span in informer.spans):
        found += span.wrong
        within = [change for change in log if span.begin < change.revision <= span.end]
        wanted = expected(within, "", span.selector)
        if span.told != wanted:
            found.append(f"{span.selector} {span.begin}..{span.end}: told {span.told}, not {wanted}")
    return found


def quick_bookmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.verbs.watching.BOOKMARK_SECONDS", 0.001)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_clients_that_resume_miss_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_bookmarks(monkeypatch)
    store: Store = MemoryStore() if kind == "memory" else await SqliteStore.open(tmp_path / "db")
    informers, log = await witnessed(store, seed=3, writes=WRITES)
    await store.close()
    assert violations(informers, log) == []
    assert sum(len(span.told) for informer in informers for span in informer.spans) > WRITES
    for what in ("cuts", "expired", "bookmarks"):
        assert sum(getattr(informer, what) for informer in informers) > WRITES // 60, (
            f"too few {what} to prove anything"
        )


# --- broken servers ---------------------------------------------------------------------------------------------------


def losing_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    push, rng = watcher.Watcher.push, random.Random(1)
    monkeypatch.setattr(watcher.Watcher, "push", lambda self, data: None if rng.random() < 0.02 else push(self, data))


def repeating_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    push, rng = watcher.Watcher.push, random.Random(1)
    monkeypatch.setattr(watcher.Watcher, "push", lambda self, data: push(self, data * rng.choice((1,) * 50 + (2,))))


def swapping_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    drain = watcher.Watcher.drain

    def swapped(self: watcher.Watcher) -> bytes:
        return b"".join(reversed(drain(self).splitlines(keepends=True)))

    monkeypatch.setattr(watcher.Watcher, "drain", swapped)


def bookmarks_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = WatchStream._bookmark
    monkeypatch.setattr(WatchStream, "_bookmark", lambda self, revision, **more: mark(self, revision + 2, **more))


def resuming_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Cache.watch
    monkeypatch.setattr(Cache, "watch", lambda self, *args, after: watch(self, *args, after=after + 1))


def resuming_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Cache.watch
    monkeypatch.setattr(
        Cache, "watch", lambda self, *args, after: watch(self, *args, after=max(self.oldest, after - 1))
    )


def silent_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Cache.watch
    monkeypatch.setattr(Cache, "watch", lambda self, *args, after: watch(self, *args, after=max(self.oldest, after)))


def leaving_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = watcher.Group.frame

    def unsaid(self: watcher.Group, event: Any) -> bytes | None:
        found = frame(self, event)
        return None if found and b'"DELETED"' in found and event.new is not None else found

    monkeypatch.setattr(watcher.Group, "frame", unsaid)


@pytest.mark.parametrize(
    "broken",
    [
        losing_pieces,
        repeating_pieces,
        swapping_pieces,
        bookmarks_ahead,
        resuming_too_late,
        resuming_too_early,
        silent_gaps,
        leaving_unsaid,
    ],
)
async def test_broken_servers_are_caught(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_bookmarks(monkeypatch)
    broken(monkeypatch)
    informers, log = await witnessed(MemoryStore(), seed=4, writes=600)
    assert violations(informers, log)


# --- slow ones --------------------------------------------------------------------------------------------------------

SLOW, NORMAL, DATA_BYTES, WRITTEN_MAX = 20, 20, 10_000, 500


async def test_those_who_do_not_read_are_cut_and_the_others_miss_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over real connections, whose own buffers are small here."""
    monkeypatch.setattr("kybern.apiserver.watcher.BYTES_MAX", 40 * DATA_BYTES)
    machine = await open_machine(MemoryStore(), RESOURCES, SystemClock(), Ids(5))
    api = ApiServer(machine, authenticate=admin, authorizer=Authorizers((Everything(),)))
    cache = next(storage.cache for storage in machine.storages.values() if storage.resource.kind.kind == "ConfigMap")
    server = await serve(api, sock=small(socket.create_server(("127.0.0.1", 0))))
    slow = [await opened(server.port) for _ in range(SLOW)]
    readers = [Reader(await opened(server.port)) for _ in range(NORMAL)]
    async with asyncio.TaskGroup() as tasks:
        for reader in readers:
            tasks.create_task(reader.run())
        while cache.audience.size < SLOW + NORMAL:
            await asyncio.sleep(0.01)
        written = 0
        while cache.audience.size > NORMAL and written < WRITTEN_MAX:
            await post(api, {"metadata": {"generateName": "x-"}, "data": {"k": "v" * DATA_BYTES}})
            written += 1
            while min(reader.told for reader in readers) < written - 10:
                await asyncio.sleep(0)
        assert cache.audience.size == NORMAL, "the slow ones are still there"
        await post(api, {"metadata": {"name": "end"}})
    assert [reader.told for reader in readers] == [written + 1] * NORMAL
    for cut, writer in slow:
        rest = await asyncio.wait_for(read_to_the_end(cut), 30)
        assert rest.count(b'"ADDED"') < written and b'"name":"end"' not in rest
        writer.close()
    for reader in readers:
        reader.writer.close()
    await server.close(grace_seconds=0)


class Reader:
    """Reads as fast as it can, and counts."""

    def __init__(self, wire: "Wire") -> None:
        self.stream, self.writer = wire
        self.told = 0

    async def run(self) -> None:
        rest = b""
        while b'"name":"end"' not in rest:
            data = await self.stream.read(2**16)
            assert data, "it was cut"
            *whole, rest = (rest + data).split(b'{"type":"ADDED"')
            self.told += len(whole)


Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def small(sock: socket.socket) -> socket.socket:
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, buffer, 16_384)
    return sock


async def opened(port: int) -> Wire:
    sock = small(socket.socket())
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**16)
    writer.write(f"GET {URL}?watch=true&resourceVersion=0 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def post(api: ApiServer, body: Any) -> None:
    path = "/api/v1/namespaces/one/configmaps"
    assert (await api(Request("POST", path, "", {}, json.dumps(body).encode()))).status == 201


async def read_to_the_end(stream: asyncio.StreamReader) -> bytes:
    """To the last chunk: a watch that was cut ends as one does whose time is up."""
    found = b""
    while not found.endswith(b"\r\n0\r\n\r\n"):
        data = await stream.read(2**16)
        assert data, "it has no end"
        found += data
    return found
