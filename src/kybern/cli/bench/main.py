"""The cases in order, against a server of our own or against one that is named."""

import argparse
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import uvloop

from kybern.cli.bench import figures
from kybern.cli.bench.controllers import controlled
from kybern.cli.bench.custom import of_config_maps
from kybern.cli.bench.figures import Case, Figure, table
from kybern.cli.bench.many import many
from kybern.cli.bench.network import network
from kybern.cli.bench.node import node
from kybern.cli.bench.own_cluster import StartFailed, memory_megabytes, own_cluster
from kybern.cli.bench.scheduling import deployment_seconds, pods_per_second
from kybern.cli.bench.seed import PODS, READ, VALUE, WRITE, SeedFailed, admin_token, pod, seeded
from kybern.cli.bench.simulation import simulation
from kybern.cli.bench.watch_lag import Crowd, watch_lag
from kybern.cli.bench.wrk import Load, WrkMissing, measure
from kybern.web.client import Client
from kybern.web.http import Request
from kybern.web.tls import client_context

PODS_COUNT = 7800
NUMBERED_CONFIGMAP = json.dumps({"metadata": {"name": "new-@N@"}, "data": {"key": VALUE}})

LOADS: tuple[tuple[Case, Load], ...] = (
    (figures.GET, Load(f"/api/v1/namespaces/{READ}/configmaps/cm-1")),
    (figures.LIST_CONFIGMAPS, Load(f"/api/v1/namespaces/{READ}/configmaps?limit=100")),
    (figures.LIST_PODS_CHUNK, Load(f"/api/v1/namespaces/{PODS}/pods?limit=500")),
    (
        figures.PATCH,
        Load(
            f"/api/v1/namespaces/{READ}/configmaps/cm-@M@",
            "PATCH",
            '{"data":{"count":"@N@"}}',
            "application/strategic-merge-patch+json",
        ),
    ),
)
CREATIONS: tuple[tuple[Case, Load], ...] = (
    (figures.CREATE_CONFIGMAP, Load(f"/api/v1/namespaces/{WRITE}/configmaps", "POST", NUMBERED_CONFIGMAP)),
    (figures.CREATE_POD, Load(f"/api/v1/namespaces/{WRITE}/pods", "POST", json.dumps(pod("new-@N@")))),
)

CROWDS: tuple[tuple[Case, Crowd], ...] = (
    (figures.WATCH_LAG, Crowd(watchers=100, writes_per_second=100)),
    (figures.WATCH_LAG_OF_MANY, Crowd(watchers=1000, writes_per_second=20)),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against", default="", metavar="URL", help="another API server; without it, one of our own is started"
    )
    parser.add_argument("--token", default="", help="of a cluster administrator, with --against")
    parser.add_argument(
        "--crowd", action="store_true", help="measure the memory of 50,000 pods too, which takes minutes"
    )
    parser.add_argument("--only", action="append", choices=tuple(PARTS), help="this part, and what else is named so")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each case (default %(default)g)")
    parser.add_argument("--pods", type=int, default=PODS_COUNT, help="in the lists of pods (default %(default)d)")


def run(args: argparse.Namespace) -> int:
    found: list[Figure] = []
    failed = False
    try:
        uvloop.run(collect(against(args) if args.against else ourselves(args), found))
    except (WrkMissing, SeedFailed, StartFailed, OSError, ExceptionGroup) as error:
        cause = first(error)
        print(f"error: {str(cause) or type(cause).__name__}", file=sys.stderr)
        failed = True
    if found:
        print("\n".join(table(found)))
    return 1 if failed or any(figure.failed for figure in found) else 0


async def collect(figures: AsyncIterator[Figure], found: list[Figure]) -> None:
    """Those before a fault too: to measure them all again would take minutes."""
    async for figure in figures:
        found.append(figure)


async def against(args: argparse.Namespace) -> AsyncIterator[Figure]:
    headers = {"authorization": f"Bearer {args.token}"}
    async with Client(args.against, ssl=client_context(verify=False), headers=headers) as client:
        async with seeded(client, args.pods):
            for part in (read, written):
                async for figure in part(client, args.against.rstrip("/"), args.token, args):
                    yield figure


