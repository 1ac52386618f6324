"""2,000 random clusters: the nodes where a pod fits are those of a slow model of every rule, and so are the scores."""

import random
from typing import Any

import numpy as np
import pytest
from scheduling_model import HOST, ZONE, Json, World

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.scheduler.judgement import Judge, scored
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.snapshot import Snapshot

NAMESPACES: dict[str, Json] = {"a": {"team": "red"}, "b": {"team": "blue"}, "c": {"team": "red"}}


def maybe(rng: random.Random, share: float, **found: Any) -> dict[str, Any]:
    return found if rng.random() < share else {}


def random_node(rng: random.Random, name: str) -> Json:
    labels = {
        HOST: name,
        **maybe(rng, 0.8, **{ZONE: rng.choice("uvw")}),
        **maybe(rng, 0.5, disk=rng.choice(("ssd", "hdd"))),
    }
    labels |= maybe(rng, 0.5, gen=rng.choice("1234"))
    effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
    taints = [
        {"key": rng.choice("kl"), "value": rng.choice("12"), "effect": rng.choice(effects)}
        for _ in range(rng.choice((0, 0, 1, 2)))
    ]
    allocatable = {"cpu": str(rng.randint(1, 6)), "memory": f"{rng.randint(1, 8)}Gi", "pods": str(rng.randint(2, 6))}
    allocatable |= maybe(rng, 0.4, **{"example.com/gpu": str(rng.randint(1, 3))})
    spec = {"taints": taints, **maybe(rng, 0.1, unschedulable=True)}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": allocatable}}


def random_term(rng: random.Random) -> Json:
    return {
        "labelSelector": {"matchLabels": {"app": rng.choice("xy")}},
        "topologyKey": rng.choice((ZONE, HOST)),
        **maybe(rng, 0.2, namespaces=rng.sample("abc", rng.randint(1, 2))),
        **maybe(rng, 0.2, namespaceSelector=rng.choice(({}, {"matchLabels": {"team": "red"}}))),
        **maybe(rng, 0.15, matchLabelKeys=["rev"]),
        **maybe(rng, 0.1, mismatchLabelKeys=["tier"]),
    }


def company(rng: random.Random) -> Json:
    part: Json = {}
    if rng.random() < 0.5:
        part["requiredDuringSchedulingIgnoredDuringExecution"] = [random_term(rng) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.6:
        part["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": rng.randint(1, 100), "podAffinityTerm": random_term(rng)} for _ in range(rng.randint(1, 2))
        ]
    return part


def node_term(rng: random.Random) -> Json:
    choices = [
        {"key": "disk", "operator": rng.choice(("In", "NotIn")), "values": ["ssd"]},
        {"key": "disk", "operator": rng.choice(("Exists", "DoesNotExist"))},
        {"key": "gen", "operator": rng.choice(("Gt", "Lt")), "values": ["2"]},
        {"key": ZONE, "operator": "In", "values": rng.sample("uvw", 2)},
    ]
    field = {"key": "metadata.name", "operator": rng.choice(("In", "NotIn")), "values": [f"n{rng.randrange(5)}"]}
    return {"matchExpressions": rng.sample(choices, rng.randint(1, 2)), **maybe(rng, 0.1, matchFields=[field])}


def node_affinity(rng: random.Random) -> Json:
    part: Json = {}
    if rng.random() < 0.5:
        terms = [node_term(rng) for _ in range(rng.randint(1, 2))]
        part["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    if rng.random() < 0.6:
        part["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": rng.randint(1, 100), "preference": node_term(rng)} for _ in range(rng.randint(1, 2))
        ]
    return part


def container(rng: random.Random, **more: Any) -> Json:
    asked = {
        **maybe(rng, 0.6, cpu=rng.choice(("100m", "1", "1500m"))),
        **maybe(rng, 0.5, memory=rng.choice(("256Mi", "1Gi"))),
    }
    asked |= maybe(rng, 0.1, **{"example.com/gpu": "1"})
    return {"name": "c", "image": "i:1", "resources": {"requests": asked}, **more}


