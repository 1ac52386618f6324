"""Who has to leave for a more important pod: by value, and against a model that tries every set of victims."""

import random
from itertools import combinations
from typing import Any

import pytest
from known_objects import Known
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.scheduler.judgement import Judge, best, judge
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.preemption import Attempt, Refused, preempt
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.refusal import refusal
from kybern.scheduler.snapshot import Snapshot


def node(name: str, cpu: int = 4, **spec: Any) -> Node:
    labels = {"kubernetes.io/hostname": name, "zone": "z"}
    allocatable = {"cpu": str(cpu), "memory": "64Gi", "pods": "110"}
    return from_builtins(
        Node, {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": allocatable}}
    )


def pod(
    name: str, cpu: int, priority: int, *, began: int = 0, labels: dict[str, str] | None = None, **spec: Any
) -> Pod:
    ports = spec.pop("ports", [])
    container = {"name": "c", "image": "i", "ports": ports, "resources": {"requests": {"cpu": str(cpu)}}}
    return from_builtins(
        Pod,
        {
            "metadata": {"name": name, "namespace": "x", "uid": name, "labels": labels or {}},
            "spec": {"priority": priority, "containers": [container], **spec},
            "status": {"startTime": f"2026-01-01T00:00:{began:02}Z"},
        },
    )


def budget(allowed: int, **labels: str) -> PodDisruptionBudget:
    spec = {"selector": {"matchLabels": labels}}
    status = {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    metadata = {"name": "b", "namespace": "x", "uid": "b"}
    return from_builtins(PodDisruptionBudget, {"metadata": metadata, "spec": spec, "status": status})


def cluster(*nodes: Node, **placed: list[Pod]) -> Snapshot:
    snapshot = Snapshot()
    for one in nodes:
        snapshot.set_node(one)
    for name, pods in placed.items():
        for one in pods:
            snapshot.add_pod(one, name)
    return snapshot


def attempt(wanted: Pod, snapshot: Snapshot, *budgets: PodDisruptionBudget, to: Nominations | None = None) -> Attempt:
    nominations = to or Nominations()
    judgement = nominations.respected(judge(wanted, snapshot, DEFAULT_PROFILE))
    assert best(judgement, random.Random(1)) is None
    why = refusal(wanted, judgement, snapshot)
    return preempt(Refused(judgement, why, nominations, lambda namespace: budgets, random.Random(1)))


def outcome(found: Attempt) -> tuple[str, list[str]] | None:
    return (found.candidate.node, [v.metadata.name or "" for v in found.candidate.victims]) if found.candidate else None


def test_only_as_many_leave_as_must_and_the_least_important_first() -> None:
    snapshot = cluster(node("n1"), n1=[pod("a", 1, 1), pod("b", 1, 3), pod("c", 1, 2), pod("d", 1, 9)])
    assert outcome(attempt(pod("p", 2, 5), snapshot)) == ("n1", ["c", "a"])
    assert snapshot.placed.keys() == {"a", "b", "c", "d"}


def test_nobody_as_important_leaves_and_the_reasons_are_told() -> None:
    snapshot = cluster(node("n1"), node("n2", 1), node("n3"), n1=[pod("a", 4, 5)], n3=[pod("b", 3, 5), pod("c", 1, 1)])
    found = attempt(pod("p", 2, 5), snapshot)
    assert found == Attempt(
        None,
        "preemption: 0/3 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod, "
        "1 Preemption is not helpful for scheduling.",
    )


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        ([("a", 4, 1)], [("b", 4, 2)], "n1"), ([("a", 4, 2)], [("b", 2, 2), ("c", 2, 1)], "n1"),
        ([("a", 2, 2), ("b", 2, 2)], [("c", 4, 2)], "n2"),
        ([("a", 2, 3), ("b", 2, 0)], [("c", 2, 2), ("d", 2, 2)], "n2"),
    ],
)  # fmt: skip
def test_which_node_costs_least(first: Any, second: Any, better: str) -> None:
    snapshot = cluster(node("n1"), node("n2"), n1=[pod(*one) for one in first], n2=[pod(*one) for one in second])
    found = outcome(attempt(pod("p", 4, 5), snapshot))
    assert found is not None and found[0] == better


def test_among_equals_those_that_began_last_leave() -> None:
    snapshot = cluster(node("n1"), node("n2"), n1=[pod("a", 4, 1, began=1)], n2=[pod("b", 4, 1, began=9)])
    assert outcome(attempt(pod("p", 4, 5), snapshot)) == ("n2", ["b"])
    snapshot = cluster(node("n1"), n1=[pod("a", 2, 1, began=1), pod("b", 2, 1, began=9)])
    assert outcome(attempt(pod("p", 2, 5), snapshot)) == ("n1", ["b"])


