"""How late a write reaches its watchers: many watch one namespace while somebody writes to it at a steady pace."""

import asyncio
import gc
import json
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from kybern.cli.bench.seed import WATCH, WATCHED_CONFIGMAPS, send
from kybern.web.client import Client, fast_connector
from kybern.web.head import request_head
from kybern.web.http import Request
from kybern.web.tls import client_context

SETTLE_SECONDS = 1.0  # before the first write, for the last watch to begin, and after the last one, for its events
MOMENT_BYTES_MAX = 40  # The longest piece of a moment that the next bytes may complete.
SENT = re.compile(rb'"sent":"([0-9.]+)"')  # Parsing JSON here would measure this process, not the server.
PATH = f"/api/v1/namespaces/{WATCH}/configmaps"


@dataclass(frozen=True, slots=True)
class Crowd:
    watchers: int
    writes_per_second: int


async def watch_lag(client: Client, url: str, token: str, crowd: Crowd, seconds: float) -> float:
    """The 99th percentile in milliseconds; infinite where an event did not arrive."""
    lags: list[float] = []
    now = (await send(client, "GET", PATH))["metadata"]["resourceVersion"]
    watchers = [await watch(url, token, now, lags) for _ in range(crowd.watchers)]
    await asyncio.sleep(SETTLE_SECONDS)
    gc.freeze()  # a collection over a thousand connections would count as the server's lag
    await write(client, crowd, seconds)
    await asyncio.sleep(SETTLE_SECONDS)
    for watcher in watchers:
        watcher.close()
    lags.sort()
    complete = int(seconds * crowd.writes_per_second) * crowd.watchers
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


async def watch(url: str, token: str, after: str, lags: list[float]) -> asyncio.BaseTransport:
    at = urlsplit(url)
    tls = client_context(verify=False) if at.scheme == "https" else None
    connect = fast_connector(asyncio.get_running_loop())
    transport, _ = await connect(lambda: Watcher(lags), at.hostname or "", at.port or 443, ssl=tls)
    headers = {"Host": at.netloc, "Authorization": f"Bearer {token}", "Accept": "application/json"}
    transport.write(request_head("GET", f"{PATH}?watch=true&resourceVersion={after}", headers, ""))
    return transport  # type: ignore[no-any-return]


async def write(client: Client, crowd: Crowd, seconds: float) -> None:
    """A patch at each tick, whether or not the one before has been answered."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * crowd.writes_per_second)):
            await asyncio.sleep(max(0.0, began + number / crowd.writes_per_second - time.monotonic()))
            group.create_task(write_one(client, number))


async def write_one(client: Client, number: int) -> None:
    body = {"data": {"sent": f"{time.monotonic():.6f}"}}
    path = f"{PATH}/lag-{number % WATCHED_CONFIGMAPS}"
    headers = {"content-type": "application/merge-patch+json"}
    response = await client.send(Request("PATCH", path, "", headers, json.dumps(body).encode()))
    if response.status != 200:
        raise OSError(f"a write was refused: {response.status}")
    await response.read()
