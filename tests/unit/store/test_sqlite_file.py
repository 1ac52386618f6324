"""The SQLite store across restarts, damage and failing disks."""

import asyncio
import random
import sqlite3
import stat
from pathlib import Path

import pytest

from kybern.store.interface import Change, Compacted, Entry, Unavailable
from kybern.store.sqlite import SqliteStore
from kybern.store.sqlite_file import Batch, Loaded, SqliteFile


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    await store.put("/a/x", b"1")
    await store.put("/a/x", b"2")
    await store.put("/a/y", b"1")
    await store.delete("/a/y")
    await store.close()
    store = await SqliteStore.open(tmp_path / "db")
    assert await store.get("/a/x") == Entry("/a/x", b"2", 1, 2)
    assert await store.get("/a/y") is None
    assert store.revision == 4
    assert [c.revision for c in await anext(store.watch("/a/", after=0))] == [1, 2, 3, 4]
    assert await store.put("/a/z", b"") == 5
    await store.close()


async def test_a_compaction_survives_a_restart_and_deletes_rows(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    for number in range(2000):
        await store.put("/a/x", b"%d" % number)
    await store.put("/a/y", b"")
    await store.delete("/a/y")
    await store.compact(store.revision)
    await store.close()
    with sqlite3.connect(tmp_path / "db") as db:
        assert db.execute("SELECT revision, key FROM log").fetchall() == [(2000, "/a/x")]
    db.close()
    store = await SqliteStore.open(tmp_path / "db")
    assert (store.revision, store.oldest) == (2002, 2002)
    with pytest.raises(Compacted):
        store.watch("/a/", after=2001)
    assert await store.put("/a/y", b"") == 2003
    await store.close()


async def test_an_interrupted_compaction_is_finished_after_a_restart(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "db")
    entry = Entry("/a/x", b"1", 1, 1)
    file.commit(Batch([Change("/a/x", 1, b"1", None), Change("/a/x", 2, b"2", entry)]))
    file.commit(Batch([], compacted=2))
    loaded = file.load()
    file.close()
    assert (loaded.oldest, loaded.superseded, loaded.history) == (2, [1], [])


def test_the_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    SqliteFile(tmp_path / "db").close()
    assert stat.S_IMODE((tmp_path / "db").stat().st_mode) == 0o600


async def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    await store.put("/a/x", b"1")
    with pytest.raises(Unavailable):
        SqliteFile(tmp_path / "db")
    await store.close()


async def test_a_damaged_row_is_noticed(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    await store.put("/a/x", b"acknowledged")
    await store.close()
    data = (tmp_path / "db").read_bytes()
    (tmp_path / "db").write_bytes(data.replace(b"acknowledged", b"acknowledgeD"))
    with pytest.raises(Unavailable, match="revision 1 is damaged"):
        await SqliteStore.open(tmp_path / "db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"not a database" * 100)
    with pytest.raises(Unavailable):
        SqliteFile(tmp_path / "db")


class FailingFile(SqliteFile):
    """Fails the commits it is told to."""

    failure: Exception | None = None

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.commits: list[int] = []

    def commit(self, batch: Batch) -> None:
        self.commits.append(len(batch.changes))
        if self.failure:
            raise self.failure
        super().commit(batch)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as the test asked")
    error.sqlite_errorcode = code
    return error


async def test_after_a_failed_commit_the_store_only_reads(tmp_path: Path) -> None:
    file = FailingFile(tmp_path / "db")
    store = SqliteStore(file)
    await store.put("/a/x", b"1")
    file.failure = sqlite_error(sqlite3.SQLITE_IOERR)
    with pytest.raises(Unavailable):
        await store.put("/a/x", b"2")
    file.failure = None
    with pytest.raises(Unavailable):
        await store.put("/a/x", b"3")
    assert await store.get("/a/x") == Entry("/a/x", b"1", 1, 1)
    await store.close()
    store = await SqliteStore.open(tmp_path / "db")
    assert await store.put("/a/x", b"4", expected=1) == 2
    await store.close()


async def test_a_full_disk_fails_the_write_and_no_later_one(tmp_path: Path) -> None:
    file = FailingFile(tmp_path / "db")
    store = SqliteStore(file)
    file.failure = sqlite_error(sqlite3.SQLITE_FULL)
    results = await asyncio.gather(*(store.put("/a/x", b"1") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    file.failure = None
    assert await store.get("/a/x") is None
    revision = await store.put("/a/x", b"2", expected=0)
    assert revision > 3, "a revision is not used twice, even when its write failed"
    await store.close()


async def test_a_writer_that_goes_away_does_not_take_its_write_back(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    task = asyncio.create_task(store.put("/a/x", b"1"))
    await asyncio.sleep(0)
    task.cancel()
    await store.settle()
    assert await store.get("/a/x") is not None
    await store.close()


async def test_many_writers_share_few_commits(tmp_path: Path) -> None:
    file = FailingFile(tmp_path / "db")
    store = SqliteStore(file)
    await asyncio.gather(*(store.put(f"/a/{number}", b"") for number in range(1200)))
    assert sum(file.commits) == 1200
    assert len(file.commits) <= 3
    await store.close()


async def test_twenty_thousand_objects_are_all_there_after_a_restart(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    value = b"x" * 1000
    await asyncio.gather(*(store.put(f"/a/{number}", value) for number in range(20_000)))
    await store.close()
    store = await SqliteStore.open(tmp_path / "db")
    assert len((await store.list("/a/"))[0]) == 20_000
    await store.close()


async def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    rng = random.Random(5)
    store = await SqliteStore.open(tmp_path / "db")
    for number in range(100):
        await store.put(f"/a/{number % 40}", rng.randbytes(rng.randint(10, 400)))
    await store.compact(60)
    wanted = {entry.key: entry for entry in (await store.list("/"))[0]}
    await store.close()
    whole = (tmp_path / "db").read_bytes()
    refused = 0
    for number in range(100):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path = tmp_path / f"damaged-{number}"
        path.write_bytes(damaged)
        try:
            loaded = loaded_from(path)
        except Unavailable:
            refused += 1
        else:
            assert loaded.entries == wanted
            assert (loaded.revision, loaded.oldest) == (100, 60)
    assert refused > 20


def loaded_from(path: Path) -> Loaded:
    file = SqliteFile(path)
    try:
        return file.load()
    finally:
        file.close()
