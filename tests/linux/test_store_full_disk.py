"""D4: on a full disk reads go on, writes are refused, nothing acknowledged is lost, and space makes writing work again."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kybern.store.interface import Unavailable
from kybern.store.sqlite import SqliteStore

pytestmark = pytest.mark.linux

DISK_BYTES = 2 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "kybern-test", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


async def test_a_full_disk_refuses_writes_until_there_is_space(disk: Path) -> None:
    filler = disk / "filler"
    filler.write_bytes(b"x" * (DISK_BYTES // 2))
    store = await SqliteStore.open(disk / "state.db")
    acknowledged: dict[str, bytes] = {}
    for round_ in range(5):
        await write_until_full(store, acknowledged, round_)
        for key, value in acknowledged.items():
            entry = await store.get(key)
            assert entry is not None
            assert entry.value == value
        filler.write_bytes(b"x" * (DISK_BYTES // 2 - (round_ + 1) * 100_000))
        revision = await store.put("/after", b"space is back")
        assert revision == store.revision
    await store.close()
    filler.unlink()
    store = await SqliteStore.open(disk / "state.db")
    entries, _ = await store.list("/k/")
    assert {entry.key: entry.value for entry in entries} == acknowledged
    await store.close()


async def write_until_full(store: SqliteStore, acknowledged: dict[str, bytes], round_: int) -> None:
    number = 0
    while True:
        keys = [f"/k/{round_}-{number}-{part}" for part in range(8)]
        value = b"%d" % number + b"v" * 2000
        results = await asyncio.gather(*(store.put(key, value) for key in keys), return_exceptions=True)
        number += 1
        for key, result in zip(keys, results, strict=True):
            if isinstance(result, int):
                acknowledged[key] = value
            else:
                assert isinstance(result, Unavailable)
        if any(isinstance(result, Unavailable) for result in results):
            return
