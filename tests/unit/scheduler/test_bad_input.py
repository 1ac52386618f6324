"""What no author should write: the pod waits with a clear reason, or is placed; the others go on."""

from collections.abc import Sequence
from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec import ValidationError

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Node, Pod
from kybern.client import Client
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.extensions import bounded
from kybern.extensions.rules import SchedulerRule
from kybern.scheduler.binding import DefaultBinder
from kybern.scheduler.extension_points import (
    BindPlugin,
    PermitPlugin,
    PostBindPlugin,
    PostFilterPlugin,
    PreBindPlugin,
    PreEnqueuePlugin,
    ReservePlugin,
    Verdict,
    WaitingPods,
)
from kybern.scheduler.framework import Change, PerNodePlugin
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.plugins.extensions import ExtensionFilter, ExtensionScore
from kybern.scheduler.preemption import Attempt, Refused
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.scheduler import Scheduler
from kybern.scheduler.snapshot import Snapshot
from kybern.testing.cluster import running
from kybern.testing.virtual import run

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")


def pod(name: str, cpu: str = "1", labels: dict[str, str] | None = None, **spec: Any) -> Pod:
    container = {"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu}}}
    metadata = {"name": name, "namespace": "default", "labels": labels or {}}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [container], **spec}})


@pytest.mark.parametrize("amount", ["NaN", "inf", "-inf", "1e999999", "many", ""])
def test_an_amount_that_is_none_never_reaches_the_scheduler(amount: str) -> None:
    with pytest.raises(ValidationError):
        pod("p", amount)


def term(number: int, key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": f"a{number}"}}, "topologyKey": key}


def far(*terms: Any) -> dict[str, Any]:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def near(*terms: Any) -> dict[str, Any]:
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


ODD = {
    "a-thousand-terms": pod("a-thousand-terms", affinity=far(*map(term, range(1000)))),
    "a-thousand-wishes": pod("a-thousand-wishes", affinity=near(*map(term, range(1000)))),
    "a-label-for-everybody": pod("a-label-for-everybody", labels={f"label-{n}": "x" * 63 for n in range(2000)}),
    "nowhere": pod("nowhere", nodeSelector={"kubernetes.io/hostname": "n1", "kubernetes.io/os": "plan9"}),
    "far-from-itself": pod("far-from-itself", labels={"app": "a1"}, affinity={**near(term(1)), **far(term(1))}),
}
WAIT = {"a-thousand-wishes", "nowhere"}


def test_pods_that_ask_for_the_odd_wait_or_run_and_the_others_run() -> None:
    async def story() -> None:
        async with running(nodes=("n1", "n2"), loops=LOOPS) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            cluster.control.running += [cluster.tasks.create_task(part) for part in (events.run(), scheduler.run())]
            await cluster.settle()
            for name, odd in ODD.items():
                await cluster.client.create(odd)
                await cluster.client.create(pod(f"after-{name}"))
            await cluster.settle()
            found = {one.metadata.name: one.spec.node_name for one in await cluster.client.list(Pod, "default")}
            assert {name for name, where in found.items() if not where} == WAIT
            told = {e.involved_object.name for e in await cluster.client.list(Event, "default") if e.type == "Warning"}
            assert told >= WAIT

    run(story())


class Throwing(
    PreEnqueuePlugin,
    PerNodePlugin[str],
    PostFilterPlugin,
    ReservePlugin,
    PermitPlugin,
    PreBindPlugin,
    BindPlugin,
    PostBindPlugin,
):
    """Throws at one point, about pods that are called cursed."""

    name = "Throwing"
    wakes_on = Change.NODE_ADDED | Change.POD_ADDED
    kept = False

    def __init__(self, point: str) -> None:
        self.point = point

    def curse(self, point: str, pod: Pod) -> None:
        if point == self.point and pod.metadata.name == "cursed":
            raise RuntimeError(f"{point}: cursed")

    def pre_enqueue(self, pod: Pod, snapshot: Snapshot) -> str:
        self.curse("pre_enqueue", pod)
        return ""

    def pre_filter(self, pod: Pod, nodes: Nodes) -> str | None:
        self.curse("pre_filter", pod)
        return pod.metadata.name

    def refuses(self, state: str, node: Node) -> list[str]:
        if state == "cursed":
            self.curse("filter", pod("cursed"))
        return ["not for this one"] if state == "cursed" and self.point in ("hint", "post_filter") else []

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        self.curse("hint", pod)
        return True

    def post_filter(self, refused: Refused) -> Attempt:
        self.curse("post_filter", refused.judgement.pod)
        return Attempt(None, "")

    def reserve(self, pod: Pod, node: str, snapshot: Snapshot) -> str:
        self.curse("reserve", pod)
        return ""

    def unreserve(self, pod: Pod, node: str, snapshot: Snapshot) -> None: ...

    def permit(self, pod: Pod, node: str, waiting: WaitingPods) -> Verdict:
        self.curse("permit", pod)
        return None

    def takes_time(self, pod: Pod, snapshot: Snapshot) -> bool:
        self.curse("takes_time", pod)
        return False

    def writes(self, pod: Pod, node: str, snapshot: Snapshot) -> Sequence[Any]:
        self.curse("pre_bind", pod)
        return ()

    async def bind(self, pod: Pod, node: str, client: Client) -> bool:
        self.curse("bind", pod)
        return await DefaultBinder().bind(pod, node, client)

    def post_bind(self, pod: Pod, node: str) -> None:
        self.curse("post_bind", pod)


RUN_ALL_THE_SAME = {"post_bind"}


@pytest.mark.parametrize(
    "point",
    ["pre_enqueue", "pre_filter", "filter", "hint", "post_filter", "reserve", "permit", "takes_time", "pre_bind", "bind", "post_bind"],
)  # fmt: skip
def test_a_plugin_that_throws_about_a_pod_is_that_pod_s_trouble_alone(point: str) -> None:
    one = Throwing(point)
    profile = changed(
        DEFAULT_PROFILE, pre_enqueue=(one,), filters=(*DEFAULT_PROFILE.filters, one), post_filters=(one,), reserve=(one,),
        permit=(one,), pre_bind=(one,), bind=(one,), post_bind=(one,),
    )  # fmt: skip

    async def story() -> None:
        async with running(nodes=("n1",), loops=LOOPS) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events, (profile,))
            cluster.control.running += [cluster.tasks.create_task(part) for part in (events.run(), scheduler.run())]
            await cluster.settle()
            await cluster.client.create(pod("cursed"))
            await cluster.advance(5)
            for number in range(3):
                await cluster.client.create(pod(f"other-{number}"))
                await cluster.advance(5)
            found = {one.metadata.name: one.spec.node_name for one in await cluster.client.list(Pod, "default")}
            assert all(found[f"other-{number}"] for number in range(3))
            assert bool(found["cursed"]) == (point in RUN_ALL_THE_SAME)
            assert scheduler.snapshot.placed.keys() == {
                one.metadata.uid for one in await cluster.client.list(Pod, "default") if one.spec.node_name
            }
            if point not in RUN_ALL_THE_SAME:
                told = [
                    e.message for e in await cluster.client.list(Event, "default") if e.involved_object.name == "cursed"
                ]
                assert any("cursed" in (text or "") or "not for this one" in (text or "") for text in told), told

    run(story())


