"""A dry run leaves no trace (A4): the same hostile requests, tried first, answered as they are when they are meant."""

import os

import pytest
from bodies import Sent, create_all, prepared, requests

from kybern.apiserver.server import ApiServer
from kybern.web.http import Request

BODIES = int(os.environ.get("FUZZ_BODIES", "1000")) // 10
SEED = 3


async def send(server: ApiServer, sent: Sent, query: str) -> int:
    response = await server(Request(sent.method, sent.path, query, {"content-type": sent.media}, sent.body))
    await response.read()
    return response.status


async def untraced(count: int) -> int:
    """How many dry runs were taken."""
    source, taken = requests(SEED), 0
    async with prepared() as server:
        store = server.machine.store
        for _ in range(count):
            sent = next(source)
            query = "&".join(term for term in sent.query.split("&") if term and not term.startswith("dryRun"))
            before = store.revision
            tried = await send(server, sent, f"{query}&dryRun=All")
            assert store.revision == before, f"it wrote:\n{sent.dump()}"
            meant = await send(server, sent, query)
            assert tried == meant, f"tried {tried}, meant {meant}:\n{sent.dump()}"
            taken += tried < 300
            if meant == 404:
                await create_all(server)
            if sent.method == "POST" and meant == 201:
                await server(Request("DELETE", f"{sent.path}/other", "gracePeriodSeconds=0"))
    return taken


async def test_a_dry_run_writes_nothing_and_tells_what_would_be_told() -> None:
    assert await untraced(BODIES) > BODIES // 20


async def test_dry_runs_that_write_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.options.bool", lambda _: False, raising=False)
    with pytest.raises(AssertionError, match="it wrote"):
        await untraced(200)
