"""Goal: a pass never sees a state from before its own writes. Method: a whole cluster, with loops made for the test."""

import asyncio

import pytest

from kybern.api.core_v1 import ConfigMap
from kybern.api.errors import BadRequest
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller, Running
from kybern.reconcile.controller import Surroundings
from kybern.testing import virtual
from kybern.testing.cluster import running


def config(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)


def test_a_loop_sees_what_it_wrote() -> None:
    async def reconcile(seen: ConfigMap, view: View, client: Client, context: Context) -> None:
        if seen.metadata.name == "count" and int((seen.data or {})["n"]) < 20:
            await client.patch(ConfigMap, "count", "default", {"data": {"n": str(int((seen.data or {})["n"]) + 1)}})
            writes.append(int((seen.data or {})["n"]))

    writes: list[int] = []

    async def main() -> None:
        async with running((), loops=(Controller(name="t", reconciles=ConfigMap, by=reconcile),)) as cluster:
            await cluster.client.create(config("count", n="0"))
            await cluster.settle()

    virtual.run(main())
    assert writes == list(range(20))


def test_a_loop_sees_what_it_deleted() -> None:
    deleted: list[str] = []

    async def reconcile(seen: ConfigMap, view: View, client: Client, context: Context) -> None:
        for other in view.list(ConfigMap, "default"):
            if (other.metadata.name or "").startswith("old"):
                await client.delete(ConfigMap, other.metadata.name or "", "default")
                deleted.append(other.metadata.name or "")

    async def main() -> None:
        loop = Controller(name="t", reconciles=ConfigMap, by=reconcile, workers=1)
        async with running((), loops=(loop,)) as cluster:
            for name in ("old-a", "old-b", "old-c", "go"):
                await cluster.client.create(config(name))
            await cluster.settle()

    virtual.run(main())
    assert sorted(deleted) == ["old-a", "old-b", "old-c"]


@pytest.mark.parametrize("error", [BadRequest("no"), RuntimeError("bug")])
def test_a_pass_that_fails_is_tried_again(error: Exception) -> None:
    tries: list[float] = []

    async def reconcile(seen: ConfigMap, view: View, client: Client, context: Context) -> After | None:
        if seen.metadata.name == "a":
            tries.append(context.now)
            if len(tries) < 4:
                raise error
        return None

    async def main() -> None:
        async with running((), loops=(Controller(name="t", reconciles=ConfigMap, by=reconcile),)) as cluster:
            await cluster.client.create(config("a"))
            await cluster.settle()

    virtual.run(main())
    assert [round((late - tries[0]) * 1000) for late in tries] == [0, 5, 15, 35]


def test_a_loop_can_look_again_later() -> None:
    seen_at: list[float] = []

    async def reconcile(seen: ConfigMap, view: View, client: Client, context: Context) -> After | None:
        if seen.metadata.name != "a":
            return None
        seen_at.append(context.now)
        return After(60) if len(seen_at) < 3 else None

    async def main() -> None:
        async with running((), loops=(Controller(name="t", reconciles=ConfigMap, by=reconcile),)) as cluster:
            await cluster.client.create(config("a"))
            await cluster.advance(300)

    virtual.run(main())
    assert [round(late - seen_at[0]) for late in seen_at] == [0, 60, 120]


def test_a_thousand_passes_that_wait_for_nothing_leave_others_their_turn() -> None:
    """Their queue is never empty, so they would never be interrupted, and no lease be renewed meanwhile."""
    passes: list[str] = []
    turns: list[int] = []
    begun = asyncio.Event()

    async def reconcile(seen: ConfigMap, view: View, client: Client, context: Context) -> None:
        passes.append(seen.metadata.name or "")
        begun.set()

    async def other(around: Surroundings) -> None:
        await around.clock.sleep(30)
        passes.clear()
        begun.clear()
        await begun.wait()
        while len(passes) < 64:
            turns.append(len(passes))
            await asyncio.sleep(0)

    async def main() -> None:
        slow = Controller(name="t", reconciles=ConfigMap, by=reconcile, workers=1, resync_seconds=60)
        async with running((), loops=(slow, Running(name="other", by=other))) as cluster:
            for number in range(64):
                await cluster.client.create(config(f"c{number}"))
            await cluster.advance(70)

    virtual.run(main())
    assert len(turns) >= 3