def random_pod(rng: random.Random, name: str) -> Json:
    ports = [
        {"containerPort": 80, "hostPort": rng.choice((80, 81)), **maybe(rng, 0.4, hostIP=rng.choice(("10.0.0.1", "10.0.0.2"))),
         **maybe(rng, 0.3, protocol="UDP")}
    ]  # fmt: skip
    spreads = [
        {
            "maxSkew": rng.randint(1, 3), "topologyKey": key, "whenUnsatisfiable": rng.choice(("DoNotSchedule", "ScheduleAnyway")),
            "labelSelector": {"matchLabels": {"app": rng.choice("xy")}},
            **maybe(rng, 0.3, nodeAffinityPolicy="Ignore"), **maybe(rng, 0.3, nodeTaintsPolicy="Honor"),
            **maybe(rng, 0.3, matchLabelKeys=["rev"]),
        }
        for key in rng.sample((ZONE, HOST), rng.randint(1, 2))
    ]  # fmt: skip
    for one in spreads:
        if one["whenUnsatisfiable"] == "DoNotSchedule":
            one |= maybe(rng, 0.3, minDomains=rng.randint(1, 3))
    affinity = {
        **maybe(rng, 0.3, podAffinity=company(rng)), **maybe(rng, 0.3, podAntiAffinity=company(rng)),
        **maybe(rng, 0.3, nodeAffinity=node_affinity(rng)),
    }  # fmt: skip
    tolerations = [
        {"operator": "Exists", **maybe(rng, 0.7, key=rng.choice("kl")), **maybe(rng, 0.3, effect="NoSchedule")}
        if rng.random() < 0.5
        else {"key": rng.choice("kl"), "value": rng.choice("12"), **maybe(rng, 0.4, effect="PreferNoSchedule")}
        for _ in range(rng.choice((0, 1, 2)))
    ]
    init = [container(rng, **maybe(rng, 0.4, restartPolicy="Always")) for _ in range(rng.choice((0, 0, 1, 2)))]
    labels = {
        "app": rng.choice("xyz"),
        **maybe(rng, 0.8, rev=rng.choice("12")),
        **maybe(rng, 0.5, tier=rng.choice("12")),
    }
    return {
        "metadata": {"name": name, "namespace": rng.choice("abc"), "uid": name, "labels": labels},
        "spec": {
            "containers": [container(rng, **maybe(rng, 0.3, ports=ports))], "initContainers": init,
            "affinity": affinity, "tolerations": tolerations,
            **maybe(rng, 0.2, nodeSelector={"disk": "ssd"}), **maybe(rng, 0.35, topologySpreadConstraints=spreads),
        },
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_in_100_random_clusters_nodes_and_scores_are_the_model_s(seed: int) -> None:
    rng, compared = random.Random(seed), 0
    for _ in range(100):
        snapshot = Snapshot()
        snapshot.tallies.namespaces.update(NAMESPACES)
        judge = Judge(snapshot, DEFAULT_PROFILE)
        world = World({}, {}, NAMESPACES)
        for step in range(9):
            name = f"n{rng.randrange(5)}"
            if step < 4 or rng.random() < 0.2:
                world.nodes[name] = random_node(rng, name)
                snapshot.set_node(from_builtins(Node, world.nodes[name]))
            plain = random_pod(rng, f"p{step}")
            pod = from_builtins(Pod, plain)
            judgement = judge(pod)
            rows = np.flatnonzero(judgement.fits)
            names = [snapshot.nodes[row].metadata.name or "" for row in rows]
            assert sorted(names) == world.fits(plain)
            if len(rows) > 1:
                total = sum((column for _, column in scored(judgement, rows)), np.zeros(len(rows), np.int64))
                expected = world.scores(plain, names)
                for name, score in zip(names, total.tolist(), strict=True):
                    assert abs(score - expected[name]) <= 2, (name, score, expected)
                    compared += 1
            chosen = rng.choice(names or sorted(world.nodes))
            snapshot.add_pod(pod, chosen)
            world.there.setdefault(chosen, []).append(plain)
    assert compared > 100
