"""No node is ever over-committed: concurrent bindings that fail, answers that are lost, schedulers that are killed and
started again. Checked against the store after each run, and every pod that fits is placed in the end."""

import random
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import NotFound
from kybern.client import Client, InMemory, View
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.scheduler.demand import demand_of
from kybern.scheduler.scheduler import Scheduler
from kybern.testing.cluster import Cluster, running
from kybern.testing.faults import Faults, Faulty
from kybern.testing.virtual import run

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")
NODES = tuple(f"n{number}" for number in range(6))  # eight processors each
PODS = 70


def pod(name: str, cpu: int, *, port: bool) -> Pod:
    ports = [{"containerPort": 80, "hostPort": 8080}] if port else []
    container = {"name": "c", "image": "i:1", "ports": ports, "resources": {"requests": {"cpu": str(cpu)}}}
    metadata = {"name": name, "namespace": "default"}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [container]}})


def cpu_of(one: Pod) -> int:
    return demand_of(one).amounts["cpu"] // 1000


def has_port(one: Pod) -> bool:
    return any(port.host_port for c in one.spec.containers for port in c.ports or ())


class Processes:
    """Schedulers, one at a time or, for a while, two: each with a View of its own, over a connection with faults."""

    def __init__(self, cluster: Cluster, faults: Faults) -> None:
        self.cluster, self.faults = cluster, faults
        self.tasks: list[Any] = []

    def start(self) -> None:
        c = self.cluster
        client = Client(Faulty(InMemory(c.server), self.faults, c.clock, c.ids.rng))
        view = View(client, clock=c.clock, rng=c.ids.rng)
        events = Recorder(client, "default-scheduler", "", c.clock, c.ids)
        scheduler = Scheduler(client, view, c.clock, c.ids, events)
        self.tasks += [c.tasks.create_task(part) for part in (view.run(), events.run(), scheduler.run())]

    def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()


async def check(cluster: Cluster) -> int:
    """What the store says: no node has more than it can hold. How many pods have a node."""
    used: dict[str, Counter[str]] = {}
    ports: Counter[str] = Counter()
    placed = 0
    for one in await cluster.client.list(Pod, "default"):
        node = one.spec.node_name
        if not node or one.status.phase in ("Succeeded", "Failed"):
            continue
        placed += 1
        used.setdefault(node, Counter()).update(demand_of(one).amounts)
        ports[node] += has_port(one)
    for node in await cluster.client.list(Node):
        taken = used.get(node.metadata.name or "", Counter())
        assert taken["cpu"] <= 8000 and taken["pods"] <= 110, (node.metadata.name, taken)
        assert ports[node.metadata.name or ""] <= 1
    return placed


@pytest.mark.parametrize("seed", range(5))
def test_no_node_is_over_committed_whatever_fails_and_whoever_is_killed(seed: int) -> None:
    async def story() -> None:
        rng = random.Random(seed)
        faults = Faults(lost_request=0.05, lost_answer=0.05, broken_watch=0.02, slow_seconds=0.2)
        async with running(nodes=NODES, seed=seed, loops=LOOPS) as cluster:
            await cluster.settle()
            processes = Processes(cluster, faults)
            processes.start()
            for number in range(PODS):
                wanted = pod(f"p{number}", rng.randint(1, 3), port=rng.random() < 0.2)
                await cluster.client.create(wanted)
                if rng.random() < 0.15:
                    with suppress(NotFound):
                        await cluster.client.delete(Pod, f"p{rng.randrange(number + 1)}", "default")
                if rng.random() < 0.1:
                    processes.kill()
                    processes.start()
                if rng.random() < 0.3:
                    await cluster.advance(rng.random() * 2)
                    await check(cluster)
            faults.stop()
            await cluster.advance(400)
            placed = await check(cluster)
            waiting = [one for one in await cluster.client.list(Pod, "default") if not one.spec.node_name]
            assert placed > 15
            free = [
                8 - sum(cpu_of(o) for o in await cluster.client.list(Pod, "default") if o.spec.node_name == n)
                for n in NODES
            ]
            assert all(cpu_of(one) > max(free) or has_port(one) for one in waiting)
            processes.kill()

    run(story())
