import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest

from kybern.aio.slices import SLICE_ITEMS
from kybern.api.core_v1 import ConfigMap, Pod, Secret
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import View, WatchEvent, Write
from kybern.client.cache import Cache
from kybern.testing import virtual
from kybern.testing.builders import pod, replicaset
from kybern.testing.cluster import running

OWNER = replicaset("web", 1)


def event(type: str, found: Pod) -> WatchEvent[Pod]:
    return WatchEvent(type, found)


def cache(*pods: Pod, revision: int = 1) -> tuple[Cache[Pod], list[tuple[str, str]]]:
    found: Cache[Pod] = Cache(lambda: None)
    told: list[tuple[str, str]] = []
    asyncio.run(found.replace(pods, revision))
    found.listeners.append(lambda old, new: told.append((name(old), name(new))))
    return found, told


def name(found: Pod | None) -> str:
    return (found.metadata.name or "") if found is not None else "-"


def names(found: Sequence[Pod]) -> list[str]:
    return [name(one) for one in found]


def test_objects_are_found_by_their_controller_and_their_namespace() -> None:
    found, _ = cache(pod("a", owner=OWNER), pod("b"), pod("c", namespace="other"))
    assert names(found.by_index("controller", "uid-web")) == ["a"]
    assert names(found.by_index("namespace", "default")) == ["a", "b"]


def test_an_index_follows_changes() -> None:
    found, _ = cache(pod("a", owner=OWNER))
    found.apply([event("MODIFIED", pod("a", resource_version="2"))])
    assert names(found.by_index("controller", "uid-web")) == []
    found.apply([event("DELETED", pod("a", resource_version="3"))])
    assert names(found.by_index("uid", "uid-a")) == []


def test_an_index_made_later_knows_what_is_there() -> None:
    found, _ = cache(pod("a", node="n1"))
    found.add_index("node", lambda one: (one.spec.node_name or "",))
    assert names(found.by_index("node", "n1")) == ["a"]


def test_listeners_are_told_of_every_change() -> None:
    found, told = cache(pod("a"), pod("b"))
    found.apply([event("ADDED", pod("c")), event("MODIFIED", pod("a")), event("DELETED", pod("b"))])
    assert told == [("-", "c"), ("a", "a"), ("b", "-")]


def test_a_new_list_tells_only_what_differs() -> None:
    found, told = cache(pod("a"), pod("b"))
    asyncio.run(found.replace([pod("a"), pod("c")], 9))
    assert told == [("b", "-"), ("-", "c")]


def test_a_long_list_lets_other_tasks_have_their_turn_and_is_never_seen_by_half() -> None:
    found, told = cache()
    seen: list[tuple[int, int]] = []
    late: list[int] = []

    async def main() -> None:
        listing = asyncio.ensure_future(found.replace([pod(f"p{n}") for n in range(5 * SLICE_ITEMS)], 9))
        while not listing.done():
            seen.append((len(found.objects), len(told)))
            if found.revision >= 9:
                late.append(len(told))
            await asyncio.sleep(0)

    asyncio.run(main())
    assert set(late) <= {5 * SLICE_ITEMS}  # it is as late as that once all were told
    assert {there for there, _ in seen} == {0, 5 * SLICE_ITEMS}
    assert max(later - before for (_, before), (_, later) in pairwise(seen)) == SLICE_ITEMS
    assert told == [("-", f"p{n}") for n in range(5 * SLICE_ITEMS)]


def test_what_exists_is_told_of_in_slices_and_what_changes_meanwhile_once_and_as_it_is_then() -> None:
    found, _ = cache(*(pod(f"p{n}") for n in range(3 * SLICE_ITEMS)))
    told: list[tuple[str, str, str | None]] = []

    def note(old: Pod | None, new: Pod | None) -> None:
        told.append((name(old), name(new), new.spec.node_name if new else None))

    async def main() -> None:
        listening = asyncio.ensure_future(found.tell_in_slices(note))
        await asyncio.sleep(0)
        assert len(told) == SLICE_ITEMS
        found.apply([event("MODIFIED", pod("p0", node="n")), event("MODIFIED", pod("p40", node="n"))])
        found.apply([event("DELETED", pod("p1")), event("DELETED", pod("p41")), event("ADDED", pod("new"))])
        await listening

    asyncio.run(main())
    meanwhile = [("p0", "p0", "n"), ("-", "p40", "n"), ("p1", "-", None), ("-", "new", None)]
    assert told[SLICE_ITEMS : SLICE_ITEMS + 4] == meanwhile
    others = [one for one in told if one not in meanwhile]
    assert others == [("-", f"p{n}", None) for n in range(3 * SLICE_ITEMS) if n not in (40, 41)]


