"""How late a write reaches its watchers: many watch one namespace while somebody writes to it at a steady pace."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator

from kybern.cli.bench.seed import WRITE
from kybern.web.client import Client
from kybern.web.http import Request

WATCHERS = 100
WRITES_PER_SECOND = 100
SENT = re.compile(rb'"sent":"([0-9.]+)"')  # Parsing JSON here would measure this process, not the server.
PATH = f"/api/v1/namespaces/{WRITE}/configmaps"


async def watch_lag(client: Client, seconds: float) -> float:
    """The 99th percentile in milliseconds."""
    lags: list[float] = []
    async with asyncio.TaskGroup() as group:
        streams = [await watch(client) for _ in range(WATCHERS)]
        watching = [group.create_task(collect(stream, lags)) for stream in streams]
        await write(client, seconds)
        await asyncio.sleep(1.0)  # For the last events.
        for task in watching:
            task.cancel()
    lags.sort()
    return lags[int(len(lags) * 0.99)] * 1000 if lags else float("inf")


async def watch(client: Client) -> AsyncIterator[bytes]:
    response = await client.send(Request("GET", PATH, "watch=true", {"accept": "application/json"}))
    if response.status != 200 or isinstance(response.body, bytes):
        raise OSError(f"the watch was refused: {response.status}")
    return response.body  # type: ignore[return-value]


async def collect(stream: AsyncIterator[bytes], lags: list[float]) -> None:
    async for piece in stream:
        now = time.monotonic()
        lags.extend(now - float(sent) for sent in SENT.findall(piece))


async def write(client: Client, seconds: float) -> None:
    """A new ConfigMap every hundredth of a second, whether or not the one before has been answered."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * WRITES_PER_SECOND)):
            await asyncio.sleep(max(0.0, began + number / WRITES_PER_SECOND - time.monotonic()))
            group.create_task(write_one(client, number))


async def write_one(client: Client, number: int) -> None:
    body = {"metadata": {"name": f"lag-{number}"}, "data": {"sent": f"{time.monotonic():.6f}"}}
    headers = {"content-type": "application/json"}
    response = await client.send(Request("POST", PATH, "", headers, json.dumps(body).encode()))
    if response.status != 201:
        raise OSError(f"a write was refused: {response.status}")
