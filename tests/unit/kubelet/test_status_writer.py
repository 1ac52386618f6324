"""Writing a pod's status: the latest, once, and as long as there is such a pod."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import Pod, PodCondition, PodStatus
from kybern.api.errors import ApiError, Conflict, NotFound, ServiceUnavailable
from kybern.api.meta_v1 import ObjectMeta
from kybern.kubelet.status_writer import StatusWriter
from kybern.testing.virtual import run

POD = Pod(metadata=ObjectMeta(name="p", namespace="default", uid="u"), status=PodStatus(phase="Pending"))


class FakeClient:
    def __init__(self, *failures: ApiError, found: Pod | None = POD) -> None:
        self.failures, self.found, self.patches = list(failures), found, list[Any]()

    async def patch(self, of: Any, name: str, namespace: str, patch: Any, **how: Any) -> None:
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop(0)
        self.patches.append(patch["status"])

    async def get(self, of: Any, name: str, namespace: str) -> Pod:
        if self.found is None:
            raise NotFound("gone")
        return self.found


def written(client: FakeClient, *wanted: PodStatus, pause: float = 0.0) -> StatusWriter:
    async def scenario() -> StatusWriter:
        writer = StatusWriter(client, LoopClock(), POD)  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(writer.run())
            for status in wanted:
                writer.want(status)
                await asyncio.sleep(pause)
            await writer.flush()
            writing.cancel()
        return writer

    return run(scenario())


def test_only_the_latest_of_many_changes_is_written() -> None:
    client = FakeClient()
    written(client, *(PodStatus(phase="Running", message=str(number)) for number in range(10)))
    assert client.patches[-1]["message"] == "9" and len(client.patches) <= 2


def test_a_pod_that_starts_fast_is_written_once() -> None:
    client = FakeClient()
    written(client, PodStatus(phase="Pending", message="on its way"), PodStatus(phase="Running"), pause=0.05)
    assert client.patches == [{"phase": "Running"}]


def test_a_pod_that_starts_slowly_is_told_of_meanwhile() -> None:
    client = FakeClient()
    written(client, PodStatus(phase="Pending", message="on its way"), PodStatus(phase="Running"), pause=0.5)
    assert client.patches == [{"message": "on its way"}, {"phase": "Running", "message": None}]


def test_nothing_is_written_where_nothing_changed() -> None:
    client = FakeClient()
    written(client, POD.status, PodStatus(phase="Pending"))
    assert client.patches == []


def test_a_server_that_is_away_is_waited_for() -> None:
    client = FakeClient(*(ServiceUnavailable("away") for _ in range(5)))
    written(client, PodStatus(phase="Running"))
    assert client.patches == [{"phase": "Running"}]


def test_a_busy_moment_is_no_farewell() -> None:
    client = FakeClient(Conflict("try again"))
    assert not written(client, PodStatus(phase="Running")).gone
    assert client.patches == [{"phase": "Running"}]


@pytest.mark.parametrize("found", [None, replace(POD, metadata=replace(POD.metadata, uid="another"))])
def test_a_pod_that_is_gone_is_not_written_to(found: Pod | None) -> None:
    client = FakeClient(Conflict("uid"), found=found)
    assert written(client, PodStatus(phase="Running")).gone
    assert client.patches == []


def test_conditions_of_others_are_not_written() -> None:
    client = FakeClient()
    writer = StatusWriter(client, LoopClock(), POD)  # type: ignore[arg-type]
    theirs = PodCondition(type="example.com/gate", status="True")
    writer.rebase(replace(POD, status=PodStatus(phase="Pending", conditions=(theirs,))))
    assert writer.wanted == writer.written and writer.wanted.conditions == (theirs,)


@pytest.mark.parametrize(("ended", "patched"), [(False, 1), (True, 0)])
def test_what_others_made_of_our_conditions_stays_for_a_moment_and_is_put_right(ended: bool, patched: int) -> None:
    client = FakeClient()

    async def scenario() -> None:
        ready = PodCondition(type="Ready", status="True")
        ours = PodStatus(phase="Running", conditions=(ready,))
        writer = StatusWriter(client, LoopClock(), replace(POD, status=ours))  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(writer.run())
            theirs = (replace(ready, status="False"), PodCondition(type="theirs", status="True"))
            phase = "Failed" if ended else "Running"
            writer.rebase(replace(POD, status=replace(ours, phase=phase, conditions=theirs, nominated_node_name="n")))
            await asyncio.sleep(9)
            assert client.patches == []
            await asyncio.sleep(3)
            assert client.patches == [{"conditions": [{"type": "Ready", "status": "True"}]}] * patched
            writer.rebase(replace(POD, status=replace(ours, conditions=(ready, theirs[1]))))
            await asyncio.sleep(30)
            assert len(client.patches) == patched
            writing.cancel()

    run(scenario())