def test_a_budget_is_broken_only_where_nothing_else_helps() -> None:
    guarded = {"app": "db"}
    snapshot = cluster(
        node("n1"), node("n2"), n1=[pod("a", 4, 1, labels=guarded)], n2=[pod("b", 4, 4, labels={"app": "web"})]
    )
    assert outcome(attempt(pod("p", 4, 5), snapshot, budget(0, app="db"))) == ("n2", ["b"])
    assert outcome(attempt(pod("p", 4, 5), snapshot, budget(1, app="db"))) == ("n1", ["a"])
    both = cluster(node("n1"), n1=[pod("a", 2, 1, labels=guarded), pod("b", 2, 4)])
    assert outcome(attempt(pod("p", 2, 5), both, budget(0, app="db"))) == ("n1", ["b"])
    found = attempt(pod("p", 4, 5), both, budget(0, app="db")).candidate
    assert found is not None and found.broken_budgets == 1


def test_who_may_not_preempt_does_not_and_who_waits_for_victims_waits() -> None:
    leaving = pod("a", 4, 1)
    leaving = replace(leaving, metadata=replace(leaving.metadata, deletion_timestamp="2026-01-01T00:00:00Z"))
    snapshot = cluster(node("n1"), node("n2"), n1=[leaving], n2=[pod("b", 4, 1)])
    never = pod("p", 4, 5, preemptionPolicy="Never")
    assert attempt(never, snapshot).message == "preemption: not eligible due to preemptionPolicy=Never."
    nominations = Nominations()
    nominations.set(pod("p", 4, 5), "n1")
    assert attempt(pod("p", 4, 5), snapshot, to=nominations).message == (
        "preemption: not eligible due to a terminating pod on the nominated node."
    )


def test_what_is_promised_is_not_given_to_less_important_ones() -> None:
    snapshot = cluster(node("n1"))
    nominations = Nominations()
    nominations.set(pod("big", 3, 5), "n1")
    small = nominations.respected(judge(pod("p", 2, 1), snapshot, DEFAULT_PROFILE))
    assert not small.fits.any()
    assert refusal(small.pod, small, snapshot).available == "0/1 nodes are available: 1 Insufficient cpu."
    assert nominations.respected(judge(pod("p", 1, 1), snapshot, DEFAULT_PROFILE)).fits.all()
    assert nominations.respected(judge(pod("p", 2, 6), snapshot, DEFAULT_PROFILE)).fits.all()
    assert nominations.respected(judge(pod("big", 3, 5), snapshot, DEFAULT_PROFILE)).fits.all()


def far_from(**labels: str) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_a_pod_in_the_way_for_its_port_or_its_company_leaves_too() -> None:
    port = [{"containerPort": 80, "hostPort": 80}]
    snapshot = cluster(node("n1"), n1=[pod("a", 1, 1, ports=port), pod("b", 1, 1)])
    assert outcome(attempt(pod("p", 1, 5, ports=port), snapshot)) == ("n1", ["a"])
    snapshot = cluster(node("n1"), n1=[pod("a", 1, 1), pod("b", 1, 1, labels={"app": "db"})])
    before = snapshot.requested.copy()
    assert outcome(attempt(pod("p", 1, 5, affinity=far_from(app="db")), snapshot)) == ("n1", ["b"])
    assert (snapshot.requested == before).all() and set(snapshot.placed) == {"a", "b"}


def costs(victims: tuple[Pod, ...]) -> tuple[int, int, int]:
    priorities = [v.spec.priority or 0 for v in victims]
    return max(priorities), sum(p + (1 << 31) for p in priorities), len(victims)


