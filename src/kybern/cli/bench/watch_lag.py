"""How late a write reaches its watchers: many watch one namespace while somebody writes to it at a steady pace."""

import asyncio
import json
import re
import time
from urllib.parse import urlsplit

from kybern.cli.bench.seed import WATCH
from kybern.web.client import Client
from kybern.web.head import request_head
from kybern.web.http import Request
from kybern.web.tls import client_context

WATCHERS = 100
WRITES_PER_SECOND = 100
MOMENT_BYTES_MAX = 40  # The longest piece of a moment that the next bytes may complete.
SENT = re.compile(rb'"sent":"([0-9.]+)"')  # Parsing JSON here would measure this process, not the server.
PATH = f"/api/v1/namespaces/{WATCH}/configmaps"


async def watch_lag(client: Client, url: str, token: str, seconds: float) -> float:
    """The 99th percentile in milliseconds."""
    lags: list[float] = []
    watchers = [await watch(url, token, lags) for _ in range(WATCHERS)]
    await write(client, seconds)
    await asyncio.sleep(1.0)  # For the last events.
    for watcher in watchers:
        watcher.close()
    lags.sort()
    complete = int(seconds * WRITES_PER_SECOND) * WATCHERS
    return lags[int(len(lags) * 0.99)] * 1000 if len(lags) == complete else float("inf")


class Watcher(asyncio.Protocol):
    """Looks for the moments in what arrives and at nothing else: a client would cost more than the server."""

    def __init__(self, lags: list[float]) -> None:
        self.lags = lags
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        data = self.rest + data
        end = 0
        for found in SENT.finditer(data):
            self.lags.append(now - float(found[1]))
            end = found.end()
        self.rest = data[max(end, len(data) - MOMENT_BYTES_MAX) :]


async def watch(url: str, token: str, lags: list[float]) -> asyncio.BaseTransport:
    at = urlsplit(url)
    tls = client_context(verify=False) if at.scheme == "https" else None
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: Watcher(lags), at.hostname or "", at.port or 443, ssl=tls)
    headers = {"Host": at.netloc, "Authorization": f"Bearer {token}", "Accept": "application/json"}
    transport.write(request_head("GET", f"{PATH}?watch=true", headers, ""))
    return transport


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
