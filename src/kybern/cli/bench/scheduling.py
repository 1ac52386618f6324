"""From create to bound, through the whole system: pods, and a Deployment's pods, onto nodes that are only objects.

Nobody plays the nodes, so what is measured is API server, controllers and scheduler. It is over well before the node
lifecycle controller misses the nodes' leases.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote

from kybern.aio.timeouts import timeout
from kybern.cli.bench.own_cluster import OwnCluster, own_cluster
from kybern.cli.bench.seed import create, send
from kybern.client.calls import lines
from kybern.web.client import Client
from kybern.web.http import Request

NODES, PODS = 1000, 3000
DEPLOYMENT_NODES, REPLICAS = 200, 1000
NAMESPACE = "kybern-bench-bound"
LEFT_SECONDS_MAX = 300.0
UNBOUND = "spec.nodeName="
GONE = b'{"type":"DELETED"'


async def pods_per_second() -> float:
    async with cluster_of(NODES) as cluster:
        began = time.monotonic()
        creating = asyncio.create_task(
            create(cluster.client, f"/api/v1/namespaces/{NAMESPACE}/pods", (pod(f"pod-{n}") for n in range(PODS)))
        )
        await left(cluster.client, UNBOUND, PODS)
        await creating
        return PODS / (time.monotonic() - began)


async def deployment_seconds() -> float:
    async with cluster_of(DEPLOYMENT_NODES) as cluster:
        began = time.monotonic()
        await send(cluster.client, "POST", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", deployment(REPLICAS))
        await left(cluster.client, UNBOUND, REPLICAS)
        return time.monotonic() - began


@asynccontextmanager
async def cluster_of(nodes: int) -> AsyncIterator[OwnCluster]:
    async with own_cluster() as cluster:
        await prepared(cluster.client)
        await create(cluster.client, "/api/v1/nodes", (node(n) for n in range(nodes)))
        await untainted(cluster.client)
        yield cluster


async def prepared(client: Client) -> None:
    """A namespace of ours, with the account that pods need."""
    await send(client, "POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    await send(client, "POST", account, {"metadata": {"name": "default"}}, allowed=[409])


async def untainted(client: Client) -> None:
    """A new node is not ready until the node lifecycle controller has seen that it is."""
    while True:
        found = (await send(client, "GET", "/api/v1/nodes"))["items"]
        if not any(one["spec"].get("taints") for one in found):
            return
        await asyncio.sleep(0.2)


async def left(client: Client, fields: str, count: int) -> None:
    """Until so many pods were like `fields` and are so no more: for who watches only those, each such pod goes."""
    query = f"watch=true&fieldSelector={quote(fields)}"
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    response = await client.send(Request("GET", path, query, {"accept": "application/json"}))
    async with timeout(LEFT_SECONDS_MAX), aclosing(lines(response)) as batches:
        async for batch in batches:
            count -= sum(line.startswith(GONE) for line in batch)
            if count <= 0:
                return


def node(number: int) -> dict[str, Any]:
    name = f"bench-{number}"
    amounts = {"cpu": "32", "memory": "64Gi", "pods": "110"}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [ready]},
    }


def spec() -> dict[str, Any]:
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}}
    return {"containers": [{"name": "web", "image": "registry.example/web:1.0", "resources": resources}]}


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": spec()}


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "bench"}
    template = {"metadata": {"labels": labels}, "spec": spec()}
    wanted = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "web"}, "spec": wanted}
