"""Each rule of scheduling, and the whole of them against a slow model that looks at one node at a time."""

import random
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.scheduler.changes import change_of
from kybern.scheduler.demand import amounts_of, demand_of
from kybern.scheduler.extension_points import Profile, Weighted
from kybern.scheduler.framework import Change, PerNodePlugin
from kybern.scheduler.judgement import Judge, best, judge
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import host_ports
from kybern.scheduler.plugins.image_locality import ImageLocality
from kybern.scheduler.plugins.node_affinity import NodeAffinity
from kybern.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from kybern.scheduler.plugins.node_name import NodeName
from kybern.scheduler.plugins.node_ports import NodePorts
from kybern.scheduler.plugins.node_resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from kybern.scheduler.plugins.node_unschedulable import NodeUnschedulable
from kybern.scheduler.plugins.taint_toleration import TaintToleration
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.refusal import refusal
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.tolerations import tolerated


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **more: Any) -> Node:
    labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
    status = {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods, **more.pop("resources", {})}}
    status["images"] = more.pop("images", [])
    return from_builtins(Node, {"metadata": {"name": name, "labels": labels}, "spec": more, "status": status})


def pod(name: str = "p", cpu: str | None = None, memory: str | None = None, **spec: Any) -> Pod:
    asked = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    container = {"name": "c", "image": spec.pop("image", "web:1"), "resources": {"requests": asked}}
    container["ports"] = spec.pop("ports", [])
    spec.setdefault("containers", [container])
    return from_builtins(Pod, {"metadata": {"name": name, "namespace": "x", "uid": f"uid-{name}"}, "spec": spec})


def cluster(*nodes: Node) -> Snapshot:
    snapshot = Snapshot()
    for one in nodes:
        snapshot.set_node(one)
    return snapshot


def fitting(plugin: Any, wanted: Pod, snapshot: Snapshot) -> list[str]:
    nodes = Nodes(snapshot)
    state = plugin.pre_filter(wanted, nodes)
    fits = np.ones(len(nodes), np.bool_) if state is None else plugin.filter(state, nodes)
    return [one.metadata.name for one, fit in zip(nodes.objects(), fits, strict=True) if fit]


def scores(plugin: Any, wanted: Pod, snapshot: Snapshot) -> list[int] | None:
    nodes = Nodes(snapshot)
    state = plugin.pre_score(wanted, nodes)
    return None if state is None else plugin.normalize(plugin.score(state, nodes)).tolist()


# Demand


