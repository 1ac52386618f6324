"""The controllers through the whole system: a Deployment scaled up, many rolled out, namespaces emptied, and how much the
control process does while there is nothing to do. Simulated nodes play the pods.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from kybern.aio.timeouts import timeout
from kybern.cli.bench.figures import EMPTIED, IDLE_CONTROL, ROLLED_OUT, SCALED_UP, Figure
from kybern.cli.bench.own_cluster import own_cluster
from kybern.cli.bench.scheduling import NAMESPACE, prepared
from kybern.cli.bench.seed import create, send
from kybern.cli.bench.simulation import ready
from kybern.web.client import Client

NODES = 40
REPLICAS = 1000
DEPLOYMENTS, PODS_EACH = 500, 3
NAMESPACES, OBJECTS_EACH = 100, 20
LOOK_SECONDS, LOOK_AT_ALL_SECONDS = 0.1, 0.5
SEEN_SECONDS = 1.0  # until the controllers have noted it
DONE_SECONDS_MAX = 300.0
REST_SECONDS, IDLE_SECONDS = 15.0, 30.0
PATH = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
EMPTY = "kybern-bench-empty-"


async def controlled() -> AsyncIterator[Figure]:
    async with own_cluster("--simulated-nodes", str(NODES)) as cluster:
        client = cluster.client
        await prepared(client)
        await ready(client, NODES)
        yield Figure(SCALED_UP, await scaled_up(client))
        await send(client, "DELETE", f"{PATH}/web", {"propagationPolicy": "Foreground"})
        await gone(client, f"/api/v1/namespaces/{NAMESPACE}/pods")
        yield Figure(ROLLED_OUT, await rolled_out(client))
        await filled(client)
        yield Figure(EMPTIED, await emptied(client))
        await at_rest(client)
        yield Figure(IDLE_CONTROL, await percent_of_a_core(cluster.pids["control"]))


async def scaled_up(client: Client) -> float:
    await send(client, "POST", PATH, deployment("web", 0))
    await asyncio.sleep(SEEN_SECONDS)
    began = time.monotonic()
    scale = await send(client, "GET", f"{PATH}/web/scale")
    await send(client, "PUT", f"{PATH}/web/scale", {**scale, "spec": {"replicas": REPLICAS}})
    await ready_pods(client, f"{PATH}/web", REPLICAS)
    return time.monotonic() - began


async def rolled_out(client: Client) -> float:
    began = time.monotonic()
    await create(client, PATH, (deployment(f"app-{number}", PODS_EACH) for number in range(DEPLOYMENTS)))
    await ready_pods(client, PATH, DEPLOYMENTS * PODS_EACH, LOOK_AT_ALL_SECONDS)
    return time.monotonic() - began


async def ready_pods(client: Client, path: str, count: int, look_seconds: float = LOOK_SECONDS) -> None:
    async with timeout(DONE_SECONDS_MAX):
        while True:
            found = await send(client, "GET", path)
            if sum(one.get("status", {}).get("readyReplicas", 0) for one in found.get("items", [found])) == count:
                return
            await asyncio.sleep(look_seconds)


async def filled(client: Client) -> None:
    """Namespaces with objects in them, an application among them."""
    names = [f"{EMPTY}{number}" for number in range(NAMESPACES)]
    await create(client, "/api/v1/namespaces", ({"metadata": {"name": name}} for name in names))
    for name in names:
        await create(client, f"/api/v1/namespaces/{name}/configmaps", configmaps())
        await send(client, "POST", f"/apis/apps/v1/namespaces/{name}/deployments", deployment("web", 1))


def configmaps() -> Iterable[dict[str, Any]]:
    """With the account, the root certificate, and the Deployment, its ReplicaSet and its pod they are twenty."""
    return ({"metadata": {"name": f"cm-{number}"}} for number in range(OBJECTS_EACH - 5))


async def emptied(client: Client) -> float:
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(NAMESPACES):
            tasks.create_task(send(client, "DELETE", f"/api/v1/namespaces/{EMPTY}{number}"))
    async with timeout(DONE_SECONDS_MAX):
        while True:
            found = (await send(client, "GET", "/api/v1/namespaces"))["items"]
            if not any(one["metadata"]["name"].startswith(EMPTY) for one in found):
                return time.monotonic() - began
            await asyncio.sleep(LOOK_SECONDS)


async def gone(client: Client, path: str) -> None:
    async with timeout(DONE_SECONDS_MAX):
        while True:
            if not (await send(client, "GET", path))["items"]:
                return
            await asyncio.sleep(LOOK_SECONDS)


async def at_rest(client: Client) -> None:
    """Until no event has come for a while: thousands wait in line when the load is over, and are written one by one."""
    before = None
    async with timeout(DONE_SECONDS_MAX):
        while (count := await events(client)) != before:
            before = count
            await asyncio.sleep(REST_SECONDS)


async def events(client: Client) -> int:
    found = await send(client, "GET", "/api/v1/events?limit=1")
    return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))


async def percent_of_a_core(pid: int) -> float:
    before, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - began)


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    spec = {"containers": [{"name": "main", "image": "registry.example/web:1.0"}]}
    wanted = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }
    return {"metadata": {"name": name}, "spec": wanted}
