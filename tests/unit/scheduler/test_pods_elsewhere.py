"""Affinity to pods and topology spread: by value, and against a slow model that walks through all nodes and pods."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.api.selectors import of_labels
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.judgement import judge
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from kybern.scheduler.plugins.node_affinity import NodeAffinity
from kybern.scheduler.plugins.pod_topology_spread import PodTopologySpread
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.refusal import refusal
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.trial import InPlace, InThought, in_thought

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
NAMESPACES = {"a": {"team": "red"}, "b": {"team": "blue"}, "c": {"team": "red"}}


def node(name: str, zone: str | None = None, **spec: Any) -> Node:
    labels = {HOST: name, **({ZONE: zone} if zone else {})}
    status = {"allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"}}
    return from_builtins(Node, {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status})


def pod(name: str, labels: dict[str, str] | None = None, namespace: str = "a", **spec: Any) -> Pod:
    spec["containers"] = [{"name": "c", "image": "i"}]
    metadata = {"name": name, "namespace": namespace, "uid": name, "labels": labels or {}}
    return from_builtins(Pod, {"metadata": metadata, "spec": spec})


def cluster(*nodes: Node) -> Snapshot:
    snapshot = Snapshot()
    snapshot.tallies.namespaces.update(NAMESPACES)
    for one in nodes:
        snapshot.set_node(one)
    return snapshot


def zones(*names: str) -> Snapshot:
    return cluster(*(node(f"n{number}", zone) for number, zone in enumerate(names, 1)))


def term(key: str = ZONE, **more: Any) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": key, **more}


def near(*terms: Any) -> dict[str, Any]:
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def far(*terms: Any) -> dict[str, Any]:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def fitting(plugin: Any, wanted: Pod, snapshot: Snapshot) -> list[str]:
    fits = judge(wanted, snapshot, Profile(filters=(plugin,))).fits
    return sorted(snapshot.nodes[row].metadata.name or "" for row in np.flatnonzero(fits))


def scores(plugin: Any, wanted: Pod, snapshot: Snapshot) -> list[int] | None:
    nodes = Nodes(snapshot, np.arange(snapshot.count))
    state = plugin.pre_score(wanted, nodes)
    return None if state is None else plugin.normalize(plugin.score(state, nodes)).tolist()


def why(plugin: Any, wanted: Pod, snapshot: Snapshot) -> str:
    profile = Profile(filters=(plugin,))
    return refusal(wanted, judge(wanted, snapshot, profile), snapshot).message.split(". ")[0]


DB = {"app": "db"}


def test_near_is_the_same_domain_and_a_node_without_the_label_is_in_none() -> None:
    snapshot = cluster(node("n1", "x"), node("n2", "x"), node("n3", "y"), node("n4"))
    snapshot.add_pod(pod("db", DB), "n1")
    assert fitting(InterPodAffinity(), pod("p", affinity=near(term())), snapshot) == ["n1", "n2"]
    assert fitting(InterPodAffinity(), pod("p", affinity=near(term(HOST))), snapshot) == ["n1"]
    assert fitting(InterPodAffinity(), pod("p", affinity=far(term())), snapshot) == ["n3", "n4"]


def test_the_first_of_its_kind_may_begin_anywhere_with_the_label() -> None:
    snapshot = cluster(node("n1", "x"), node("n2"))
    assert fitting(InterPodAffinity(), pod("p", DB, affinity=near(term())), snapshot) == ["n1"]
    assert fitting(InterPodAffinity(), pod("p", affinity=near(term())), snapshot) == []


def test_what_runs_already_keeps_out_whom_it_does_not_want() -> None:
    snapshot = zones("x", "y")
    snapshot.add_pod(pod("hermit", affinity=far(term())), "n1")
    assert fitting(InterPodAffinity(), pod("p", DB), snapshot) == ["n2"]
    assert fitting(InterPodAffinity(), pod("p", DB, namespace="b"), snapshot) == ["n1", "n2"]
    snapshot.remove_pod("hermit")
    assert fitting(InterPodAffinity(), pod("p", DB), snapshot) == ["n1", "n2"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ["n1"]), ({"namespaces": ["b"]}, ["n2"]), ({"namespaces": ["b", "c"]}, ["n2", "n3"]),
        ({"namespaceSelector": {}}, ["n1", "n2", "n3"]),
        ({"namespaceSelector": {"matchLabels": {"team": "red"}}}, ["n1", "n3"]),
        ({"namespaceSelector": {"matchLabels": {"team": "red"}}, "namespaces": ["b"]}, ["n1", "n2", "n3"]),
    ],
)  # fmt: skip
def test_whose_pods_are_meant(more: dict[str, Any], expected: list[str]) -> None:
    snapshot = zones("x", "y", "z")
    for number, namespace in enumerate("abc", 1):
        snapshot.add_pod(pod(f"db-{namespace}", DB, namespace), f"n{number}")
    assert fitting(InterPodAffinity(), pod("p", affinity=near(term(**more))), snapshot) == expected


def test_label_keys_stand_for_the_pod_s_own_values() -> None:
    snapshot = zones("x", "y")
    snapshot.add_pod(pod("old", {**DB, "rev": "1"}), "n1")
    snapshot.add_pod(pod("new", {**DB, "rev": "2"}), "n2")
    same, different = near(term(matchLabelKeys=["rev"])), near(term(mismatchLabelKeys=["rev"]))
    assert fitting(InterPodAffinity(), pod("p", {"rev": "2"}, affinity=same), snapshot) == ["n2"]
    assert fitting(InterPodAffinity(), pod("p", {"rev": "2"}, affinity=different), snapshot) == ["n1"]
    assert fitting(InterPodAffinity(), pod("p", affinity=same), snapshot) == ["n1", "n2"]


def test_each_refusal_has_its_words() -> None:
    snapshot = zones("x")
    snapshot.add_pod(pod("hermit", DB, affinity=far(term(labelSelector={"matchLabels": {"app": "web"}}))), "n1")
    start = "0/1 nodes are available: 1 node(s) didn't"
    assert why(InterPodAffinity(), pod("p", affinity=near(term(labelSelector={}, namespaces=["b"]))), snapshot) == (
        f"{start} match pod affinity rules"
    )
    assert why(InterPodAffinity(), pod("p", affinity=far(term())), snapshot) == (
        f"{start} match pod anti-affinity rules"
    )
    assert why(InterPodAffinity(), pod("p", {"app": "web"}), snapshot) == (
        f"{start} satisfy existing pods anti-affinity rules"
    )


def test_preferences_count_on_both_sides() -> None:
    def rather(kind: str, weight: int) -> dict[str, Any]:
        weighted = [{"weight": weight, "podAffinityTerm": term()}]
        return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}

    snapshot = zones("x", "y", "z")
    snapshot.add_pod(pod("db", DB), "n1")
    assert scores(InterPodAffinity(), pod("p", affinity=rather("podAffinity", 5)), snapshot) == [100, 0, 0]
    assert scores(InterPodAffinity(), pod("p", affinity=rather("podAntiAffinity", 5)), snapshot) == [0, 100, 100]
    assert scores(InterPodAffinity(), pod("p"), snapshot) is None
    snapshot.add_pod(pod("friend", affinity=rather("podAffinity", 30)), "n2")
    snapshot.add_pod(pod("needs", DB, affinity=near(term())), "n3")
    assert scores(InterPodAffinity(), pod("p", DB), snapshot) == [0, 100, 3]


def constraint(key: str = ZONE, skew: int = 1, when: str = "DoNotSchedule", **more: Any) -> dict[str, Any]:
    selector = {"labelSelector": {"matchLabels": DB}}
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, **selector, **more}


def spread(*constraints: Any, labels: dict[str, str] | None = None, **spec: Any) -> Pod:
    return pod("p", DB if labels is None else labels, topologySpreadConstraints=list(constraints), **spec)


def test_no_domain_gets_ahead_by_more_than_the_skew() -> None:
    snapshot = zones("x", "x", "y")
    snapshot.add_pod(pod("d1", DB), "n1")
    assert fitting(PodTopologySpread(), spread(constraint()), snapshot) == ["n3"]
    assert fitting(PodTopologySpread(), spread(constraint(skew=2)), snapshot) == ["n1", "n2", "n3"]
    assert fitting(PodTopologySpread(), spread(constraint(), labels={}), snapshot) == ["n1", "n2", "n3"]
    assert fitting(PodTopologySpread(), spread(constraint(), constraint(HOST)), snapshot) == ["n3"]


def test_too_few_domains_count_as_an_empty_one() -> None:
    snapshot = zones("x", "y")
    for name in ("n1", "n2"):
        snapshot.add_pod(pod(f"on-{name}", DB), name)
    assert fitting(PodTopologySpread(), spread(constraint(minDomains=2)), snapshot) == ["n1", "n2"]
    assert fitting(PodTopologySpread(), spread(constraint(minDomains=3)), snapshot) == []


def test_nodes_that_the_pod_cannot_use_do_not_count_unless_the_policy_says_so() -> None:
    snapshot = cluster(node("n1", "x"), node("n2", "y", taints=[{"key": "k", "effect": "NoSchedule"}]))
    snapshot.add_pod(pod("d1", DB), "n1")
    assert fitting(PodTopologySpread(), spread(constraint()), snapshot) == ["n2"]
    assert fitting(PodTopologySpread(), spread(constraint(nodeTaintsPolicy="Honor")), snapshot) == ["n1", "n2"]
    only = {"nodeSelector": {ZONE: "x"}}
    assert fitting(PodTopologySpread(), spread(constraint(), **only), snapshot) == ["n1", "n2"]
    assert fitting(PodTopologySpread(), spread(constraint(nodeAffinityPolicy="Ignore"), **only), snapshot) == ["n2"]


def test_pods_that_leave_and_pods_of_other_namespaces_and_revisions_do_not_count() -> None:
    snapshot = zones("x", "y")
    leaving = pod("leaving", DB)
    snapshot.add_pod(leaving, "n1")
    snapshot.add_pod(pod("other", DB, "b"), "n1")
    assert fitting(PodTopologySpread(), spread(constraint()), snapshot) == ["n2"]
    gone = replace(leaving, metadata=replace(leaving.metadata, deletion_timestamp="2026-01-01T00:00:00Z"))
    assert snapshot.add_pod(gone, "n1")
    assert fitting(PodTopologySpread(), spread(constraint()), snapshot) == ["n1", "n2"]
    snapshot.add_pod(pod("old", {**DB, "rev": "1"}), "n1")
    labels = {**DB, "rev": "2"}
    assert fitting(PodTopologySpread(), spread(constraint(), labels=labels), snapshot) == ["n2"]
    own = constraint(matchLabelKeys=["rev"])
    assert fitting(PodTopologySpread(), spread(own, labels=labels), snapshot) == ["n1", "n2"]


def test_a_missing_label_and_an_uneven_spread_are_told_apart() -> None:
    snapshot = cluster(node("n1", "x"), node("n2", "y"), node("n3"))
    snapshot.add_pod(pod("d1", DB), "n1")
    snapshot.add_pod(pod("d2", DB), "n1")
    snapshot.add_pod(pod("d3", DB), "n2")
    assert why(PodTopologySpread(), spread(constraint(minDomains=3)), snapshot) == (
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), "
        "2 node(s) didn't match pod topology spread constraints"
    )


def test_emptier_domains_are_better_and_nodes_without_the_label_worst() -> None:
    snapshot = cluster(node("n1", "x"), node("n2", "y"), node("n3"))
    for name in ("d1", "d2"):
        snapshot.add_pod(pod(name, DB), "n1")
    wanted = spread(constraint(when="ScheduleAnyway"))
    assert fitting(PodTopologySpread(), wanted, snapshot) == ["n1", "n2", "n3"]
    assert scores(PodTopologySpread(), wanted, snapshot) == [0, 100, 0]


def test_a_pod_without_constraints_is_spread_with_its_group() -> None:
    snapshot = zones("x", "y")
    snapshot.add_pod(pod("d1", DB), "n1")
    assert scores(PodTopologySpread(), pod("p", DB), snapshot) is None
    snapshot.group_of = lambda one: of_labels(DB)
    found = scores(PodTopologySpread(), pod("p", DB), snapshot)
    assert found is not None and found[1] == 100 > found[0]


# Against a model


class Model:
    """Walks through all nodes and pods, for each node."""

    def __init__(self, nodes: dict[str, Node], there: dict[str, list[Pod]]) -> None:
        self.nodes, self.there = nodes, there

    def same(self, one: Node, other: Node, key: str) -> bool:
        mine, theirs = (one.metadata.labels or {}).get(key), (other.metadata.labels or {}).get(key)
        return mine is not None and mine == theirs

    def meant(self, term: Any, by: Pod, other: Pod) -> bool:
        namespace, own = other.metadata.namespace or "", by.metadata.namespace
        names = set(term.namespaces or ())
        if not names and term.namespace_selector is None:
            names = {own}
        chosen = term.namespace_selector
        by_selector = chosen is not None and all(
            NAMESPACES[namespace].get(k) == v for k, v in (chosen.match_labels or {}).items()
        )
        return (namespace in names or by_selector) and self.selects(term, by, other)

    def selects(self, of: Any, by: Pod, other: Pod) -> bool:
        labels, own = other.metadata.labels or {}, by.metadata.labels or {}
        if of.label_selector is None:
            return False
        if any(labels.get(k) != v for k, v in (of.label_selector.match_labels or {}).items()):
            return False
        return all(labels.get(key) == own[key] for key in of.match_label_keys or () if key in own)

    def terms(self, one: Pod, side: str) -> Any:
        part = getattr(one.spec.affinity, side) if one.spec.affinity else None
        return (part.required_during_scheduling_ignored_during_execution if part else None) or ()

    def affinity(self, wanted: Pod, at: Node) -> bool:
        everybody = [(self.nodes[name], one) for name, pods in self.there.items() if name in self.nodes for one in pods]
        for term in self.terms(wanted, "pod_anti_affinity"):
            if any(self.same(at, n, term.topology_key) and self.meant(term, wanted, one) for n, one in everybody):
                return False
        for n, one in everybody:
            for term in self.terms(one, "pod_anti_affinity"):
                if self.same(at, n, term.topology_key) and self.meant(term, one, wanted):
                    return False
        terms = self.terms(wanted, "pod_affinity")
        good = [(n, one) for n, one in everybody if all(self.meant(term, wanted, one) for term in terms)]
        if all(any(self.same(at, n, term.topology_key) for n, _ in good) for term in terms):
            return True
        none = not any(self.same(n, n, term.topology_key) for n, _ in good for term in terms)
        itself = all(self.meant(term, wanted, wanted) for term in terms)
        return none and itself and all(self.same(at, at, term.topology_key) for term in terms)

    def spread(self, wanted: Pod, at: Node) -> bool:
        constraints = [
            c for c in wanted.spec.topology_spread_constraints or () if c.when_unsatisfiable == "DoNotSchedule"
        ]
        for constraint in constraints:
            counts: Counter[str] = Counter()
            domains = set()
            for name, one in self.nodes.items():
                labels = one.metadata.labels or {}
                if any(c.topology_key not in labels for c in constraints):
                    continue
                if constraint.node_affinity_policy != "Ignore" and any(
                    labels.get(k) != v for k, v in (wanted.spec.node_selector or {}).items()
                ):
                    continue
                if constraint.node_taints_policy == "Honor" and one.spec.taints:
                    continue
                domain = labels[constraint.topology_key]
                domains.add(domain)
                counts[domain] += sum(
                    other.metadata.namespace == wanted.metadata.namespace
                    and other.metadata.deletion_timestamp is None
                    and self.selects(constraint, wanted, other)
                    for other in self.there.get(name, ())
                )
            here = (at.metadata.labels or {}).get(constraint.topology_key)
            if here is None:
                return False
            least = min((counts[d] for d in domains), default=0)
            if len(domains) < (constraint.min_domains or 1):
                least = 0
            if counts[here] + self.selects(constraint, wanted, wanted) - least > constraint.max_skew:
                return False
        return True


def random_term(rng: random.Random) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if rng.random() < 0.3:
        more["namespaces"] = rng.sample("abc", rng.randint(1, 2))
    if rng.random() < 0.3:
        more["namespaceSelector"] = rng.choice(({}, {"matchLabels": {"team": "red"}}))
    if rng.random() < 0.2:
        more["matchLabelKeys"] = ["rev"]
    return {
        "labelSelector": {"matchLabels": {"app": rng.choice("xy")}},
        "topologyKey": rng.choice((ZONE, HOST)),
        **more,
    }


def random_pod(rng: random.Random, name: str) -> Pod:
    labels = {"app": rng.choice("xyz"), "rev": rng.choice("12")}
    spec: dict[str, Any] = {"affinity": {}}
    if rng.random() < 0.35:
        spec["affinity"] |= near(*(random_term(rng) for _ in range(rng.randint(1, 2))))
    if rng.random() < 0.35:
        spec["affinity"] |= far(*(random_term(rng) for _ in range(rng.randint(1, 2))))
    if rng.random() < 0.5:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": rng.randint(1, 2), "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": rng.choice("xy")}},
                **({"minDomains": rng.randint(1, 3)} if rng.random() < 0.4 else {}),
                **({"nodeAffinityPolicy": "Ignore"} if rng.random() < 0.3 else {}),
                **({"nodeTaintsPolicy": "Honor"} if rng.random() < 0.3 else {}),
                **({"matchLabelKeys": ["rev"]} if rng.random() < 0.3 else {}),
            }
            for key in rng.sample((ZONE, HOST), rng.randint(1, 2))
        ]  # fmt: skip
    if rng.random() < 0.2:
        spec["nodeSelector"] = {ZONE: rng.choice("uv")}
    return pod(name, labels, rng.choice("abc"), **spec)


def random_node(rng: random.Random, name: str) -> Node:
    taints = [{"key": "k", "effect": "NoSchedule"}] if rng.random() < 0.2 else []
    return node(name, rng.choice(("u", "v", "w", None)), taints=taints)


@pytest.mark.parametrize("seed", range(10))
def test_in_600_random_clusters_the_feasible_nodes_are_those_of_the_model(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        snapshot = cluster()
        nodes: dict[str, Node] = {}
        there: dict[str, list[Pod]] = {}
        for step in range(14):
            name = f"n{rng.randrange(7)}"
            if rng.random() < 0.6:
                nodes[name] = random_node(rng, name)
                snapshot.set_node(nodes[name])
            elif rng.random() < 0.15 and name in nodes:
                snapshot.remove_node(name)
                del nodes[name]
            wanted, model = random_pod(rng, f"p{step}"), Model(nodes, there)
            assert fitting(InterPodAffinity(), wanted, snapshot) == sorted(
                n for n, one in nodes.items() if model.affinity(wanted, one)
            )
            assert fitting(PodTopologySpread(), wanted, snapshot) == sorted(
                n for n, one in nodes.items() if model.spread(wanted, one)
            )
            if nodes:
                chosen = rng.choice(sorted(nodes))
                snapshot.add_pod(wanted, chosen)
                there.setdefault(chosen, []).append(wanted)
            if there and rng.random() < 0.2:
                chosen = rng.choice(sorted(there))
                snapshot.remove_pod(there[chosen].pop().metadata.uid or "")
                there = {n: pods for n, pods in there.items() if pods}
    for chosen in list(there):
        for one in there[chosen]:
            snapshot.remove_pod(one.metadata.uid or "")
    assert not snapshot.tallies.kinds and not snapshot.tallies.bearers
    assert not any(column.any() for column in snapshot.tallies.columns.values())


@pytest.mark.parametrize("seed", range(10))
def test_what_is_tried_in_thought_is_what_the_rules_say_when_the_pods_have_really_left(seed: int) -> None:
    rng, compared = random.Random(seed), 0
    for _ in range(25):
        snapshot, there = cluster(), []
        for number in range(5):
            snapshot.set_node(random_node(rng, f"n{number}"))
        for number in range(14):
            there.append((random_pod(rng, f"p{number}"), f"n{rng.randrange(5)}"))
            snapshot.add_pod(*there[-1])
        judgement = judge(random_pod(rng, "wanted"), snapshot, DEFAULT_PROFILE)
        for row in range(5):
            if NodeAffinity in {type(p) for p, _ in judgement.filters} and not judgement.fits[row]:
                continue  # another rule's refusal, which no pod that leaves can change
            trials = in_thought(judgement, row, ())
            assert trials is not None
            apart, really = InThought(trials), InPlace(judgement, row, ())
            here = list(snapshot.on_node.get(f"n{row}", {}).values())
            for placed in rng.sample(here, rng.randint(0, len(here))):
                apart.leave(placed)
                really.leave(placed)
                if rng.random() < 0.3:
                    apart.stay(placed)
                    really.stay(placed)
                mine, theirs = apart.refusals(), really.refusals()
                if "taint" not in "".join(theirs):
                    assert bool(mine) == bool(theirs), (mine, theirs)
                    compared += 1
            really.end()
    assert compared > 50


def test_columns_follow_when_the_cluster_outgrows_them() -> None:
    snapshot = zones("x")
    snapshot.add_pod(pod("db", DB), "n1")
    wanted = pod("p", affinity=far(term(HOST)))
    assert fitting(InterPodAffinity(), wanted, snapshot) == []
    for number in range(2, 200):
        snapshot.set_node(node(f"n{number}", "y"))
    snapshot.add_pod(pod("db2", DB), "n150")
    assert len(fitting(InterPodAffinity(), wanted, snapshot)) == 197
