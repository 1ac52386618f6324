"""One real node: how fast an image comes, how soon pods run, how long a command in one takes, how fast a container may
write its log, and what the node's own processes take for as many idle pods as a node may have. Nothing where containers
cannot run.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from kybern.aio.timeouts import timeout
from kybern.cli.bench.controllers import gone, percent_of_a_core
from kybern.cli.bench.figures import EXEC, IDLE_AGENT, LOG, POD_START, POD_START_LATE, WARDEN, WARDEN_EACH, Figure
from kybern.cli.bench.own_cluster import OwnCluster, memory_megabytes, own_cluster
from kybern.cli.bench.pulling import pulled
from kybern.cli.bench.scheduling import NAMESPACE, prepared
from kybern.cli.bench.seed import create, send
from kybern.cli.bench.simulation import ready
from kybern.client.calls import lines
from kybern.web.client import Client
from kybern.web.http import Request
from kybern.web.remote_client import remote_command

IMAGE = "kybern.local/host"
STARTED, STARTED_PER_SECOND = 60, 5
COMMANDS = 50
LINE_BYTES, LINES = 100, 5_000_000
IDLE_PODS = 105
REST_SECONDS = 20.0
DONE_SECONDS_MAX = 120.0
PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"


async def node() -> AsyncIterator[Figure]:
    async with own_cluster(simulated=False) as cluster:
        client, warden = cluster.client, cluster.pids["warden"]
        await prepared(client)
        await ready(client, 1)
        empty = memory_megabytes(warden)
        starts = await started(client)
        yield Figure(POD_START, 1000 * median(starts))
        yield Figure(POD_START_LATE, 1000 * quantiles(starts, n=100)[98])
        yield Figure(EXEC, 1000 * median([await one_command(client, "pod-0") for _ in range(COMMANDS)]))
        await emptied(client)
        yield await written(cluster)
        await emptied(client)
        await create(client, PATH, (pod(f"idle-{number}") for number in range(IDLE_PODS)))
        await until_phases(client, {f"idle-{number}": "Running" for number in range(IDLE_PODS)})
        await asyncio.sleep(REST_SECONDS)
        yield Figure(IDLE_AGENT, await percent_of_a_core(cluster.pids["node"]))
        yield Figure(WARDEN, memory_megabytes(warden))
        yield Figure(WARDEN_EACH, (memory_megabytes(warden) - empty) / IDLE_PODS)
    # Last: the disk has the files that it removes to discard, and whoever writes then waits for that.
    yield await pulled()


async def started(client: Client) -> list[float]:
    """Seconds from bound to Running, as a watcher sees them, of pods that are created at an even pace."""
    names = [f"pod-{number}" for number in range(STARTED)]
    async with asyncio.TaskGroup() as tasks:
        seen = tasks.create_task(moments(client, dict.fromkeys(names, "Running")))
        for name in names:
            await asyncio.sleep(1 / STARTED_PER_SECOND)
            tasks.create_task(send(client, "POST", PATH, pod(name)))
    return [reached - bound for bound, reached in seen.result().values()]


async def moments(client: Client, phases: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Of each of these pods when it was bound, and when it reached its phase."""
    bound: dict[str, float] = {}
    found: dict[str, tuple[float, float]] = {}
    response = await client.send(Request("GET", PATH, "watch=true", {"accept": "application/json"}))
    async with timeout(DONE_SECONDS_MAX), aclosing(lines(response)) as batches:
        async for batch in batches:
            now = time.monotonic()
            for line in batch:
                one = json.loads(line)["object"]
                name = one["metadata"]["name"]
                if one["spec"].get("nodeName"):
                    bound.setdefault(name, now)
                if one["status"].get("phase") == phases.get(name, ""):
                    found.setdefault(name, (bound[name], now))
            if len(found) == len(phases):
                break
    return found


async def until_phases(client: Client, phases: dict[str, str]) -> None:
    await moments(client, phases)


async def one_command(client: Client, name: str) -> float:
    began = time.monotonic()
    async with remote_command(client, Request("GET", f"{PATH}/{name}/exec", "command=true&stdout=true")) as remote:
        await remote.status()
    return time.monotonic() - began


async def written(cluster: OwnCluster) -> Figure:
    """A container's log, as fast as it can write it; a line that is missing is a failure."""
    line = "x" * (LINE_BYTES - 1)
    command = ["sh", "-c", f"yes {line} | head -n {LINES}"]
    wanted = asyncio.create_task(until_phases(cluster.client, {"writer": "Running"}))
    over = asyncio.create_task(until_phases(cluster.client, {"writer": "Succeeded"}))
    writer = pod("writer", *command, policy="Never")
    writer["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}  # without, whatever else runs comes first
    await send(cluster.client, "POST", PATH, writer)
    await wanted
    began = time.monotonic()
    await over
    rate = LINE_BYTES * LINES / 1e6 / (time.monotonic() - began)
    kept = sum(map(count_lines, (cluster.data / "pod-logs").glob(f"{NAMESPACE}_writer_*/main/*")))
    return Figure(LOG, rate, "" if kept == LINES else f"{LINES - kept} lines are missing")


def count_lines(path: Path) -> int:
    with path.open("rb") as log:
        return sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))


async def emptied(client: Client) -> None:
    await send(client, "DELETE", PATH)
    await gone(client, PATH)


def pod(name: str, *command: str, policy: str = "Always") -> dict[str, Any]:
    main = {"name": "main", "image": IMAGE, "command": list(command) or ["sleep", "100000"]}
    spec = {"containers": [main], "restartPolicy": policy, "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name}, "spec": spec}
