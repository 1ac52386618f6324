"""Goal: a copy that misses nothing, whatever breaks. Method: a server that answers by script, on virtual time."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import msgspec
import pytest

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import ConfigMap
from kybern.api.errors import Expired, ServiceUnavailable
from kybern.api.kind import Kind
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, WatchEvent
from kybern.client.paths import kind_of
from kybern.client.reflector import Empty, Listed, Listing, Reflector, Source, Watching, after_failure
from kybern.testing import virtual
from kybern.web.http import Request, Response


def config(name: str, revision: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "x", "resourceVersion": str(revision)}}


def listed(revision: int, *names: str) -> Response:
    items = [config(name, revision) for name in names]
    return Response(body=json.dumps({"items": items, "metadata": {"resourceVersion": str(revision)}}).encode())


def line(type: str, obj: Any) -> bytes:
    return json.dumps({"type": type, "object": obj}).encode() + b"\n"


def watched(*lines: bytes, breaks: bool = False) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for one in lines:
            yield one
        if breaks:
            raise ConnectionResetError("gone")

    return Response(body=body())


def gone(status: int = 410) -> Response:
    body = {"kind": "Status", "code": status, "reason": "Expired" if status == 410 else "InternalError", "message": "m"}
    return Response(status, body=json.dumps(body).encode())


class Ordered(msgspec.Struct, rename="camel"):
    served: ClassVar[Kind]
    metadata: ObjectMeta
    spec: dict[str, str]


Ordered.served = replace(kind_of(ConfigMap), type=Ordered)


class Server:
    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.done = asyncio.Event()

    async def send(self, request: Request) -> Response:
        self.asked.append(request.query)
        if not self.answers:
            self.done.set()
            await asyncio.Event().wait()
        return self.answers.pop(0)


class Seen:
    def __init__(self) -> None:
        self.told: list[str] = []

    async def replace(self, objects: Sequence[ConfigMap], revision: int) -> None:
        self.told.append(f"all {' '.join(obj.metadata.name or '' for obj in objects)} @{revision}")

    def apply(self, events: Sequence[WatchEvent[ConfigMap]]) -> None:
        self.told += [f"{event.type} {event.object.metadata.name}" for event in events]


def reflected(*answers: Response) -> tuple[list[str], list[str], float]:
    """What the sink was told, what the server was asked, and how long it took."""

    async def main() -> tuple[list[str], list[str], float]:
        server, seen, clock = Server(*answers), Seen(), LoopClock()
        reflector = Reflector(Client(server), Source(kind_of(ConfigMap)), seen, clock, random.Random(1))
        running = asyncio.ensure_future(reflector.run())
        await server.done.wait()
        running.cancel()
        return seen.told, server.asked, clock.monotonic()

    return virtual.run(main())


def test_everything_is_listed_once_and_watched_from_there() -> None:
    told, asked, _ = reflected(
        listed(5, "a", "b"), watched(line("ADDED", config("c", 6)), line("DELETED", config("a", 7)))
    )
    assert told == ["all a b @5", "ADDED c", "DELETED a"]
    assert asked[1] == "watch=true&allowWatchBookmarks=true&resourceVersion=5"


def test_a_watch_that_ends_goes_on_from_the_last_event() -> None:
    told, asked, _ = reflected(
        listed(5), watched(line("ADDED", config("a", 6))), watched(line("ADDED", config("b", 9)))
    )
    assert told == ["all  @5", "ADDED a", "ADDED b"]
    assert [query.rpartition("=")[2] for query in asked[1:]] == ["5", "6", "9"]


def test_a_watch_that_breaks_misses_nothing() -> None:
    told, asked, _ = reflected(listed(5), watched(line("ADDED", config("a", 6)), breaks=True), watched())
    assert told == ["all  @5", "ADDED a"]
    assert asked[2].endswith("resourceVersion=6")


def test_a_bookmark_moves_the_place_to_go_on_from() -> None:
    _, asked, _ = reflected(listed(5), watched(line("BOOKMARK", config("", 50))), watched())
    assert asked[2].endswith("resourceVersion=50")


def test_a_bookmark_is_understood_of_a_kind_whose_objects_must_have_more_than_a_name() -> None:
    async def main() -> None:
        transport = Server(watched(line("BOOKMARK", config("", 50)), line("ADDED", config("a", 51))))
        events = Client(transport).watch_batches(kind_of(Ordered), "", "")
        assert [event.object.metadata.resource_version for event in await anext(events)] == ["50"]
        with pytest.raises(msgspec.ValidationError, match="spec"):
            await anext(events)
        await events.aclose()

    virtual.run(main())


def test_an_object_that_its_type_does_not_fit_is_said(caplog: pytest.LogCaptureFixture) -> None:
    told, _, _ = reflected(listed(5), watched(line("ADDED", {"metadata": {"name": 7}})), watched())
    assert told == ["all  @5"] and [record.levelname for record in caplog.records] == ["ERROR"]
    assert "configmaps: Expected `str" in caplog.text and "$.metadata.name" in caplog.text


def test_a_revision_that_is_too_old_means_to_list_again() -> None:
    told, _, _ = reflected(listed(5, "a"), gone(), listed(9, "b"))
    assert told == ["all a @5", "all b @9"]


def test_an_error_within_a_watch_does_too() -> None:
    expired = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    told, _, _ = reflected(listed(5, "a"), watched(line("ERROR", expired)), listed(9, "b"))
    assert told == ["all a @5", "all b @9"]


def test_a_server_that_fails_is_asked_ever_more_slowly() -> None:
    _, _, short = reflected(gone(500), listed(5))
    _, _, long = reflected(*[gone(500)] * 6, listed(5))
    assert 0.2 <= short <= 0.3
    assert 12 < long < 20


def test_an_answer_that_is_no_object_is_a_failure_and_not_the_end() -> None:
    told, _, _ = reflected(
        listed(5), watched(b'{"type": "ADDED", "object": 7}\n'), watched(line("ADDED", config("a", 6)))
    )
    assert told == ["all  @5", "ADDED a"]


async def nothing() -> Any:
    return
    yield []


def test_where_a_failure_leads() -> None:
    lost, old = ServiceUnavailable("x"), Expired("x")
    assert after_failure(Listing(2), lost) == Empty(3)
    assert after_failure(Listed("7", 1), lost) == Listed("7", 2)
    assert after_failure(Watching("7", nothing(), 0), lost) == Listed("7", 1)
    assert after_failure(Watching("7", nothing(), 0), old) == Empty(1)
