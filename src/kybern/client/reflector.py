"""Reflector: keep a copy of one kind, by listing it once and watching from there.

    Empty ──► Listing ──► Listed ──► Watching ──┐
      ▲          │          ▲            │      │ events
      └──────────┴──────────┼────────────┤◄─────┘
          failed            └── ended ───┤
      ▲                                  │
      └────────── too old (410) ─────────┘

- A lost connection is a state: `Listed` knows from where to go on, and nothing that happened meanwhile is missed.
- What changes all the time and is never urgent is listed now and then instead of watched, see `Source.every_seconds`.
- The sink never sees half a list, and sees changes in the order in which the server made them.
"""

import logging
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock, until_tick
from kybern.aio.slices import in_slices
from kybern.api.codec import decode
from kybern.api.errors import ApiError, Expired
from kybern.api.kind import Kind
from kybern.client.calls import JSON
from kybern.client.client import METADATA, METADATA_LIST, Client, WatchEvent, revision_of
from kybern.client.paths import query_of

BACKOFF = Backoff(first_seconds=0.2, max_seconds=15.0, jitter=0.5)
MOVED_ON_ENDS = (ApiError, msgspec.MsgspecError)

log = logging.getLogger(__name__)

Events = AsyncGenerator[Sequence[WatchEvent[Any]], None]


class Empty(Struct, frozen=True):
    failures: int = 0


class Listing(Struct, frozen=True):
    failures: int = 0


class Listed(Struct, frozen=True):
    revision: str
    failures: int = 0


class Watching(Struct, frozen=True):
    revision: str
    events: Events
    failures: int = 0
    """Since the last event: a watch that only ever breaks is retried ever more slowly."""


State = Empty | Listing | Listed | Watching


class Sink(Protocol):
    async def replace(self, objects: Sequence[Any], revision: int) -> None:
        """Everything there is, at a revision."""

    def apply(self, events: Sequence[WatchEvent[Any]]) -> None:
        """What changed since, bookmarks included."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is reflected: a kind, or a part of it."""

    kind: Kind
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False
    every_seconds: float = 0.0
    """How often it is listed, where that is enough; 0: it is watched."""

    @property
    def filtered(self) -> bool:
        return bool(self.namespace or self.labels or self.fields)


class Reflector:
    def __init__(self, client: Client, source: Source, sink: Sink, clock: Clock, rng: random.Random) -> None:
        self.client, self.source, self.sink, self.clock, self.rng = client, source, sink, clock, rng
        self.state: State = Empty()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self.state = await self.step(self.state)
        finally:
            if isinstance(self.state, Watching):
                await self.state.events.aclose()

    async def step(self, state: State) -> State:
        try:
            return await self._advance(state)
        except MOVED_ON_ENDS as error:
            # An object that its own type does not fit keeps all others of its kind from being seen until somebody mends it.
            level = logging.ERROR if isinstance(error, msgspec.ValidationError) else logging.DEBUG
            log.log(level, "%s: %s", self.source.kind.plural, error)
            if isinstance(state, Watching):
                await state.events.aclose()
            return after_failure(state, error)

    async def _advance(self, state: State) -> State:
        match state:
            case Empty(failures):
                await self._pause(failures)
                return Listing(failures)
            case Listing():
                return await self._list()
            case Listed(revision, failures):
                await self._pause(failures)
                if self.source.every_seconds:
                    await self.clock.sleep(until_tick(self.clock.monotonic(), self.source.every_seconds))
                    return Listing()
                query = self._query(revision)
                events = self._watch(query)
                return Watching(revision, events, failures)
            case Watching(revision, events, failures):
                batch = await anext(events, None)
                if batch is None:
                    return Listed(revision, failures + 1)
                self.sink.apply(batch)
                return Watching(batch[-1].object.metadata.resource_version or revision, events)

    async def _list(self) -> Listed:
        source = self.source
        page = await self.client.page(
            source.kind, source.namespace, self._query(), METADATA_LIST if source.metadata_only else JSON
        )
        objects = [decode(source.kind.type, item) async for item in in_slices(page.items or ())]
        await self.sink.replace(objects, revision_of(page.metadata))
        return Listed(page.metadata.resource_version or "")

    def _watch(self, query: str) -> Events:
        source = self.source
        accept = METADATA if source.metadata_only else JSON
        return self.client.watch_batches(source.kind, source.namespace, query, accept)

    async def _pause(self, failures: int) -> None:
        if failures:
            await self.clock.sleep(BACKOFF.delay(failures, self.rng))

    def _query(self, revision: str = "") -> str:
        return query_of(labelSelector=self.source.labels, fieldSelector=self.source.fields, resourceVersion=revision)


def after_failure(state: State, error: Exception) -> State:
    """Where to go on: from the last revision seen while it is still known, else from nothing."""
    if isinstance(state, Empty | Listing) or isinstance(error, Expired):
        return Empty(state.failures + 1)
    return Listed(state.revision, state.failures + 1)
