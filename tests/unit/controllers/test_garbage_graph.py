from typing import Any

from kybern.api.core_v1 import ConfigMap
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.client.paths import kind_of
from kybern.controllers.garbagecollector.graph import (
    FOREGROUND,
    ORPHAN,
    Delete,
    Finish,
    Graph,
    Item,
    Nothing,
    Orphan,
    SetOwners,
    decide,
    unknown_owners,
)

NOW = "2026-01-01T00:00:00Z"


def ref(uid: str, *, blocking: bool = True) -> OwnerReference:
    return OwnerReference(api_version="v1", kind="ConfigMap", name=uid, uid=uid, block_owner_deletion=blocking or None)


def item(uid: str, *owners: OwnerReference, **meta: Any) -> Item:
    return Item(kind_of(ConfigMap), ObjectMeta(name=uid, uid=uid, owner_references=owners or None, **meta))


def waiting(uid: str, *owners: OwnerReference) -> Item:
    return item(uid, *owners, deletion_timestamp=NOW, finalizers=(FOREGROUND,))


def graph(*items: Item) -> tuple[Graph, list[str]]:
    woken: list[str] = []
    found = Graph(woken.append)
    for one in items:
        found.put(one)
    woken.clear()
    return found, woken


def test_what_nobody_owns_stays() -> None:
    assert decide(item("a"), graph()[0], {}) == Nothing()


def test_what_an_owner_that_is_there_owns_stays() -> None:
    owned = item("a", ref("o"))
    assert decide(owned, graph(item("o"), owned)[0], {}) == Nothing()


def test_an_owner_that_the_graph_does_not_know_is_asked_for() -> None:
    owned = item("a", ref("o"))
    known, _ = graph(owned)
    assert unknown_owners(owned, known) == [ref("o")]
    assert decide(owned, known, {"o": True}) == Nothing()
    assert decide(owned, known, {"o": False}) == Delete(owned, "Background")


def test_when_an_owner_goes_its_dependents_are_looked_at() -> None:
    known, woken = graph(item("o"), item("a", ref("o")), item("b", ref("o")))
    known.remove("o")
    assert woken == ["a", "b"]


def test_one_of_two_owners_is_enough_to_stay() -> None:
    owned = item("a", ref("gone"), ref("o"))
    assert decide(owned, graph(item("o"), owned)[0], {"gone": False}) == SetOwners(owned, (ref("o"),))


def test_a_foreground_deletion_takes_the_dependents_first() -> None:
    owner, owned = waiting("o"), item("a", ref("o"))
    known, _ = graph(owner, owned)
    assert decide(owner, known, {}) == Nothing()
    assert decide(owned, known, {}) == Delete(owned, "Background")


def test_a_foreground_deletion_ends_when_nothing_blocks_it() -> None:
    owner = waiting("o")
    assert decide(owner, graph(owner, item("a", ref("o", blocking=False)))[0], {}) == Finish(owner, FOREGROUND)


def test_the_last_blocking_dependent_wakes_its_owner() -> None:
    known, woken = graph(waiting("o"), item("a", ref("o")))
    known.remove("a")
    assert woken == ["o"]


def test_a_dependent_with_dependents_is_deleted_in_the_foreground_too() -> None:
    middle = item("m", ref("o"))
    assert decide(middle, graph(waiting("o"), middle, item("a", ref("m")))[0], {}) == Delete(middle, "Foreground")


def test_orphans_lose_their_owner_and_stay() -> None:
    owner = item("o", deletion_timestamp=NOW, finalizers=(ORPHAN,))
    owned = item("a", ref("o"))
    assert decide(owner, graph(owner, owned)[0], {}) == Orphan(owner, (owned,))


def test_a_circle_in_the_foreground_does_not_wait_for_itself() -> None:
    first, second = waiting("a", ref("b")), item("b", ref("a"))
    action = decide(second, graph(first, second)[0], {})
    assert isinstance(action, SetOwners) and not action.owners[0].block_owner_deletion


def test_a_circle_that_is_deleted_in_the_foreground_on_all_sides_does_not_wait_for_itself() -> None:
    first, second, own = waiting("a", ref("b")), waiting("b", ref("a")), waiting("c", ref("c"))
    known, _ = graph(first, second, own)
    assert [decide(one, known, {}) for one in (first, own)] == [Finish(first, FOREGROUND), Finish(own, FOREGROUND)]
    held = item("d", ref("a"))
    known.put(held)
    assert decide(first, known, {}) == Nothing()


def test_an_owner_in_another_namespace_owns_nothing_here() -> None:
    owner, owned = item("o", namespace="there"), item("a", ref("o"), namespace="here")
    known, _ = graph(owner, owned)
    assert unknown_owners(owned, known) == [ref("o")]
    assert decide(owned, known, {"o": False}) == Delete(owned, "Background")