def test_the_revision_never_goes_back() -> None:
    found, _ = cache(revision=7)
    found.apply([event("BOOKMARK", pod("", resource_version="9"))])
    asyncio.run(found.replace([], 8))
    assert found.revision == 9


def test_a_view_waits_for_a_write_and_not_for_what_it_does_not_follow() -> None:
    async def main() -> None:
        async with asyncio.timeout(600), running((), loops=()) as cluster:  # of virtual time, in which all is prompt
            cluster.view.watch_kind(ConfigMap)
            await cluster.view.synced()
            told: list[Write] = []
            client = cluster.client.telling(told.append)
            await client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default")))
            await cluster.view.caught_up(told)
            assert cluster.view.get(ConfigMap, "a", "default") is not None
            await client.delete(ConfigMap, "a", "default")
            await cluster.view.caught_up(told)
            assert cluster.view.get(ConfigMap, "a", "default") is None
            await cluster.view.caught_up([Write(Secret, "default", "web", "u", 999_999)])

    virtual.run(main())


def test_who_waits_goes_on_with_the_change_that_is_waited_for() -> None:
    async def main() -> int:
        woken = 0
        async with running(()) as cluster:
            view, client = cluster.view, cluster.client
            view.watch_kind(ConfigMap)
            await view.synced()

            async def wait() -> None:
                nonlocal woken
                await view.wait_until(lambda: view.get(ConfigMap, "b", "default") is not None)
                woken = cluster.store.revision

            waiting = asyncio.create_task(wait())
            await client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default")))
            await cluster.advance(1)
            assert not woken
            await client.create(ConfigMap(metadata=ObjectMeta(name="b", namespace="default")))
            await cluster.advance(1)
            assert waiting.done()
        return woken

    assert virtual.run(main())


def test_a_question_that_fails_fails_where_it_waits_and_nowhere_else() -> None:
    async def main() -> None:
        async with running(()) as cluster:
            view = cluster.view
            view.watch_kind(ConfigMap)
            await view.synced()
            waiting = asyncio.create_task(
                view.wait_until(lambda: view.get(ConfigMap, "b", "default") is not None and 1 / 0 > 0)
            )
            for name in ("a", "b"):
                await cluster.client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace="default")))
                await cluster.advance(1)
            with pytest.raises(ZeroDivisionError):
                await waiting
            assert view.get(ConfigMap, "b", "default") is not None

    virtual.run(main())


def test_a_view_of_a_part_waits_for_what_it_has_and_not_for_what_it_never_sees() -> None:
    async def main() -> None:
        async with running(nodes=()) as cluster:
            view = View(cluster.client, clock=cluster.clock)
            view.watch_kind(ConfigMap, labels="shown")
            following = asyncio.create_task(view.run())
            told: list[Write] = []
            client = cluster.client.telling(told.append)
            shown = ObjectMeta(name="a", namespace="default", labels={"shown": ""})
            await client.create(ConfigMap(metadata=ObjectMeta(name="b", namespace="default")))
            await view.caught_up(told)
            await client.create(ConfigMap(metadata=shown))
            await view.wait_until(lambda: view.get(ConfigMap, "a", "default") is not None)
            for patch in ({"data": {"k": "v"}}, {"metadata": {"labels": None}}):
                await client.patch(ConfigMap, "a", "default", patch)
                await view.caught_up(told[-1:])
                assert view.revision(ConfigMap) >= told[-1].revision
            assert view.get(ConfigMap, "a", "default") is None
            following.cancel()

    virtual.run(main())
