"""What every store promises (kybern.store.interface), asked of each of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kybern.store import watch as watch_module
from kybern.store.interface import Change, Compacted, Conflict, FutureRevision, Store, Unavailable
from kybern.store.memory import MemoryStore
from kybern.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "state.db")
    yield opened
    await opened.close()


async def test_a_put_is_read_back_with_its_revisions(store: Store) -> None:
    revision = await store.put("/a/x", b"1")
    entry = await store.get("/a/x")
    assert entry is not None
    assert (entry.value, entry.created, entry.revision) == (b"1", revision, revision)


async def test_every_write_gets_the_next_revision(store: Store) -> None:
    revisions = [await store.put("/a/x", b"1"), await store.put("/a/y", b"2"), await store.delete("/a/x")]
    assert revisions == [1, 2, 3]
    assert store.revision == 3


async def test_an_overwrite_keeps_the_revision_of_creation(store: Store) -> None:
    await store.put("/a/x", b"1")
    await store.put("/a/x", b"2")
    entry = await store.get("/a/x")
    assert entry is not None
    assert (entry.created, entry.revision) == (1, 2)


async def test_a_put_with_a_stale_revision_conflicts_and_names_the_current_entry(store: Store) -> None:
    await store.put("/a/x", b"1")
    await store.put("/a/x", b"2", expected=1)
    with pytest.raises(Conflict) as caught:
        await store.put("/a/x", b"3", expected=1)
    assert caught.value.current is not None
    assert caught.value.current.value == b"2"


async def test_a_put_that_expects_nothing_only_creates(store: Store) -> None:
    await store.put("/a/x", b"1", expected=0)
    with pytest.raises(Conflict):
        await store.put("/a/x", b"2", expected=0)


async def test_a_put_that_expects_a_revision_does_not_create(store: Store) -> None:
    with pytest.raises(Conflict):
        await store.put("/a/x", b"1", expected=7)


async def test_a_delete_of_nothing_is_none_and_writes_nothing(store: Store) -> None:
    assert await store.delete("/a/x") is None
    assert store.revision == 0


async def test_a_delete_with_a_stale_revision_conflicts(store: Store) -> None:
    await store.put("/a/x", b"1")
    await store.put("/a/x", b"2")
    with pytest.raises(Conflict):
        await store.delete("/a/x", expected=1)
    assert await store.delete("/a/x", expected=2) == 3


async def test_a_created_again_key_is_a_new_entry(store: Store) -> None:
    await store.put("/a/x", b"1")
    await store.delete("/a/x")
    await store.put("/a/x", b"2", expected=0)
    entry = await store.get("/a/x")
    assert entry is not None
    assert entry.created == 3


async def test_a_list_shows_only_its_prefix_in_key_order(store: Store) -> None:
    for key in ("/a/y", "/a/x", "/ab/x", "/a/x-1", "/b/x"):
        await store.put(key, b"")
    entries, revision = await store.list("/a/")
    assert [entry.key for entry in entries] == ["/a/x", "/a/x-1", "/a/y"]
    assert revision == 5


async def test_a_list_at_a_revision_shows_the_past(store: Store) -> None:
    await store.put("/a/x", b"1")
    await store.put("/a/y", b"1")
    at = store.revision
    await store.put("/a/x", b"2")
    await store.delete("/a/y")
    await store.put("/a/z", b"1")
    entries, revision = await store.list("/a/", at=at)
    assert [(entry.key, entry.value) for entry in entries] == [("/a/x", b"1"), ("/a/y", b"1")]
    assert revision == at


async def test_a_list_at_a_revision_to_come_is_refused(store: Store) -> None:
    with pytest.raises(FutureRevision):
        await store.list("/a/", at=9)


async def test_a_list_before_the_compaction_is_refused(store: Store) -> None:
    for value in (b"1", b"2", b"3"):
        await store.put("/a/x", value)
    await store.compact(2)
    assert store.oldest == 2
    with pytest.raises(Compacted):
        await store.list("/a/", at=1)
    entries, _ = await store.list("/a/", at=2)
    assert [entry.value for entry in entries] == [b"2"]


async def test_a_watch_gets_every_later_change_once_and_in_order(store: Store) -> None:
    await store.put("/a/x", b"1")
    watch = store.watch("/a/", after=store.revision)
    await store.put("/a/x", b"2")
    await store.put("/b/x", b"-")
    await store.delete("/a/x")
    changes = await collect(watch, 2)
    assert [(c.revision, c.value, c.previous and c.previous.value) for c in changes] == [
        (2, b"2", b"1"),
        (4, None, b"2"),
    ]


async def test_a_watch_from_the_past_gets_the_past_first(store: Store) -> None:
    for number in range(5):
        await store.put("/a/x", b"%d" % number)
    watch = store.watch("/a/", after=2)
    await store.put("/a/x", b"5")
    assert [change.revision for change in await collect(watch, 4)] == [3, 4, 5, 6]


async def test_a_watch_from_before_the_compaction_is_refused(store: Store) -> None:
    for number in range(5):
        await store.put("/a/x", b"%d" % number)
    await store.compact(3)
    with pytest.raises(Compacted):
        store.watch("/a/", after=2)
    assert [change.revision for change in await collect(store.watch("/a/", after=3), 2)] == [4, 5]


async def test_a_watcher_that_falls_behind_is_cut(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "WATCH_BUFFER_CHANGES_MAX", 3)
    watch = store.watch("/a/", after=0)
    for number in range(4):
        await store.put("/a/x", b"%d" % number)
    with pytest.raises(Compacted):
        await anext(watch)


async def test_a_watch_ends_when_the_store_closes(store: Store) -> None:
    watch = store.watch("/a/", after=0)
    ended = asyncio.create_task(collect(watch, 1))
    await asyncio.sleep(0)
    await store.close()
    assert await ended == []


async def test_subscribers_have_seen_a_write_when_it_returns(store: Store) -> None:
    seen: list[int] = []
    unsubscribe = store.subscribe("/a/", lambda changes: seen.extend(change.revision for change in changes))
    assert await store.put("/a/b/c", b"1") in seen
    unsubscribe()
    await store.put("/a/b/c", b"2")
    assert seen == [1]


async def test_concurrent_writers_of_one_key_each_get_their_own_revision(store: Store) -> None:
    revisions = await asyncio.gather(*(store.put("/a/x", b"%d" % number) for number in range(50)))
    assert sorted(revisions) == list(range(1, 51))
    entry = await store.get("/a/x")
    assert entry is not None
    assert entry.value == b"%d" % revisions.index(50)


async def test_of_concurrent_creations_exactly_one_wins(store: Store) -> None:
    results = await asyncio.gather(
        *(store.put("/a/x", b"%d" % number, expected=0) for number in range(8)), return_exceptions=True
    )
    assert [result for result in results if isinstance(result, int)] == [1]
    assert all(isinstance(result, Conflict) for result in results if result != 1)


async def test_a_writer_can_build_upon_the_head_before_it_is_durable(store: Store) -> None:
    first = asyncio.create_task(store.put("/a/x", b"1"))
    await asyncio.sleep(0)
    head = store.head("/a/x")
    assert head is not None
    second = await store.put("/a/x", head.value + b"2", expected=head.revision)
    assert (await first, second) == (1, 2)


async def test_settled_means_durable(store: Store) -> None:
    task = asyncio.create_task(store.put("/a/x", b"1"))
    await asyncio.sleep(0)
    await store.settle()
    assert await store.get("/a/x") is not None
    await task


async def test_a_closed_store_refuses_writes(store: Store) -> None:
    await store.close()
    with pytest.raises(Unavailable):
        await store.put("/a/x", b"1")


async def collect(watch: AsyncIterator[object], count: int) -> list[Change]:
    """`count` changes, or what came before the end."""
    changes: list[Change] = []
    async for batch in watch:
        changes += batch  # type: ignore[arg-type]
        if len(changes) >= count:
            break
    return changes
