"""Simulated nodes by the thousand: until all are Ready, until ten thousand pods run, and the memory that more pods take."""

import asyncio
import time
from collections.abc import AsyncIterator

from kybern.aio.timeouts import timeout
from kybern.cli.bench.figures import CROWD_MEMORY, NODES_READY, PODS_RUNNING, Figure
from kybern.cli.bench.own_cluster import own_cluster
from kybern.cli.bench.scheduling import NAMESPACE, left, pod, prepared
from kybern.cli.bench.seed import create
from kybern.web.client import Client
from kybern.web.http import Request

NODES, PODS, CROWD = 5000, 10_000, 50_000
READY = b'"reason":"KubeletReady"'
READY_SECONDS_MAX = 300.0
LOOK_SECONDS = 0.5
SETTLE_SECONDS = 30.0  # the history of how pods began is forgotten some time later


async def simulation(crowd: bool) -> AsyncIterator[Figure]:
    """`crowd`: with the memory of 50,000 pods, which takes minutes."""
    async with own_cluster("--simulated-nodes", str(NODES)) as cluster:
        began = time.monotonic()
        await prepared(cluster.client)
        await ready(cluster.client)
        yield Figure(NODES_READY, time.monotonic() - began)
        began = time.monotonic()
        await running(cluster.client, 0, PODS)
        yield Figure(PODS_RUNNING, time.monotonic() - began)
        if crowd:
            await running(cluster.client, PODS, CROWD)
            await asyncio.sleep(SETTLE_SECONDS)
            yield Figure(CROWD_MEMORY, cluster.control_plane_megabytes)


async def ready(client: Client, count: int = NODES) -> None:
    """All nodes, and free of the taint that a new node has."""
    async with timeout(READY_SECONDS_MAX):
        while True:
            response = await client.send(Request("GET", "/api/v1/nodes", "", {"accept": "application/json"}))
            nodes = await response.read()
            if nodes.count(READY) >= count and b'"taints"' not in nodes:
                return
            await asyncio.sleep(LOOK_SECONDS)


async def running(client: Client, first: int, last: int) -> None:
    names = (f"pod-{number}" for number in range(first, last))
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(left(client, "status.phase!=Running", last - first))
        tasks.create_task(create(client, path, (pod(name) for name in names)))
