"""What others do to our tables of nftables, in a network namespace of the test's own: who keeps a table is told, and of nothing else."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.linux import netns, nft, nft_news
from kybern.network import own_tables
from kybern.network.own_tables import OwnTables

pytestmark = pytest.mark.linux

OURS, MARK = "kybern-test", "kybern-test-mark"
TABLE = f"""
table ip {OURS} {{
    set known {{ type ipv4_addr; elements = {{ 10.0.0.1 }} }}
    chain forward {{ type filter hook forward priority 0; ip saddr @known drop; }}
}}
"""


class Watched:
    def __init__(self, machine: str) -> None:
        self.machine, self.tables = machine, OwnTables(SystemClock(), machine)
        self.told: asyncio.Queue[str] = asyncio.Queue()
        for table in (OURS, MARK):
            self.tables.on_touched(table, lambda table=table: self.told.put_nowait(table))  # type: ignore[misc]

    async def next_told(self) -> str:
        async with asyncio.timeout(10):
            return await self.told.get()


@asynccontextmanager
async def watching(machine: str) -> AsyncIterator[Watched]:
    netns.create(machine)
    found, began = Watched(machine), asyncio.Event()
    task = asyncio.create_task(found.tables.watch(began.set))
    await began.wait()
    await found.tables.apply(TABLE)
    yield found
    task.cancel()
    netns.remove(machine)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watching(str(tmp_path / "machine")) as found:
        yield found


@pytest.mark.parametrize(
    "deed",
    [
        f"delete table ip {OURS}",
        "flush ruleset",
        f"flush table ip {OURS}",
        f"flush chain ip {OURS} forward",
        f"delete element ip {OURS} known {{ 10.0.0.1 }}",
        f"insert rule ip {OURS} forward accept",
        f"add table ip {OURS} {{ flags dormant; }}",
    ],
)
async def test_whatever_somebody_else_does_to_a_table_is_told(watched: Watched, deed: str) -> None:
    nft.apply(deed + "\n", watched.machine)
    assert await watched.next_told() == OURS


async def test_what_we_do_ourselves_and_what_is_done_to_others_tables_is_not(watched: Watched) -> None:
    for number in range(10):
        await watched.tables.apply(f"add element ip {OURS} known {{ 10.0.1.{number} }}\n")
        nft.apply(f"add table ip other-{number}\n", watched.machine)
    await watched.tables.apply(f"delete table ip {OURS}\n")
    nft.apply(f"add table ip {MARK}\n", watched.machine)
    assert await watched.next_told() == MARK and watched.told.empty()


SMALL_BYTES = 16 << 10
MANY = ", ".join(f"10.1.{number // 256}.{number % 256}" for number in range(5000))
"""More news than fits."""


async def test_of_more_news_than_fits_whoever_may_have_been_touched_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nft_news, "BUFFER_BYTES", SMALL_BYTES)
    async with watching(str(tmp_path / "machine")) as watched:
        nft.apply(f"add table ip {MARK}\n", watched.machine)
        assert await watched.next_told() == MARK
        nft.apply(f"add element ip {OURS} known {{ {MANY} }}\n", watched.machine)  # at a moment when nobody can hear it
        nft.apply(f"flush chain ip {OURS} forward\n", watched.machine)
        assert {await watched.next_told(), await watched.next_told()} == {OURS, MARK}


async def test_more_news_of_our_own_than_fits_is_nothing_that_others_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nft_news, "BUFFER_BYTES", SMALL_BYTES)
    counted = asyncio.Event()
    monkeypatch.setattr(own_tables, "generation", lambda path: (counted.set(), nft_news.generation(path))[1])
    async with watching(str(tmp_path / "machine")) as watched:
        nft.apply("add table ip somebody-elses\n", watched.machine)
        for verb in ("add", "delete"):
            counted.clear()
            told_of_nothing_meanwhile(watched.tables.apply(f"{verb} element ip {OURS} known {{ {MANY} }}\n"))
            await counted.wait()
        nft.apply(f"add table ip {MARK}\n", watched.machine)
        assert await watched.next_told() == MARK and watched.told.empty()


def told_of_nothing_meanwhile(work: Coroutine[Any, Any, None]) -> None:
    """Done while this thread's loop stands still."""
    doing = threading.Thread(target=asyncio.run, args=(work,))
    doing.start()
    doing.join()
