"""GET of a collection with `watch=true`: its changes, as a stream that lasts until somebody ends it.

- From a revision: what happened after it, then what happens. Without one, or from 0: first what there is.
- Whoever takes bookmarks gets one that says where what there is ends. `sendInitialEvents` asks for it from any revision.
- Bookmarks tell a quiet watcher how far it has come, about once a minute and when its time is up. All watches of one user are
  told at one moment: who has a hundred, as the controllers do, wakes once a minute and not a hundred times.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from dataclasses import dataclass
from zlib import crc32

from kybern.aio.clock import until_tick
from kybern.api.errors import About, Expired, invalid
from kybern.api.invalid import FieldError, forbidden_field, not_supported
from kybern.api.selectors import FieldRequirement, FieldSelector
from kybern.apiserver.binary import PROTOBUF
from kybern.apiserver.connections.sockets import wants_websocket, watch_over_websocket
from kybern.apiserver.failures import status_body
from kybern.apiserver.formats import JSON, Format, format_for
from kybern.apiserver.frames import bookmark
from kybern.apiserver.machine import Machine
from kybern.apiserver.options import Params, flag, one, whole_number
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.selection import Selection
from kybern.apiserver.storage import Storage
from kybern.apiserver.tables import described
from kybern.apiserver.turns import turns
from kybern.apiserver.verbs.listing import include_of, selected
from kybern.apiserver.verbs.shown import Rows, form_for, framing
from kybern.apiserver.verbs.versions import NOT_WITH_CONTINUE, reached, version_number
from kybern.apiserver.watcher import Watcher
from kybern.web.http import PushedStream, Response

TIMEOUT_SECONDS_MIN = 1800  # upstream ends a watch that names no end after half an hour to an hour
BOOKMARK_SECONDS = 60.0
NOT_OLDER = "NotOlderThan"
INITIAL_BYTES = 64 * 1024  # of a long first list, how much goes out at a time

NO_CACHE = {"Cache-Control": "no-cache, private"}


@dataclass(frozen=True, slots=True)
class Wishes:
    after: int
    initial: bool
    bookmarks: bool
    marks_end: bool
    """A bookmark says when the initial events are through."""
    seconds: float
    moment: float
    """In the minute, when bookmarks are sent."""


async def watch(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    params = request.params
    format_ = format_for(storage.resource.kind, request.http.headers.get("accept", ""))
    selection = selected(storage, request)
    if request.attributes.name and not selection.name:
        selection = named(selection, request.attributes.name)
    wishes = wishes_of(machine, params, request.user.name)
    if format_.transform == "Table":
        await described(storage.resource)
    stream = WatchStream(machine, storage, selection, format_, include_of(params), wishes)
    response = Response(200, {"Content-Type": content_type(format_), **NO_CACHE}, stream)
    if wants_websocket(request.http):
        return watch_over_websocket(request.http, response, binary=format_.media == PROTOBUF)
    return response


def content_type(format_: Format) -> str:
    if format_.media == PROTOBUF:
        return f"{PROTOBUF};stream=watch"
    return f"{JSON};stream=watch" if format_.streams else JSON


def named(selection: Selection, name: str) -> Selection:
    fields = FieldSelector((*selection.fields.requirements, FieldRequirement("metadata.name", True, name)))
    return Selection(selection.resource, selection.namespace, selection.labels, fields)


def wishes_of(machine: Machine, params: Params, user: str) -> Wishes:
    after = version_number(one(params, "resourceVersion"))
    bookmarks = flag(params, "allowWatchBookmarks")
    asked = "sendInitialEvents" in params
    initial = flag(params, "sendInitialEvents") if asked else after == 0
    wrong = list(wrong_options(asked, one(params, "resourceVersionMatch"), bool(one(params, "continue"))))
    if wrong:
        raise invalid(About(kind="ListOptions", group="meta.k8s.io"), wrong)
    seconds = whole_number(params, "timeoutSeconds") or TIMEOUT_SECONDS_MIN * (1 + machine.ids.rng.random())
    return Wishes(
        after=after,
        initial=initial,
        bookmarks=bookmarks,
        marks_end=initial and bookmarks,
        seconds=seconds,
        moment=crc32(user.encode()) % BOOKMARK_SECONDS,
    )


def wrong_options(asked: bool, match: str, continued: bool) -> Iterator[FieldError]:
    """`asked`: whether sendInitialEvents says anything."""
    if asked and match != NOT_OLDER:
        why = f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER}"
        yield forbidden_field("resourceVersionMatch", why)
    if not match:
        return
    if not asked:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        yield forbidden_field("resourceVersionMatch", why)
    if match != NOT_OLDER:
        yield not_supported("resourceVersionMatch", match, [NOT_OLDER])
    if continued:
        yield forbidden_field("resourceVersionMatch", NOT_WITH_CONTINUE)


class WatchStream(PushedStream):
    def __init__(
        self, machine: Machine, storage: Storage, selection: Selection, format_: Format, include: str, wishes: Wishes
    ) -> None:
        self.machine = machine
        self.storage = storage
        self.selection = selection
        self.wishes = wishes
        self.framed = framing(format_)
        self.form = form_for(storage, format_, machine.clock, include)
        self.bookmark_due = False
        self.over = False
        self._pieces = self._frames()

    def __anext__(self) -> Awaitable[bytes]:
        return self._pieces.__anext__()

    async def aclose(self) -> None:
        await self._pieces.aclose()

    async def _frames(self) -> AsyncGenerator[bytes]:
        wishes, cache = self.wishes, self.storage.cache
        if not await reached(self.machine, cache, wishes.after, wishes.seconds):
            return
        revision = cache.revision
        try:
            start = revision if wishes.initial else wishes.after or revision
            watcher = cache.watch(self.selection, self.form, after=start)
        except Expired as error:
            yield self.framed("ERROR", status_body(error))
            return
        watcher.send = self.push
        timers = self._timers(watcher)
        try:
            if wishes.initial:
                page = await cache.page(self.selection)
                if isinstance(self.form, Rows):
                    self.form.told = False  # what has happened since has been framed, and is sent after these
                for some in turns(page.items, INITIAL_BYTES):
                    yield b"".join([self.form("ADDED", item.sent()) for item in some])
                    await asyncio.sleep(0)
                if wishes.marks_end:
                    yield self._bookmark(revision, initial_events_end=True)
            while not watcher.cut:
                if data := watcher.drain():
                    yield data
                elif watcher.finished:
                    return
                elif self.bookmark_due or self.over:
                    self.bookmark_due = False
                    if wishes.bookmarks:
                        yield self._bookmark(cache.revision)
                    if self.over:
                        return
                else:
                    await watcher.wait()
        finally:
            watcher.close()
            for timer in timers:
                timer.cancel()

    def _timers(self, watcher: Watcher) -> list[asyncio.TimerHandle]:
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        def end() -> None:
            self.over = True
            watcher.wake()

        def remind() -> None:
            self.bookmark_due = True
            watcher.wake()
            timers[-1] = loop.call_later(until_tick(loop.time() - moment, BOOKMARK_SECONDS), remind)

        moment = self.wishes.moment
        timers.append(loop.call_later(self.wishes.seconds, end))
        if self.wishes.bookmarks:
            timers.append(loop.call_later(until_tick(loop.time() - moment, BOOKMARK_SECONDS), remind))
        return timers

    def _bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes:
        kind = self.storage.resource.kind
        obj = bookmark(kind.api_version, kind.kind, revision, initial_events_end=initial_events_end)
        return self.form("BOOKMARK", obj)
