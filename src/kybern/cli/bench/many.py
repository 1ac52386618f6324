"""A great many objects: lists by pages that leave others their turn, and a server that is soon back with all of them."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from kybern.cli.bench import figures
from kybern.cli.bench.figures import Figure
from kybern.cli.bench.own_cluster import OwnCluster, own_cluster, wait_ready
from kybern.cli.bench.seed import READ, configmap, create, send
from kybern.web.client import Client
from kybern.web.client_errors import ClientError
from kybern.web.http import Request

OBJECTS, PAGE = 50_000, 500
ROUNDS = 3
ASKING_SECONDS = 0.002  # between two questions of the one who wants his turn
PATH = f"/api/v1/namespaces/{READ}/configmaps"
CONTINUE = re.compile(rb'"continue":"([^"]+)"')  # parsing the page here would be the client's stall, not the server's


async def many() -> AsyncIterator[Figure]:
    async with own_cluster() as cluster:
        await send(cluster.client, "POST", "/api/v1/namespaces", {"metadata": {"name": READ}})
        await create(cluster.client, PATH, (configmap(f"cm-{n}") for n in range(OBJECTS)))
        waits: list[float] = []
        asking = asyncio.create_task(ask(cluster.client, waits))
        pages = [seconds for _ in range(ROUNDS) for seconds in await listed(cluster.client)]
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        yield Figure(figures.SLOWEST_PAGE, max(pages) * 1000)
        yield Figure(figures.LONGEST_WAIT, max(waits) * 1000)
        yield Figure(figures.RESTART, await restarted(cluster))


async def listed(client: Client) -> list[float]:
    """How long each page took."""
    seconds, token = [], ""
    while True:
        began = time.monotonic()
        query = f"limit={PAGE}" + (f"&continue={token}" if token else "")
        response = await client.send(Request("GET", PATH, query, {"accept": "application/json"}))
        page = await response.read()
        seconds.append(time.monotonic() - began)
        found = CONTINUE.search(page)
        if found is None:
            return seconds
        token = found[1].decode()


async def ask(client: Client, waits: list[float]) -> None:
    """Small questions of another, as long as nobody ends it."""
    while True:
        began = time.monotonic()
        await (await client.send(Request("GET", f"{PATH}/cm-1"))).read()
        waits.append(time.monotonic() - began)
        await asyncio.sleep(ASKING_SECONDS)


async def restarted(cluster: OwnCluster) -> float:
    """From the moment that the server is killed until it is ready again."""
    began = time.monotonic()
    os.kill(cluster.server_pid, signal.SIGKILL)
    with suppress(ClientError):  # the connection that ends with it
        await (await cluster.client.send(Request("GET", "/readyz"))).read()
    await wait_ready(cluster.client)
    return time.monotonic() - began