def test_an_extension_that_never_returns_refuses_the_pod_it_was_asked_about_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded, "SECONDS_MAX", 0.05)

    def moody(pod: Pod, node: Node) -> str:
        while pod.metadata.name == "cursed":
            pass
        return ""

    rule = SchedulerRule(moody)
    profile = changed(DEFAULT_PROFILE, filters=(*DEFAULT_PROFILE.filters, ExtensionFilter(lambda: (rule,))))

    async def story() -> None:
        async with running(nodes=("n1", "n2"), loops=LOOPS) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events, (profile,))
            cluster.control.running += [cluster.tasks.create_task(part) for part in (events.run(), scheduler.run())]
            await cluster.settle()
            for name in ("cursed", "other-0", "other-1"):
                await cluster.client.create(pod(name))
                await cluster.advance(20)
            found = {one.metadata.name: bool(one.spec.node_name) for one in await cluster.client.list(Pod, "default")}
            assert found == {"cursed": False, "other-0": True, "other-1": True}
            told = [e.message or "" for e in await cluster.client.list(Event, "default")]
            assert any("moody: it took longer than" in text for text in told), told

    run(story())


def test_a_score_that_never_comes_is_told_of_once_however_many_pods_and_nodes_there_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bounded, "SECONDS_MAX", 0.05)

    def slow(pod: Pod, node: Node) -> int:
        while True:
            pass

    snapshot = Snapshot()
    for name in ("n1", "n2"):
        snapshot.set_node(from_builtins(Node, {"metadata": {"name": name}}))
    score = ExtensionScore(lambda: (SchedulerRule(slow, weight=1),))
    found = [score.score(pod(name), Nodes(snapshot)).tolist() for name in ("a", "b")]
    assert found == [[0, 0], [0, 0]]
    assert [(one.levelname, one.exc_info) for one in caplog.records] == [("ERROR", None)]
