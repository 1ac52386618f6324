"""The scheduler beside the real API server and the real controllers, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from kybern.api.apps_v1 import Deployment
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Node, Pod
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.scheduler.scheduler import Scheduler
from kybern.testing.cluster import Cluster, running
from kybern.testing.virtual import run

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")


@asynccontextmanager
async def scheduled(*nodes: str) -> AsyncIterator[Cluster]:
    async with running(nodes=nodes, loops=LOOPS) as cluster:
        events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
        scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
        tasks = [cluster.tasks.create_task(events.run()), cluster.tasks.create_task(scheduler.run())]
        try:
            yield cluster
        finally:
            for task in tasks:
                task.cancel()


def deployment(replicas: int, cpu: str = "1") -> Deployment:
    resources = {"requests": {"cpu": cpu}}
    return from_builtins(
        Deployment,
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web:1", "resources": resources}]},
                },
            },
        },
    )  # fmt: skip


async def placed(cluster: Cluster) -> Counter[str]:
    return Counter(pod.spec.node_name or "" for pod in await cluster.client.list(Pod, "default"))


async def messages(cluster: Cluster, reason: str) -> list[str]:
    found: list[Any] = list(await cluster.client.list(Event, "default"))
    return [event.message or "" for event in found if event.reason == reason]


def test_a_deployment_is_spread_over_the_nodes_and_told_of() -> None:
    async def story() -> None:
        async with scheduled("n1", "n2", "n3") as cluster:
            await cluster.settle()
            await cluster.client.create(deployment(12))
            await cluster.settle()
            assert await placed(cluster) == {"n1": 4, "n2": 4, "n3": 4}
            told = await messages(cluster, "Scheduled")
            assert len(told) == 12
            assert all(text.startswith("Successfully assigned default/web-") for text in told)
            pods = await cluster.client.list(Pod, "default")
            conditions = [c for pod in pods for c in pod.status.conditions or () if c.type == "PodScheduled"]
            assert [condition.status for condition in conditions] == ["True"] * 12

    run(story())


def test_what_does_not_fit_waits_with_its_reason_until_there_is_room() -> None:
    async def story() -> None:
        async with scheduled("n1") as cluster:
            await cluster.settle()
            await cluster.client.create(deployment(3, cpu="4"))
            await asyncio.sleep(30)
            assert await placed(cluster) == {"n1": 2, "": 1}
            (waiting,) = [pod for pod in await cluster.client.list(Pod, "default") if not pod.spec.node_name]
            (condition,) = [c for c in waiting.status.conditions or () if c.type == "PodScheduled"]
            message = (
                "0/1 nodes are available: 1 Insufficient cpu. "
                "no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
            )
            assert (condition.status, condition.reason, condition.message) == ("False", "Unschedulable", message)
            assert message in await messages(cluster, "FailedScheduling")
            node = await cluster.client.get(Node, "n1")
            await cluster.client.update(replace(node, spec=replace(node.spec, unschedulable=True)))
            first = next(pod for pod in await cluster.client.list(Pod, "default") if pod.spec.node_name)
            await cluster.client.delete(Pod, first.metadata.name or "", "default")
            await asyncio.sleep(30)
            assert (await placed(cluster))[""] == 2
            node = await cluster.client.get(Node, "n1")
            await cluster.client.update(replace(node, spec=replace(node.spec, unschedulable=None)))
            await asyncio.sleep(30)
            assert (await placed(cluster))["n1"] == 2

    run(story())


def test_a_rollout_of_200_pods_never_overcommits_a_node() -> None:
    async def story() -> None:
        names = [f"n{number}" for number in range(25)]
        async with scheduled(*names) as cluster:
            await cluster.settle()
            await cluster.client.create(deployment(210))
            await cluster.settle(quiet_seconds=20)
            counts = await placed(cluster)
            assert counts.pop("") == 10
            assert counts == dict.fromkeys(names, 8)

    run(story())
