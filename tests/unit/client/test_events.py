import asyncio
import logging

import pytest

from kybern.api.core_v1 import Event, ObjectReference
from kybern.client.correlate import BURST_EVENTS, COMBINED, Correlator, Occurrence
from kybern.client.events import EVENTS_PER_SECOND, PROMPT_EVENTS, Recorder, reference_to
from kybern.testing import virtual
from kybern.testing.builders import pod
from kybern.testing.cluster import running


def seen(message: str, at: float = 0.0, reason: str = "R", name: str = "a") -> Occurrence:
    return Occurrence(ObjectReference(kind="Pod", namespace="x", name=name), "Normal", reason, message, at)


def test_the_same_event_again_is_counted() -> None:
    correlator = Correlator()
    first, again = correlator.correlate(seen("m")), correlator.correlate(seen("m", 5))
    assert first is not None and again is not None and first[0] is again[0]
    assert (again[0].count, again[0].first, again[0].last) == (2, 0.0, 5)


def test_similar_events_are_combined() -> None:
    correlator = Correlator()
    messages = [found[1] for n in range(12) if (found := correlator.correlate(seen(f"m{n}")))]
    assert messages[:10] == [f"m{n}" for n in range(10)]
    assert messages[10:] == [COMBINED, COMBINED]


def test_after_a_while_they_are_told_one_by_one_again() -> None:
    correlator = Correlator()
    for n in range(12):
        correlator.correlate(seen(f"m{n}"))
    found = correlator.correlate(seen("late", 700))
    assert found is not None and found[1] == "late"


def test_one_object_cannot_fill_the_store() -> None:
    correlator = Correlator()
    written = [correlator.correlate(seen("m", reason=f"R{n}")) for n in range(40)]
    assert sum(found is not None for found in written) == BURST_EVENTS
    assert correlator.correlate(seen("m", name="b")) is not None
    assert correlator.correlate(seen("m", at=301, reason="R99")) is not None


def test_an_event_is_written_as_upstream_writes_it() -> None:
    async def main() -> list[Event]:
        async with running((), loops=()) as cluster:
            recorder = Recorder(cluster.client, "test-controller", "here", cluster.clock, cluster.ids)
            recording = cluster.tasks.create_task(recorder.run())
            for _ in range(3):
                recorder.event(pod("a"), "Normal", "Started", "Started it")
            await recorder.flush()
            recording.cancel()
            return await cluster.client.list(Event, "default")

    (event,) = virtual.run(main())
    assert (event.count, event.reason, event.message, event.type) == (3, "Started", "Started it", "Normal")
    assert (event.involved_object.kind, event.involved_object.name) == ("Pod", "a")
    assert event.source is not None and (event.source.component, event.source.host) == ("test-controller", "here")
    assert (event.metadata.name or "").startswith("a.")


def test_a_burst_of_ten_thousand_waits_and_what_has_no_room_is_told_in_two_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> int:
        async with running((), loops=()) as cluster:
            recorder = Recorder(cluster.client, "test-controller", "", cluster.clock, cluster.ids)
            for n in range(10_000):
                recorder.event(pod(f"p{n}"), "Normal", "Scheduled", "m")
            assert (recorder.queue.qsize(), caplog.messages) == (10_000, [])
            recorder.queue = asyncio.Queue(2)
            for n in range(5):
                recorder.event(pod(f"p{n}"), "Normal", "Scheduled", "m")
            recording = cluster.tasks.create_task(recorder.run())
            await recorder.flush()
            await cluster.advance(1)
            recording.cancel()
            return len(await cluster.client.list(Event, "default"))

    caplog.set_level(logging.WARNING, "kybern.client.events")
    assert virtual.run(main()) == 2
    assert caplog.messages == [
        "too many events wait to be written: Scheduled about p2 is dropped",
        "3 events were dropped, until all that waited were written",
    ]


def test_news_come_after_work_a_burst_at_once_and_then_so_many_a_second() -> None:
    async def main() -> None:
        async with running((), loops=()) as cluster:
            recorder = Recorder(cluster.client, "test-controller", "here", cluster.clock, cluster.ids)
            for number in range(PROMPT_EVENTS + 2 * EVENTS_PER_SECOND):
                recorder.event(pod(f"p{number}"), "Normal", "Scheduled", "Assigned")
            recording = cluster.tasks.create_task(recorder.run())
            written = []
            for moment in (0.005, 1.005, 2.005):
                await cluster.clock.sleep(moment - cluster.clock.monotonic())
                written.append(len(await cluster.client.list(Event, "default")))
            assert written == [PROMPT_EVENTS, PROMPT_EVENTS + EVENTS_PER_SECOND, PROMPT_EVENTS + 2 * EVENTS_PER_SECOND]
            recording.cancel()

    virtual.run(main())


def test_a_reference_names_the_container_it_is_about() -> None:
    assert reference_to(pod("a"), "spec.containers{web}").field_path == "spec.containers{web}"
