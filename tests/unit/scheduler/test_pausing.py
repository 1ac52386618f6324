"""Pausing instead of killing: whose processors are needed is frozen if it allows that, and thawed when they are free."""

import random
from typing import Any

from known_objects import node

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod
from kybern.api.scheduling_v1 import PriorityClass
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.reconcile.pausing import PAUSED, PREEMPTION
from kybern.scheduler.judgement import judge
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.preemption import Refused, preempt
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.refusal import refusal
from kybern.scheduler.scheduler import Scheduler
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.victims import Candidate
from kybern.testing.cluster import running
from kybern.testing.virtual import run

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")


def pod(name: str, cpu: str, memory: str = "1Gi", priority: int = 0, *, pauses: bool = False, **spec: Any) -> Pod:
    told = {PREEMPTION: "pause"} if pauses else {}
    container = {"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    spec = {"containers": [container], **({"priority": priority} if priority else {}), **spec}
    metadata = {"name": name, "namespace": "default", "uid": name, "annotations": told}
    return from_builtins(Pod, {"metadata": metadata, "spec": spec})


def victims(wanted: Pod, *there: Pod) -> Candidate | None:
    snapshot = Snapshot()
    snapshot.set_node(node("n1"))  # eight processors, 8Gi
    for one in there:
        snapshot.add_pod(one, "n1")
    judgement = judge(wanted, snapshot, DEFAULT_PROFILE)
    why = refusal(wanted, judgement, snapshot)
    found = preempt(Refused(judgement, why, Nominations(), lambda ns: (), random.Random(1))).candidate
    assert set(snapshot.placed) == {one.metadata.uid for one in there}
    return found


def names(found: Candidate | None) -> tuple[set[str], set[str]]:
    """Who is killed, and who is frozen."""
    assert found is not None
    everybody = {one.metadata.name or "" for one in found.victims}
    return everybody - found.paused, set(found.paused)


def test_who_allows_it_is_frozen_where_processors_are_what_lacks() -> None:
    assert names(victims(pod("p", "4", priority=5), pod("a", "8", pauses=True))) == (set(), {"a"})
    assert names(victims(pod("p", "4", priority=5), pod("a", "8"))) == ({"a"}, set())
    two = (pod("a", "4", pauses=True), pod("b", "4"))
    assert names(victims(pod("p", "8", priority=5), *two)) == ({"b"}, {"a"})
    assert names(victims(pod("p", "4", priority=5), pod("a", "4", pauses=True), pod("b", "4", priority=1))) == (
        set(),
        {"a"},
    )


def test_where_memory_lacks_too_freezing_is_not_enough() -> None:
    assert names(victims(pod("p", "4", "7Gi", priority=5), pod("a", "8", "4Gi", pauses=True))) == ({"a"}, set())


def test_a_frozen_pod_s_memory_counts_and_its_processors_do_not() -> None:
    snapshot = Snapshot()
    snapshot.set_node(node("n1"))
    frozen = pod("a", "8", "4Gi")
    frozen = type(frozen)(
        metadata=type(frozen.metadata)(name="a", uid="a", annotations={PAUSED: "true"}), spec=frozen.spec
    )
    snapshot.add_pod(frozen, "n1")
    assert judge(pod("p", "8"), snapshot, DEFAULT_PROFILE).fits.all()
    assert not judge(pod("p", "1", "5Gi"), snapshot, DEFAULT_PROFILE).fits.any()
    assert set(snapshot.paused) == {"a"}


def test_it_is_paused_for_a_more_important_pod_and_goes_on_when_that_has_gone() -> None:
    async def story() -> None:
        async with running(nodes=("n1",), loops=LOOPS) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            cluster.control.running += [cluster.tasks.create_task(part) for part in (events.run(), scheduler.run())]
            client = cluster.client
            await client.create(from_builtins(PriorityClass, {"metadata": {"name": "high"}, "value": 1000}))
            await cluster.settle()
            await client.create(pod("batch", "6", pauses=True))
            await cluster.settle()
            await client.create(pod("urgent", "5", priorityClassName="high"))
            await cluster.advance(20)
            urgent, batch = await client.get(Pod, "urgent", "default"), await client.get(Pod, "batch", "default")
            assert urgent.spec.node_name == "n1" and batch.metadata.deletion_timestamp is None
            assert (batch.metadata.annotations or {})[PAUSED] == "true"
            await client.create(pod("small", "2"))
            await cluster.settle()
            assert (await client.get(Pod, "small", "default")).spec.node_name == "n1"
            await client.delete(Pod, "urgent", "default")
            await cluster.advance(20)
            assert PAUSED not in ((await client.get(Pod, "batch", "default")).metadata.annotations or {})
            assert not scheduler.snapshot.paused
            assert int(scheduler.snapshot.requested[0, 0]) == 8000

    run(story())