def test_init_containers_count_by_the_largest_moment_and_sidecars_always() -> None:
    def part(name: str, cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": "i", "resources": {"requests": {"cpu": cpu}}, **more}

    wanted = pod(
        containers=[part("a", "1"), part("b", "500m")],
        initContainers=[part("i", "1500m"), part("s", "200m", restartPolicy="Always"), part("j", "2")],
        overhead={"cpu": "100m"},
    )
    assert demand_of(wanted).amounts == {"cpu": 2200 + 100, "pods": 1}
    whole = pod(cpu="1", resources={"requests": {"cpu": "3"}})
    assert demand_of(whole).amounts["cpu"] == 3000


def test_amounts_beyond_all_reason_are_capped() -> None:
    assert amounts_of({"memory": "9223372036854775807"})["memory"] == 1 << 52


# Filters


def test_a_node_takes_what_still_fits() -> None:
    snapshot = cluster(node("n1", cpu="1"), node("n2", cpu="2"))
    assert fitting(NodeResourcesFit(), pod(cpu="1500m"), snapshot) == ["n2"]
    snapshot.add_pod(pod("other", cpu="1"), "n2")
    assert fitting(NodeResourcesFit(), pod(cpu="1500m"), snapshot) == []
    snapshot.remove_pod("uid-other")
    assert fitting(NodeResourcesFit(), pod(cpu="1500m"), snapshot) == ["n2"]


def test_an_overfull_node_still_takes_a_pod_that_asks_for_nothing() -> None:
    snapshot = cluster(node("n1", cpu="1"))
    snapshot.add_pod(pod("big", cpu="5"), "n1")
    assert fitting(NodeResourcesFit(), pod(), snapshot) == ["n1"]


def test_pods_and_extended_resources_are_counted_like_the_others() -> None:
    snapshot = cluster(node("n1", pods="1"), node("n2", resources={"example.com/gpu": "2"}))
    snapshot.add_pod(pod("one"), "n1")
    assert fitting(NodeResourcesFit(), pod(), snapshot) == ["n2"]
    resources = {"requests": {"example.com/gpu": "3"}, "limits": {"example.com/gpu": "3"}}
    greedy = pod(containers=[{"name": "c", "image": "i", "resources": resources}])
    assert fitting(NodeResourcesFit(), greedy, snapshot) == []
    unheard_of = pod(containers=[{"name": "c", "image": "i", "resources": {"requests": {"example.com/x": "1"}}}])
    assert fitting(NodeResourcesFit(), unheard_of, snapshot) == []


def test_a_pod_known_before_its_node_counts_once_the_node_comes() -> None:
    snapshot = Snapshot()
    snapshot.add_pod(pod("early", cpu="3"), "n1")
    snapshot.set_node(node("n1"))
    assert fitting(NodeResourcesFit(), pod(cpu="2"), snapshot) == []
    snapshot.remove_node("n1")
    snapshot.remove_pod("uid-early")
    snapshot.set_node(node("n1"))
    assert fitting(NodeResourcesFit(), pod(cpu="4"), snapshot) == ["n1"]


def test_hearing_of_an_assumed_pod_again_changes_nothing() -> None:
    snapshot = cluster(node("n1"), node("n2"))
    snapshot.add_pod(pod("a", cpu="1"), "n1")
    snapshot.add_pod(pod("a", cpu="1"), "n1")
    assert snapshot.requested[:2, 0].tolist() == [1000, 0]
    snapshot.add_pod(pod("a", cpu="1"), "n2")
    assert snapshot.requested[:2, 0].tolist() == [0, 1000]


def test_cordoned_nodes_take_only_who_tolerates_that() -> None:
    snapshot = cluster(node("n1", unschedulable=True), node("n2"))
    assert fitting(NodeUnschedulable(), pod(), snapshot) == ["n2"]
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert fitting(NodeUnschedulable(), pod(tolerations=[toleration]), snapshot) == ["n1", "n2"]


def test_a_named_node_or_none() -> None:
    snapshot = cluster(node("n1"), node("n2"))
    assert fitting(NodeName(), pod(nodeName="n2"), snapshot) == ["n2"]
    assert fitting(NodeName(), pod(nodeName="n9"), snapshot) == []
    assert fitting(NodeName(), pod(), snapshot) == ["n1", "n2"]


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"key": "a", "operator": "Exists"}, True), ({"operator": "Exists"}, True),
        ({"key": "a", "value": "1"}, True), ({"key": "a", "value": "2"}, False), ({"key": "b", "value": "1"}, False),
        ({"key": "a", "value": "1", "effect": "NoSchedule"}, True),
        ({"key": "a", "value": "1", "effect": "NoExecute"}, False), ({"value": "1"}, False),
    ],
)  # fmt: skip
def test_a_taint_keeps_out_who_does_not_tolerate_it(toleration: dict[str, str], expected: bool) -> None:
    snapshot = cluster(node("n1", taints=[{"key": "a", "value": "1", "effect": "NoSchedule"}]))
    assert fitting(TaintToleration(), pod(tolerations=[toleration]), snapshot) == (["n1"] if expected else [])
    assert fitting(TaintToleration(), pod(), snapshot) == []


def affinity(*terms: Any, preferred: Any = ()) -> dict[str, Any]:
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)},
            "preferredDuringSchedulingIgnoredDuringExecution": list(preferred),
        }
    }


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, ["n1", "n2"]),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, ["n2", "n3"]),
        ({"key": "zone", "operator": "Exists"}, ["n1", "n2"]),
        ({"key": "zone", "operator": "DoesNotExist"}, ["n3"]),
        ({"key": "size", "operator": "Gt", "values": ["5"]}, ["n2"]),
        ({"key": "size", "operator": "Lt", "values": ["5"]}, ["n1"]),
        ({"key": "zone", "operator": "Gt", "values": ["5"]}, []),
        ({"key": "zone", "operator": "In", "values": ["never heard of"]}, []),
    ],
)
def test_node_affinity_operators(expression: dict[str, Any], expected: list[str]) -> None:
    snapshot = cluster(
        node("n1", labels={"zone": "a", "size": "3"}), node("n2", labels={"zone": "b", "size": "7"}), node("n3")
    )
    wanted = pod(affinity=affinity({"matchExpressions": [expression]}))
    assert fitting(NodeAffinity(), wanted, snapshot) == expected


