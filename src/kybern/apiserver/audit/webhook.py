"""Events to another server, in batches: an `EventList` is posted when there are many, or after a while.

A batch that cannot be delivered is tried again a few times, later each time, then given up; what comes meanwhile waits,
up to a bound.
"""

import asyncio
import logging
from collections import deque

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.web.client import Client, ClientError
from kybern.web.http import Request

log = logging.getLogger(__name__)

WAITING_MAX = 10_000  # upstream's figures, here and below
BATCH_MAX = 400
BATCH_SECONDS = 30.0
TRIES_MAX = 4
RETRIES = Backoff(first_seconds=10.0, max_seconds=60.0)
HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
HEADERS = {"content-type": "application/json"}


class Webhook:
    name = "webhook"

    def __init__(self, client: Client, path: str, clock: Clock, batch_seconds: float = BATCH_SECONDS) -> None:
        self.client = client
        self.path = path or "/"
        self.clock = clock
        self.batch_seconds = batch_seconds
        self.given_up = 0
        self._waiting: deque[bytes] = deque()
        self._full = asyncio.Event()

    def put(self, line: bytes) -> bool:
        if len(self._waiting) >= WAITING_MAX:
            return False
        self._waiting.append(line)
        if len(self._waiting) >= BATCH_MAX:
            self._full.set()
        return True

    async def run(self) -> None:
        while True:
            try:
                async with timeout(self.batch_seconds):
                    await self._full.wait()
            except TimeoutError:
                pass
            self._full.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
                await self._deliver(batch)

    async def _deliver(self, batch: list[bytes]) -> None:
        body = HEAD + b",".join(line.rstrip() for line in batch) + b"]}"
        why = ""
        for attempt in range(TRIES_MAX):
            if attempt:
                await self.clock.sleep(RETRIES.delay(attempt))
            try:
                response = await self.client.send(Request("POST", self.path, "", HEADERS, body))
                await response.read(1024)
            except ClientError as error:
                why = str(error)
                continue
            if response.status < 300:
                return
            why = f"it answered {response.status}"
            if response.status < 500 and response.status != 429:
                break
        self.given_up += len(batch)
        log.error("%d audit events could not be delivered: %s", len(batch), why)
