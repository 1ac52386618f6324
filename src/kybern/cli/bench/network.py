"""A node's network, with a thousand Services in its tables: how soon a change of an endpoint is in the kernel, what pods lose
of the speed that a bare veth pair has, how long a pod waits for its network, and how many names are answered.

The kernel itself is asked: it tells what is put into its tables. Endpoints have addresses of the range for benchmarks
(RFC 2544), each once, so that each is known when it comes.
"""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from statistics import quantiles
from typing import Any

from kybern.cli.bench.dns import answers_per_core_second
from kybern.cli.bench.figures import (
    CHANGE_SEEN,
    DNS,
    POD_NETWORK,
    PROGRAMMED,
    Figure,
)
from kybern.cli.bench.node import PATH as PODS
from kybern.cli.bench.node import pod, until_phases
from kybern.cli.bench.own_cluster import OwnCluster, own_cluster
from kybern.cli.bench.scheduling import NAMESPACE, prepared
from kybern.cli.bench.seed import create, send
from kybern.cli.bench.simulation import ready
from kybern.cli.bench.throughput import SERVICE_PATH, service, throughput
from kybern.linux.nft_news import news, packed_addresses
from kybern.web.client import Client
from kybern.web.http import Request

SERVICES, ENDPOINTS_EACH, CHANGES = 1000, 10, 100
SEEN_SECONDS_MAX, STILL_SECONDS = 60.0, 3.0
WIRED = 40
FIRST = int(IPv4Address("198.18.0.0"))
BENCHMARKS = re.compile(rb"\xc6[\x12\x13]..", re.DOTALL)
SLICE_PATH = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"


async def network() -> AsyncIterator[Figure]:
    async with own_cluster(simulated=False) as cluster:
        await prepared(cluster.client)
        await ready(cluster.client, 1)
        await asyncio.sleep(STILL_SECONDS)
        yield Figure(PROGRAMMED, await programmed(cluster))
        lags = await changes_seen(cluster.client)
        yield Figure(CHANGE_SEEN, 1000 * quantiles(lags, n=100)[98])
        async for figure in throughput(cluster.client):
            yield figure
        yield Figure(POD_NETWORK, 1000 * await seconds_to_wire(cluster.client))
        address = await dns_address(cluster.client)
        rate, wrong = await answers_per_core_second(address, cluster.pids["node"])
        yield Figure(DNS, rate, wrong)


async def programmed(cluster: OwnCluster) -> float:
    """The node stands still while the Services are made; seconds from when it goes on until all are in the kernel."""
    wanted = {packed(number) for number in range(SERVICES * ENDPOINTS_EACH)}
    pid = cluster.pids["node"]
    os.kill(pid, signal.SIGSTOP)
    try:
        await create(cluster.client, SERVICE_PATH, (service(f"s-{number}") for number in range(SERVICES)))
        await create(cluster.client, SLICE_PATH, (piece(number, range_of(number)) for number in range(SERVICES)))
        with news() as kernel:
            seen = asyncio.create_task(asyncio.to_thread(moment_of_all, kernel, wanted))
            began = time.monotonic()
            os.kill(pid, signal.SIGCONT)
            return await seen - began
    finally:
        os.kill(pid, signal.SIGCONT)


async def changes_seen(client: Client) -> list[float]:
    """Seconds from when a changed slice is sent to the API server until its new endpoint is in the kernel."""
    found = []
    with news() as kernel:
        for number in range(CHANGES):
            new = SERVICES * ENDPOINTS_EACH + number
            seen = asyncio.create_task(asyncio.to_thread(moment_of_all, kernel, {packed(new)}))
            began = time.monotonic()
            await send(client, "PUT", f"{SLICE_PATH}/s-{number}", piece(number, [*range_of(number)[1:], new]))
            found.append(await seen - began)
    return found


def moment_of_all(kernel: Any, wanted: set[bytes]) -> float:
    kernel.settimeout(SEEN_SECONDS_MAX)
    left = set(wanted)
    while left:
        left -= packed_addresses(kernel, BENCHMARKS)
    return time.monotonic()


async def seconds_to_wire(client: Client) -> float:
    """What the node says that its pods waited for their network, of pods that start one after the other."""
    before = await waited(client)
    for number in range(WIRED):
        await send(client, "POST", PODS, pod(f"wired-{number}"))
        await until_phases(client, {f"wired-{number}": "Running"})
    after = await waited(client)
    return (after[0] - before[0]) / (after[1] - before[1])


async def waited(client: Client) -> tuple[float, float]:
    """(seconds, pods)"""
    [name] = [node["metadata"]["name"] for node in (await send(client, "GET", "/api/v1/nodes"))["items"]]
    response = await client.send(Request("GET", f"/api/v1/nodes/{name}/proxy/metrics"))
    told = (await response.read()).decode()
    kind = r'kubelet_network_plugin_operations_duration_seconds_{}\{{operation_type="set_up_pod"\}} (\S+)'
    seconds, count = (re.search(kind.format(what), told) for what in ("sum", "count"))
    assert seconds is not None and count is not None, "the pods of the throughput were wired"
    return float(seconds[1]), float(count[1])


async def dns_address(client: Client) -> str:
    [node] = (await send(client, "GET", "/api/v1/nodes"))["items"]
    return next(str(found["address"]) for found in node["status"]["addresses"] if found["type"] == "InternalIP")


def piece(number: int, endpoints: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"s-{number}", "labels": {"kubernetes.io/service-name": f"s-{number}"}},
        "addressType": "IPv4",
        "ports": [{"port": 80}],
        "endpoints": [{"addresses": [str(IPv4Address(FIRST + each))]} for each in endpoints],
    }


def range_of(number: int) -> range:
    return range(number * ENDPOINTS_EACH, (number + 1) * ENDPOINTS_EACH)


def packed(number: int) -> bytes:
    return IPv4Address(FIRST + number).packed