def test_terms_are_alternatives_their_parts_are_not_and_an_empty_one_matches_nothing() -> None:
    snapshot = cluster(node("n1", labels={"a": "1"}), node("n2", labels={"a": "1", "b": "1"}), node("n3"))
    both = {"matchExpressions": [{"key": key, "operator": "Exists"} for key in "ab"]}
    named = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n3"]}]}
    assert fitting(NodeAffinity(), pod(affinity=affinity(both, named)), snapshot) == ["n2", "n3"]
    assert fitting(NodeAffinity(), pod(affinity=affinity({})), snapshot) == []
    assert fitting(NodeAffinity(), pod(nodeSelector={"a": "1"}, affinity=affinity(named)), snapshot) == []


def test_a_label_column_follows_its_nodes() -> None:
    snapshot = cluster(node("n1", labels={"zone": "a"}), node("n2"))
    wanted = pod(nodeSelector={"zone": "a"})
    assert fitting(NodeAffinity(), wanted, snapshot) == ["n1"]
    snapshot.set_node(node("n2", labels={"zone": "a"}))
    snapshot.remove_node("n1")
    snapshot.set_node(node("n3", labels={"zone": "b"}))
    assert fitting(NodeAffinity(), wanted, snapshot) == ["n2"]


@pytest.mark.parametrize(
    ("used", "wanted", "fits"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False), ({"hostPort": 80}, {"hostPort": 81}, True),
        ({"hostPort": 80, "protocol": "UDP"}, {"hostPort": 80}, True),
        ({"hostPort": 80, "hostIP": "1.1.1.1"}, {"hostPort": 80, "hostIP": "2.2.2.2"}, True),
        ({"hostPort": 80, "hostIP": "1.1.1.1"}, {"hostPort": 80}, False),
    ],
)  # fmt: skip
def test_a_host_port_is_one_pod_s(used: dict[str, Any], wanted: dict[str, Any], fits: bool) -> None:
    snapshot = cluster(node("n1"), node("n2"))
    snapshot.add_pod(pod("other", ports=[{"containerPort": 1, **used}]), "n1")
    asked = pod(ports=[{"containerPort": 1, **wanted}])
    assert fitting(NodePorts(), asked, snapshot) == (["n1", "n2"] if fits else ["n2"])


# Scores


def test_the_emptier_node_is_better() -> None:
    snapshot = cluster(node("n1"), node("n2"))
    snapshot.add_pod(pod("other", cpu="2", memory="4Gi"), "n1")
    assert scores(NodeResourcesFit(), pod(cpu="1", memory="2Gi"), snapshot) == [25, 75]


