"""Queues: guaranteed parts come back, borrowed ones go, limits hold: by value and in a cluster in virtual time."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kybern.api.apps_v1 import Deployment
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Namespace, Pod
from kybern.api.yaml import documents
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.scheduler.placed import placed_of
from kybern.scheduler.scheduler import Scheduler
from kybern.scheduler.shares import Share, borrowed, share_of
from kybern.scheduler.snapshot import Snapshot
from kybern.testing.cluster import Cluster, running
from kybern.testing.virtual import run

EXAMPLE = Path(__file__).parents[3] / "examples/06-queues/queues.yaml"
LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")


def deployment(namespace: str, replicas: int, cpu: str = "1") -> Deployment:
    resources = {"requests": {"cpu": cpu}}
    template = {
        "metadata": {"labels": {"app": "w"}},
        "spec": {"containers": [{"name": "w", "image": "w:1", "resources": resources}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    return from_builtins(Deployment, {"metadata": {"name": "w", "namespace": namespace}, "spec": spec})


async def placed(cluster: Cluster) -> Counter[str]:
    """How many processors each namespace's pods have."""
    return Counter(
        pod.metadata.namespace or ""
        for pod in await cluster.client.list(Pod)
        if pod.spec.node_name and pod.metadata.deletion_timestamp is None
    )


def test_what_was_borrowed_goes_back_and_nobody_falls_below_its_own() -> None:
    async def story() -> None:
        async with running(nodes=("n1", "n2", "n3", "n4", "n5"), loops=LOOPS) as cluster:  # 40 processors
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            cluster.control.running += [cluster.tasks.create_task(part) for part in (events.run(), scheduler.run())]
            for found, _ in documents(EXAMPLE.read_bytes()):
                await cluster.client.create(from_builtins(Namespace, found))
            await cluster.settle()
            await cluster.client.create(deployment("research", 50))
            await cluster.settle()
            assert await placed(cluster) == {"research": 36}  # its limit, 90 %
            told = [event.message or "" for event in await cluster.client.list(Event, "research")]
            assert any("queue research is at its limit of cpu" in message for message in told)
            await cluster.client.create(deployment("production", 30))
            await cluster.advance(120)
            assert await placed(cluster) == {"production": 24, "research": 16}
            preempted = [e for e in await cluster.client.list(Event, "research") if e.reason == "Preempted"]
            assert 36 - 16 <= len(preempted) < 36
            await cluster.client.delete(Deployment, "w", "production")
            await cluster.advance(120)
            assert await placed(cluster) == {"research": 36}

    run(story())


@pytest.mark.parametrize(
    ("told", "problem"),
    [("cpu=4", False), ("cpu=40%, memory=1Gi", False), ("cpu", True), ("cpu=140%", True), ("cpu=much", True)],
)
def test_a_share_that_makes_no_sense_is_said_and_its_pods_wait(told: str, problem: bool) -> None:
    share = share_of({"kybern.io/queue-guaranteed": told})
    assert bool(share.problem) == problem
    assert share_of({}) == Share(None, {})


def test_in_200_random_clusters_no_queue_loses_what_is_its_own() -> None:
    rng = random.Random(3)
    for _ in range(200):
        snapshot = Snapshot()
        here = []
        for number in range(rng.randint(1, 12)):
            spec = {
                "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": str(rng.randint(1, 4))}}}]
            }
            meta = {"name": f"p{number}", "namespace": rng.choice("abc"), "uid": f"p{number}"}
            one = from_builtins(Pod, {"metadata": meta, "spec": {**spec, "priority": rng.randint(0, 3)}})
            node = rng.choice(("here", "elsewhere"))
            snapshot.add_pod(one, node)
            here += [placed_of(one, node)] if node == "here" else []
        bounds: dict[str, Any] = {name: {"cpu": 1000 * rng.randint(0, 8)} for name in "ab"}
        leaving = borrowed(here, bounds, snapshot.used_by)
        assert all(one.pod.metadata.namespace in bounds for one in leaving)
        for name, bound in bounds.items():
            before = snapshot.used_by.get(name, Counter())["cpu"]
            gone = sum(one.demand.amounts["cpu"] for one in leaving if one.pod.metadata.namespace == name)
            assert gone == 0 or before - gone >= bound["cpu"]
