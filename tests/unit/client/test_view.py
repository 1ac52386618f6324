import asyncio
from collections.abc import Sequence

from kybern.api.core_v1 import ConfigMap, Pod, Secret
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import WatchEvent, Write
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
    found.replace(pods, revision)
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
    found.replace([pod("a"), pod("c")], 9)
    assert told == [("b", "-"), ("-", "c")]


def test_the_revision_never_goes_back() -> None:
    found, _ = cache(revision=7)
    found.apply([event("BOOKMARK", pod("", resource_version="9"))])
    found.replace([], 8)
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
