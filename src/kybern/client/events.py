"""Recorder: tell what happened to an object, as a core/v1 Event that `kubectl describe` shows.

- `event()` never waits and never fails: an event is news, and losing one must not stop a loop.
- Events wait in a bounded queue; `run()` writes them one after the other, in order. How many found no room is logged.
- News come after work: beyond a burst they are written at a steady rate, while what they tell of goes on. (Upstream's
  components allow themselves 20 to 50 a second, after a burst of 30 to 100.)
"""

import asyncio
import logging
import math
from typing import Any

from kybern.aio.clock import Clock, rfc3339
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Event, EventSource, ObjectReference
from kybern.api.errors import ApiError, InternalError, NotFound, ServiceUnavailable, TooManyRequests
from kybern.api.meta_v1 import ObjectMeta
from kybern.client.client import Client
from kybern.client.correlate import COMBINED, Correlator, Occurrence, Series

QUEUED_EVENTS_MAX = 10_000  # as many pods may be scheduled faster than it is told; about 4 MB
PROMPT_EVENTS, EVENTS_PER_SECOND = 500, 50  # the rate is that of upstream's scheduler
TRIES_MAX = 12
RETRY_SECONDS = 10.0
MESSAGE_BYTES_MAX = 1024
WORTH_A_RETRY = (InternalError, ServiceUnavailable, TooManyRequests)

log = logging.getLogger(__name__)


class Recorder:
    def __init__(self, client: Client, component: str, host: str, clock: Clock, ids: Ids) -> None:
        self.client, self.component, self.host, self.clock, self.ids = client, component, host, clock, ids
        self.correlator = Correlator()
        self.unique = 0
        self.queue: asyncio.Queue[Occurrence] = asyncio.Queue(QUEUED_EVENTS_MAX)
        self.dropped = 0
        self.due = -math.inf
        """When the next one would be written at the steady rate."""

    def event(self, obj: Any, type: str, reason: str, message: str, *, field_path: str = "") -> None:
        """`type` is Normal or Warning; `field_path` names a container: `spec.containers{web}`."""
        about = obj if isinstance(obj, ObjectReference) else reference_to(obj, field_path)
        text = message[:MESSAGE_BYTES_MAX]
        try:
            self.queue.put_nowait(Occurrence(about, type, reason, text, self.clock.wall()))
        except asyncio.QueueFull:
            if not self.dropped:
                log.warning("too many events wait to be written: %s about %s is dropped", reason, about.name)
            self.dropped += 1

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            seen = await self.queue.get()
            await self._record(seen)
            self.queue.task_done()
            if self.dropped and self.queue.empty():
                log.warning("%d events were dropped, until all that waited were written", self.dropped)
                self.dropped = 0

    async def flush(self) -> None:
        """Returns when everything told so far has been written."""
        await self.queue.join()

    async def _turn(self) -> None:
        now = self.clock.monotonic()
        self.due = max(self.due, now - PROMPT_EVENTS / EVENTS_PER_SECOND) + 1 / EVENTS_PER_SECOND
        if self.due > now:
            await self.clock.sleep(self.due - now)

    async def _record(self, seen: Occurrence) -> None:
        found = self.correlator.correlate(seen)
        if found is None:
            return
        await self._turn()
        series, message = found
        if message == COMBINED:
            message += seen.message
        for _ in range(TRIES_MAX):
            try:
                await self._write(seen, series, message)
                return
            except WORTH_A_RETRY:
                await self.clock.sleep(RETRY_SECONDS)
            except ApiError as error:
                log.info("event %s about %s was refused: %s", seen.reason, seen.about.name, error.message)
                return

    async def _write(self, seen: Occurrence, series: Series, message: str) -> None:
        if series.name:
            again = {"count": series.count, "lastTimestamp": rfc3339(series.last), "message": message}
            try:
                await self.client.patch(Event, series.name, series.namespace, again)
                return
            except NotFound:  # It has expired meanwhile: this is a new event.
                series.count, series.first = 1, seen.at
        written = await self.client.create(self._event(seen, series, message))
        series.name, series.namespace = written.metadata.name or "", written.metadata.namespace or ""

    def _event(self, seen: Occurrence, series: Series, message: str) -> Event:
        self.unique = max(self.unique + 1, int(seen.at * 1e9))  # sorted by name, events are in their order
        unique = f"{self.unique:x}{self.ids.rng.getrandbits(16):04x}"  # two recorders may speak at one moment
        return Event(
            metadata=ObjectMeta(name=f"{seen.about.name}.{unique}", namespace=seen.about.namespace or "default"),
            involved_object=seen.about,
            type=seen.type,
            reason=seen.reason,
            message=message,
            source=EventSource(component=self.component, host=self.host or None),
            reporting_component=self.component,
            reporting_instance=self.host or "",
            first_timestamp=rfc3339(series.first),
            last_timestamp=rfc3339(series.last),
            count=series.count,
        )


def reference_to(obj: Any, field_path: str = "") -> ObjectReference:
    meta: ObjectMeta = obj.metadata
    return ObjectReference(
        kind=obj.kind,
        api_version=obj.api_version,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        field_path=field_path or None,
    )