@pytest.mark.parametrize("ports", [False, True])
def test_in_300_random_clusters_the_victims_are_minimal_and_the_node_the_cheapest(ports: bool) -> None:
    rng = random.Random(5)
    for _ in range(300):
        sizes = {f"n{number}": rng.randint(2, 6) for number in range(4)}
        placed: dict[str, list[Pod]] = {}
        for name, size in sizes.items():
            room = size
            while room > 0:
                one = pod(f"{name}-{room}", rng.randint(1, room), rng.randint(0, 6), began=rng.randint(0, 50))
                placed.setdefault(name, []).append(one)
                room -= int(one.spec.containers[0].resources.requests["cpu"])  # type: ignore[union-attr,index]
        snapshot = cluster(*(node(name, size) for name, size in sizes.items()), **placed)
        cpu, mine = rng.randint(1, 5), rng.randint(1, 7)
        more = {"ports": [{"containerPort": 1, "hostPort": 9}]} if ports else {}
        found = attempt(pod("p", cpu, mine, **more), snapshot)
        possible = {
            name: [
                chosen
                for count in range(1, len(pods) + 1)
                for chosen in combinations([p for p in pods if (p.spec.priority or 0) < mine], count)
                if sum(int(v.spec.containers[0].resources.requests["cpu"]) for v in chosen) >= cpu  # type: ignore[union-attr,index]
            ]
            for name, pods in placed.items()
        }
        feasible = {name for name, chosen in possible.items() if chosen}
        assert (found.candidate is None) == (not feasible)
        if found.candidate is None:
            continue
        assert found.candidate.node in feasible
        names = {v.metadata.name for v in found.candidate.victims}
        sets = [{v.metadata.name for v in chosen} for chosen in possible[found.candidate.node]]
        assert names in sets and not any(other < names for other in sets)
        worst = {name: min(costs(chosen)[0] for chosen in sets) for name, sets in possible.items() if sets}
        assert costs(found.candidate.victims)[0] == min(worst.values())
        assert set(snapshot.placed) == {p.metadata.name for pods in placed.values() for p in pods}


def test_what_was_found_for_one_pod_of_a_template_holds_for_the_next_until_something_changes() -> None:
    snapshot = cluster(node("n1"), node("n2"), n1=[pod("a", 4, 1)], n2=[pod("b", 4, 2)])
    known, nominations, budgets = Judge(snapshot, DEFAULT_PROFILE), Nominations(), [budget(1, app="db")]

    def leaves(name: str, epoch: int = 0) -> tuple[str, list[str]] | None:
        judgement = nominations.respected(known(pod(name, 4, 5)))
        why = refusal(judgement.pod, judgement, snapshot)
        found = preempt(Refused(judgement, why, nominations, lambda namespace: budgets, random.Random(1), epoch))
        if found.candidate:
            nominations.set(judgement.pod, found.candidate.node)
        return outcome(found)

    assert leaves("p1") == ("n1", ["a"])
    assert leaves("p2") == ("n2", ["b"])
    assert leaves("p3") is None
    nominations.drop("p2")
    assert leaves("p3") == ("n2", ["b"])
    nominations.drop("p1")
    snapshot.add_pod(pod("a", 4, 1, labels={"app": "db"}), "n1")
    assert leaves("p4") == ("n1", ["a"])
    nominations.drop("p4")
    nominations.drop("p3")
    budgets[0] = budget(0, app="db")
    assert leaves("p5", epoch=1) == ("n2", ["b"])


def test_no_one_leaves_a_node_that_another_rule_refuses_whoever_leaves() -> None:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}
    volume = from_builtins(
        PersistentVolume,
        {"metadata": {"name": "v"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}},
    )
    claim = from_builtins(
        PersistentVolumeClaim,
        {"metadata": {"name": "c", "namespace": "x"}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}},
    )
    snapshot = cluster(node("n1"), node("n2"), n1=[pod("x", 4, 1)], n2=[pod("y", 4, 4)])
    snapshot.view = Known(volume, claim)
    wanted = pod("p", 4, 5, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
    assert outcome(attempt(wanted, snapshot)) == ("n2", ["y"])
    snapshot.remove_node("n2")
    assert attempt(wanted, snapshot).message == (
        "preemption: 0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity."
    )


def test_pods_that_differ_in_labels_alone_have_victims_of_their_own() -> None:
    def objecting(name: str, to: str) -> Pod:
        term = {"labelSelector": {"matchLabels": {"app": to}}, "topologyKey": "kubernetes.io/hostname"}
        anti = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        return pod(name, 1, 1, affinity={"podAntiAffinity": anti})

    snapshot = cluster(node("n1"), n1=[objecting("not-a", "a"), objecting("not-b", "b")])
    judging = Judge(snapshot, DEFAULT_PROFILE)
    for label in ("a", "b"):
        wanted = pod(f"p-{label}", 1, 5, labels={"app": label})
        judgement = judging(wanted)
        why = refusal(wanted, judgement, snapshot)
        found = preempt(Refused(judgement, why, Nominations(), lambda namespace: (), random.Random(1)))
        assert outcome(found) == ("n1", [f"not-{label}"])