async def ourselves(args: argparse.Namespace) -> AsyncIterator[Figure]:
    for part in args.only or PARTS:
        async for figure in PARTS[part](args):
            yield figure


async def api_server(args: argparse.Namespace) -> AsyncIterator[Figure]:
    async with own_cluster() as cluster:
        yield Figure(figures.START, cluster.start_seconds)
        yield Figure(figures.IDLE_MEMORY, memory_megabytes(cluster.server_pid))
        async with seeded(cluster.client, args.pods):
            token = await admin_token(cluster.client)
            async for figure in read(cluster.client, cluster.url, token, args):
                yield figure
            yield Figure(figures.LOADED_MEMORY, memory_megabytes(cluster.server_pid))
            async for figure in written(cluster.client, cluster.url, token, args):
                yield figure


async def of_many(args: argparse.Namespace) -> AsyncIterator[Figure]:
    tell(figures.SLOWEST_PAGE)
    async for figure in many():
        yield figure


async def scheduled(args: argparse.Namespace) -> AsyncIterator[Figure]:
    tell(figures.BOUND)
    yield Figure(figures.BOUND, await pods_per_second())
    tell(figures.DEPLOYMENT)
    yield Figure(figures.DEPLOYMENT, await deployment_seconds())


async def simulated(args: argparse.Namespace) -> AsyncIterator[Figure]:
    tell(figures.NODES_READY)
    async for figure in simulation(crowd=args.crowd):
        yield figure


async def through_controllers(args: argparse.Namespace) -> AsyncIterator[Figure]:
    tell(figures.SCALED_UP)
    async for figure in controlled():
        yield figure


async def on_a_node(args: argparse.Namespace) -> AsyncIterator[Figure]:
    if os.geteuid() != 0:
        return  # containers need root
    tell(figures.POD_START)
    async for figure in node():
        yield figure


async def on_its_network(args: argparse.Namespace) -> AsyncIterator[Figure]:
    if os.geteuid() != 0:
        return
    tell(figures.PROGRAMMED)
    async for figure in network():
        yield figure


PARTS: Mapping[str, Callable[[argparse.Namespace], AsyncIterator[Figure]]] = {
    "api": api_server,
    "many": of_many,
    "scheduling": scheduled,
    "simulation": simulated,
    "controllers": through_controllers,
    "node": on_a_node,
    "network": on_its_network,
}


async def read(client: Client, url: str, token: str, args: argparse.Namespace) -> AsyncIterator[Figure]:
    """What is there, and changed. Nothing more comes to be: memory is measured after this, and a faster server would have
    more to hold."""
    async for figure in rates(LOADS, url, token, args):
        yield figure
    tell(figures.LIST_PODS)
    yield Figure(figures.LIST_PODS, min([await time_to_list(client) for _ in range(3)]))


async def written(client: Client, url: str, token: str, args: argparse.Namespace) -> AsyncIterator[Figure]:
    async for figure in rates(CREATIONS, url, token, args):
        yield figure
    tell(figures.CREATE_CUSTOM)
    custom = await of_config_maps(client, url, token, args.seconds)
    yield Figure(figures.CREATE_CUSTOM, custom.rate, custom.failed)
    for case, crowd in CROWDS:
        tell(case)
        yield Figure(case, await watch_lag(client, url, token, crowd, args.seconds))


async def rates(
    cases: Iterable[tuple[Case, Load]], url: str, token: str, args: argparse.Namespace
) -> AsyncIterator[Figure]:
    for case, load in cases:
        tell(case)
        report = await measure(url, token, load, args.seconds)
        yield Figure(case, report.rate, report.failed)


async def time_to_list(client: Client) -> float:
    began = time.monotonic()
    response = await client.send(Request("GET", f"/api/v1/namespaces/{PODS}/pods", "", {"accept": "application/json"}))
    await response.read()
    return time.monotonic() - began


def first(error: Exception) -> Exception:
    """Of several that were under way at once, one is enough to say what is wrong."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def tell(case: Case) -> None:
    print(f"{case.name} ...", file=sys.stderr, flush=True)