def test_a_pod_that_asks_for_nothing_counts_for_something() -> None:
    snapshot = cluster(node("n1", cpu="1", memory="1000Mi"), node("n2", cpu="1", memory="1000Mi"))
    snapshot.add_pod(pod("idle"), "n1")
    assert scores(NodeResourcesFit(), pod(), snapshot) == [(80 + 60) // 2, (90 + 80) // 2]


def test_balance_prefers_like_measure() -> None:
    snapshot = cluster(node("n1", cpu="4", memory="4Gi"), node("n2", cpu="4", memory="16Gi"))
    assert scores(NodeResourcesBalancedAllocation(), pod(cpu="2", memory="2Gi"), snapshot) == [100, 81]
    assert scores(NodeResourcesBalancedAllocation(), pod(), snapshot) is None


def test_preferences_are_weighed() -> None:
    snapshot = cluster(node("n1", labels={"a": "1"}), node("n2", labels={"a": "1", "b": "1"}), node("n3"))
    preferred = [
        {"weight": weight, "preference": {"matchExpressions": [{"key": key, "operator": "Exists"}]}}
        for key, weight in (("a", 30), ("b", 60))
    ]
    assert scores(NodeAffinity(), pod(affinity=affinity({}, preferred=preferred)), snapshot) == [33, 100, 0]


def test_a_taint_that_prefers_others_counts_against() -> None:
    snapshot = cluster(node("n1", taints=[{"key": "a", "effect": "PreferNoSchedule"}]), node("n2"))
    assert fitting(TaintToleration(), pod(), snapshot) == ["n1", "n2"]
    assert scores(TaintToleration(), pod(), snapshot) == [0, 100]
    assert scores(TaintToleration(), pod(tolerations=[{"operator": "Exists"}]), snapshot) == [100, 100]


def test_a_large_image_attracts() -> None:
    snapshot = cluster(node("n1", images=[{"names": ["web:1"], "sizeBytes": 800 * 1024 * 1024}]), node("n2"))
    found = scores(ImageLocality(), pod(), snapshot)
    assert found is not None and found[0] > 30 and found[1] == 0
    snapshot.set_node(node("n1"))
    assert scores(ImageLocality(), pod(), snapshot) is None


# Refusals


def why(wanted: Pod, snapshot: Snapshot) -> str:
    return refusal(wanted, judge(wanted, snapshot, DEFAULT_PROFILE), snapshot).message


def test_the_reason_is_told_in_upstream_s_words() -> None:
    snapshot = cluster(node("n1", cpu="2"))
    snapshot.add_pod(pod("other", cpu="1"), "n1")
    assert why(pod(cpu="1500m"), snapshot) == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    assert why(pod(cpu="3"), snapshot) == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    assert why(pod(), Snapshot()) == "no nodes available to schedule pods"


def test_reasons_are_counted_over_nodes_and_each_node_is_refused_once() -> None:
    snapshot = cluster(
        node("n1", cpu="1", memory="1Gi"), node("n2", cpu="1"), node("n3", unschedulable=True, cpu="1"),
        node("n4", taints=[{"key": "a", "effect": "NoSchedule"}]),
    )  # fmt: skip
    for name in ("n1", "n2"):
        snapshot.add_pod(pod(f"on-{name}", cpu="1", memory="512Mi"), name)
    wanted = pod(cpu="500m", memory="768Mi")
    assert why(wanted, snapshot) == (
        "0/4 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), "
        "1 node(s) were unschedulable, 2 Insufficient cpu. "
        "preemption: 0/4 nodes are available: 2 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


def test_a_pod_that_never_preempts_is_told_so() -> None:
    assert why(pod(cpu="9", preemptionPolicy="Never"), cluster(node("n1"))) == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )


class EvenNodes(PerNodePlugin[bool]):
    name = "EvenNodes"
    wakes_on = Change.NODE_ADDED

    def pre_filter(self, pod: Pod, nodes: Nodes) -> bool | None:
        return True

    def refuses(self, state: bool, node: Node) -> list[str]:
        return ["node(s) were odd"] if int(node.metadata.name[1:]) % 2 else []


def test_a_rule_can_be_written_for_one_node_at_a_time() -> None:
    snapshot = cluster(*(node(f"n{number}") for number in range(5)))
    assert fitting(EvenNodes(), pod(), snapshot) == ["n0", "n2", "n4"]
    snapshot = cluster(node("n1"), node("n3"))
    profile = Profile(filters=(EvenNodes(),))
    wanted = pod()
    assert refusal(wanted, judge(wanted, snapshot, profile), snapshot).message.startswith(
        "0/2 nodes are available: 2 node(s) were odd. "
    )


# The whole, against a model


def model_fits(wanted: Pod, one: Node, there: list[Pod]) -> bool:
    spec = wanted.spec
    tolerations = spec.tolerations or ()
    taints = [(t.key, t.value or "", t.effect) for t in one.spec.taints or ()]
    if one.spec.unschedulable and not tolerated(("node.kubernetes.io/unschedulable", "", "NoSchedule"), tolerations):
        return False
    if any(t[2] != "PreferNoSchedule" and not tolerated(t, tolerations) for t in taints):
        return False
    labels = one.metadata.labels
    if any(labels.get(key) != value for key, value in (spec.node_selector or {}).items()):
        return False
    used = {port[1:] for other in there for port in host_ports(other)}
    if any(port[1:] in used for port in host_ports(wanted)):
        return False
    allocatable = amounts_of(one.status.allocatable)
    for resource, amount in demand_of(wanted).amounts.items():
        taken = sum(demand_of(other).amounts.get(resource, 0) for other in there)
        if amount and amount > allocatable.get(resource, 0) - taken:
            return False
    return True


def random_node(rng: random.Random, name: str) -> Node:
    taints = [
        {"key": rng.choice("ab"), "value": rng.choice("12"), "effect": rng.choice(("NoSchedule", "PreferNoSchedule"))}
    ]
    return node(
        name, cpu=str(rng.randint(1, 4)), memory=f"{rng.randint(1, 4)}Gi", pods=str(rng.randint(1, 5)),
        labels={"zone": rng.choice("xyz")}, unschedulable=rng.random() < 0.1, taints=taints if rng.random() < 0.4 else [],
    )  # fmt: skip


def random_pod(rng: random.Random, name: str) -> Pod:
    return pod(
        name, cpu=rng.choice((None, "500m", "1500m")), memory=rng.choice((None, "512Mi", "2Gi")),
        nodeSelector={"zone": rng.choice("xyz")} if rng.random() < 0.3 else {},
        tolerations=[{"key": rng.choice("ab"), "operator": "Exists"}] if rng.random() < 0.5 else [],
        ports=[{"containerPort": 80, "hostPort": rng.choice((80, 81))}] if rng.random() < 0.3 else [],
    )  # fmt: skip


def test_in_300_random_clusters_the_kept_judgements_fit_what_a_model_fits_and_nothing_is_overcommitted() -> None:
    rng = random.Random(7)
    for _ in range(300):
        snapshot = Snapshot()
        judged = Judge(snapshot, DEFAULT_PROFILE)
        nodes: dict[str, Node] = {}
        there: dict[str, list[Pod]] = {}
        templates = [random_pod(rng, "t") for _ in range(3)]
        for step in range(12):
            name = f"n{rng.randrange(6)}"
            if rng.random() < 0.4:
                nodes[name] = random_node(rng, name)
                snapshot.set_node(nodes[name])
            elif rng.random() < 0.1 and name in nodes:
                snapshot.remove_node(name)
                del nodes[name]
            wanted = pod(f"p{step}")
            template = rng.choice(templates)
            wanted = from_builtins(Pod, {"metadata": {"name": f"p{step}", "uid": f"u{step}"}})
            wanted = type(wanted)(metadata=wanted.metadata, spec=template.spec)
            judgement = judged(wanted)
            fits = {snapshot.nodes[row].metadata.name for row in np.flatnonzero(judgement.fits)}
            assert fits == {n for n, one in nodes.items() if model_fits(wanted, one, there.get(n, []))}
            row = best(judgement, rng)
            assert (row is None) == (not fits)
            if row is not None:
                chosen = snapshot.nodes[row].metadata.name
                snapshot.add_pod(wanted, chosen)
                there.setdefault(chosen, []).append(wanted)
            elif there and rng.random() < 0.7:
                leaving = rng.choice([p for pods in there.values() for p in pods])
                snapshot.remove_pod(leaving.metadata.uid)
                for pods in there.values():
                    if leaving in pods:
                        pods.remove(leaving)
                there = {n: pods for n, pods in there.items() if pods}


def test_a_kept_judgement_scores_as_a_new_one() -> None:
    rng = random.Random(3)
    snapshot = cluster(*(random_node(rng, f"n{number}") for number in range(30)))
    judged = Judge(snapshot, DEFAULT_PROFILE)
    for number in range(60):
        wanted = pod(f"p{number}", cpu="100m")
        kept, fresh = judged(wanted), judge(wanted, snapshot, DEFAULT_PROFILE)
        assert (kept.fits == fresh.fits).all()
        for one, other in zip(kept.scores, fresh.scores, strict=True):
            assert (one == other).all()
        row = best(kept, rng)
        assert row is not None
        snapshot.add_pod(wanted, snapshot.nodes[row].metadata.name)


def test_the_profile_weighs_as_upstream_does() -> None:
    assert {(type(s.plugin).__name__, s.weight) for s in DEFAULT_PROFILE.scorers if isinstance(s, Weighted)} == {
        ("TaintToleration", 3), ("NodeAffinity", 2), ("PodTopologySpread", 2), ("InterPodAffinity", 2), ("NodeResourcesFit", 1),
        ("NodeResourcesBalancedAllocation", 1), ("ImageLocality", 1), ("VolumeBinding", 1),
    }  # fmt: skip


def test_a_pod_goes_where_the_kubelet_says_that_it_can_do_what_the_pod_needs() -> None:
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}]
    container = {"name": "c", "image": "web:1", "restartPolicy": "Never", "restartPolicyRules": rules}
    able, unable = node("n1"), node("n2")
    told = replace(able.status, declared_features=("RestartAllContainersOnContainerExits",))
    able = replace(able, status=told)
    snapshot = cluster(able, unable)
    judging = Judge(snapshot, DEFAULT_PROFILE)
    assert judging(pod()).fits.tolist() == [True, True]
    assert judging(pod("q", containers=[container])).fits.tolist() == [True, False]
    shared = pod("r", hostNetwork=True, hostUsers=False)
    assert "2 node(s) didn't match Pod's required features" in refusal(shared, judging(shared), snapshot).available
    assert change_of(unable, replace(unable, status=told)) & NodeDeclaredFeatures.wakes_on


def test_a_resource_that_somebody_else_looks_after_may_be_one_that_no_node_has() -> None:
    fit = NodeResourcesFit(ignored=("example.com/foo",))
    profile = Profile(filters=(fit,), scorers=(Weighted(fit, 1),))
    asked = {"requests": {"example.com/foo": "1", "cpu": "1"}}
    snapshot = cluster(node("n1"), node("n2", cpu="500m"))
    wanted = pod(containers=[{"name": "c", "image": "i", "resources": asked}])
    assert Judge(snapshot, profile)(wanted).fits.tolist() == [True, False]
