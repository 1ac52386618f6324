"""The scheduler at work, between a View that tells and a client that acts."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import LoopClock
from kybern.aio.ids import Ids
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Binding, Node, Pod
from kybern.api.errors import About, Conflict, NotFound, ServiceUnavailable
from kybern.api.meta_v1 import Status
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.judgement import Judge
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.plugins.node_name import NodeName
from kybern.scheduler.queue import Entry
from kybern.scheduler.scheduler import BINDINGS_MAX, Scheduler
from kybern.testing.virtual import run


class FakeView:
    """Told by the test, and by the client for what it bound."""

    def __init__(self) -> None:
        self.held: dict[type[Any], dict[str, Any]] = defaultdict(dict)
        self.calls: dict[type[Any], Any] = {}

    def watch_kind(self, of: type[Any]) -> None:
        return

    async def synced(self) -> None:
        return

    def on_change(self, of: type[Any], call: Any) -> None:
        self.calls[of] = call
        for obj in self.held[of].values():
            call(None, obj)

    async def on_change_of_many(self, of: type[Any], call: Any) -> None:
        self.on_change(of, call)

    def get(self, of: type[Any], name: str, namespace: str = "") -> Any:
        return self.held[of].get(name)

    def list(self, of: type[Any], namespace: str | None = None) -> Any:
        return tuple(self.held[of].values())

    def put(self, obj: Any) -> None:
        old = self.held[type(obj)].get(obj.metadata.name)
        self.held[type(obj)][obj.metadata.name] = obj
        self.calls[type(obj)](old, obj)

    def remove(self, obj: Any) -> None:
        self.calls[type(obj)](self.held[type(obj)].pop(obj.metadata.name), None)


class FakeClient:
    def __init__(self, view: FakeView) -> None:
        self.view = view
        self.bound: dict[str, str] = {}
        self.failures: list[Exception] = []
        self.patches: list[tuple[str, Any]] = []
        self.under_way = self.most_under_way = 0
        self.tells = True

    async def subresource(self, of: type[Any], name: str, namespace: str, part: str, body: Binding, result: Any) -> Any:
        assert (of, part, body.metadata.uid) == (Pod, "binding", f"uid-{name}")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0.01)
        self.under_way -= 1
        if self.failures:
            raise self.failures.pop(0)
        self.bound[name] = body.target.name or ""
        if self.tells:
            self.tell(name)
        return Status()

    def tell(self, name: str) -> None:
        pod = self.view.held[Pod][name]
        self.view.put(replace(pod, spec=replace(pod.spec, node_name=self.bound[name])))

    async def patch(self, of: type[Any], name: str, namespace: str, patch: Any, *, how: str, subresource: str) -> None:
        assert (how, subresource) == ("strategic", "status")
        self.patches.append((name, patch["status"]["conditions"][0]))


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, obj: Any, type: str, reason: str, message: str) -> None:
        self.events.append((obj.metadata.name, reason, message))


class World:
    def __init__(self) -> None:
        self.view = FakeView()
        self.client = FakeClient(self.view)
        self.told = Told()
        made: Any = (self.client, self.view, LoopClock(), Ids(1), self.told)
        self.scheduler = Scheduler(*made)


@asynccontextmanager
async def started() -> AsyncIterator[World]:
    world = World()
    task = asyncio.ensure_future(world.scheduler.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    yield world
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def node(name: str, cpu: str = "4", **spec: Any) -> Node:
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    return from_builtins(Node, {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}})


def pod(name: str, cpu: str = "1", **spec: Any) -> Pod:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [container], **spec}})


def test_a_pod_is_bound_and_told_of() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(node("n1"))
            world.view.put(pod("web-1"))
            await asyncio.sleep(1)
            assert world.client.bound == {"web-1": "n1"}
            assert world.told.events == [("web-1", "Scheduled", "Successfully assigned default/web-1 to n1")]
            assert not world.scheduler.binding and not len(world.scheduler.queue)

    run(story())


def test_a_back_off_that_ends_while_the_scheduler_lies_down_is_not_slept_through() -> None:
    async def story() -> None:
        scheduler = World().scheduler
        scheduler.queue.failed(Entry(pod("web-1"), 0.0), scheduler.clock.monotonic() - 60)
        async with asyncio.timeout(1):
            await scheduler.wait_for_work()

    run(story())


def test_pods_of_others_gated_bound_and_dying_ones_are_left_alone() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(node("n1"))
            world.view.put(pod("other", schedulerName="mine"))
            world.view.put(pod("gated", schedulingGates=[{"name": "g"}]))
            world.view.put(pod("bound", nodeName="n1"))
            dying = pod("dying")
            world.view.put(replace(dying, metadata=replace(dying.metadata, deletion_timestamp="2026-01-01T00:00:00Z")))
            await asyncio.sleep(5)
            assert world.client.bound == {} and world.told.events == []
            world.view.put(pod("gated"))
            await asyncio.sleep(1)
            assert world.client.bound == {"gated": "n1"}

    run(story())


def test_nothing_is_overcommitted_while_many_bindings_are_under_way() -> None:
    async def story() -> None:
        async with started() as world:
            for number in range(10):
                world.view.put(node(f"n{number}", cpu="20"))
            for number in range(250):
                world.view.put(pod(f"p{number}"))
            await asyncio.sleep(20)
            assert len(world.client.bound) == 200
            assert set(Counter(world.client.bound.values()).values()) == {20}
            assert 1 < world.client.most_under_way <= BINDINGS_MAX

    run(story())


def test_a_pod_that_fits_nowhere_is_told_why_and_waits_for_room() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(node("n1", cpu="1"))
            world.view.put(pod("first"))
            await asyncio.sleep(1)
            world.view.put(pod("second"))
            await asyncio.sleep(30)
            message = (
                "0/1 nodes are available: 1 Insufficient cpu. "
                "no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
            )
            assert world.told.events[1:] == [("second", "FailedScheduling", message)]
            name, condition = world.client.patches[0]
            assert (name, condition["type"], condition["status"]) == ("second", "PodScheduled", "False")
            assert (condition["reason"], condition["message"]) == ("Unschedulable", message)
            world.view.remove(world.view.held[Pod]["first"])
            await asyncio.sleep(1)
            assert world.client.bound["second"] == "n1"

    run(story())


def test_a_finished_pod_makes_room() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(node("n1", cpu="1"))
            world.view.put(pod("first"))
            await asyncio.sleep(1)
            world.view.put(pod("second"))
            await asyncio.sleep(30)
            first = world.view.held[Pod]["first"]
            world.view.put(replace(first, status=replace(first.status, phase="Succeeded")))
            await asyncio.sleep(1)
            assert world.client.bound["second"] == "n1"

    run(story())


def test_a_node_that_becomes_ready_gets_the_waiting_pods() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(pod("web"))
            await asyncio.sleep(2)
            assert world.told.events[0][2] == "no nodes available to schedule pods"
            world.view.put(node("n1", taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]))
            await asyncio.sleep(10)
            assert "untolerated taint" in world.told.events[-1][2]
            world.view.put(node("n1"))
            await asyncio.sleep(0.1)
            assert world.client.bound == {"web": "n1"}

    run(story())


def test_a_binding_that_fails_frees_the_room_and_is_tried_again() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(node("n1", cpu="1"))
            world.client.failures = [ServiceUnavailable("try later")]
            world.view.put(pod("web"))
            await asyncio.sleep(0.5)
            assert world.scheduler.snapshot.placed == {}
            assert world.told.events[0][1] == "FailedScheduling"
            await asyncio.sleep(2)
            assert world.client.bound == {"web": "n1"}

    run(story())


def test_a_pod_that_is_gone_is_forgotten() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(node("n1", cpu="1"))
            world.client.failures = [NotFound("gone", About())]
            world.view.put(pod("web"))
            world.view.remove(world.view.held[Pod]["web"])
            await asyncio.sleep(5)
            assert world.scheduler.snapshot.placed == {} and not len(world.scheduler.queue)
            assert world.told.events == []

    run(story())


def test_a_lost_answer_to_a_binding_that_succeeded_does_no_harm() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(node("n1", cpu="1"))
            world.view.put(node("n2", cpu="1"))
            world.client.failures = [Conflict("already bound")]
            world.view.put(pod("web"))
            await asyncio.sleep(0.5)
            world.view.put(pod("web", nodeName="n2"))
            await asyncio.sleep(5)
            assert world.client.bound == {}
            assert world.scheduler.snapshot.placed["uid-web"].node == "n2"

    run(story())


def test_a_pod_counts_on_its_node_before_the_view_tells_of_it() -> None:
    async def story() -> None:
        async with started() as world:
            world.client.tells = False
            world.view.put(node("n1", cpu="1"))
            world.view.put(pod("first"))
            world.view.put(pod("second"))
            await asyncio.sleep(60)
            assert world.client.bound == {"first": "n1"}

    run(story())


def test_heartbeats_wake_nobody() -> None:
    async def story() -> None:
        async with started() as world:
            world.view.put(node("n1", cpu="1"))
            world.view.put(pod("big", cpu="2"))
            await asyncio.sleep(2)
            version, told = world.scheduler.snapshot.version, len(world.told.events)
            for _ in range(5):
                same = world.view.held[Node]["n1"]
                world.view.put(replace(same, metadata=replace(same.metadata, resource_version="2")))
                await asyncio.sleep(11)
            assert (world.scheduler.snapshot.version, len(world.told.events)) == (version, told)

    run(story())


class Throws(NodeName):
    name = "Throws"

    def pre_filter(self, pod: Pod, nodes: Nodes) -> str | None:
        if pod.metadata.name == "cursed":
            raise ZeroDivisionError("by nothing")
        return None


def test_a_rule_that_throws_is_the_trouble_of_one_pod() -> None:
    async def story() -> None:
        async with started() as world:
            profile = Profile(filters=(Throws(),))
            world.scheduler.judges["default-scheduler"] = Judge(world.scheduler.snapshot, profile)
            world.view.put(node("n1"))
            world.view.put(pod("cursed"))
            world.view.put(pod("web", cpu="2"))
            await asyncio.sleep(0.5)
            assert world.client.bound == {"web": "n1"}
            assert ("cursed", "FailedScheduling", "a scheduling rule failed: by nothing") in world.told.events
            assert len(world.scheduler.queue) == 1

    run(story())


def test_a_node_that_leaves_takes_the_emptiest_domain_with_it() -> None:
    """Two nodes by name may differ by one: n2 has none and no room, so n1 may have no second one until n2 is gone."""

    async def story() -> None:
        async with started() as world:
            host = {"kubernetes.io/hostname": "n1"}, {"kubernetes.io/hostname": "n2"}
            for name, labels, cpu in (("n1", host[0], "8"), ("n2", host[1], "0")):
                status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
                metadata = {"name": name, "uid": name, "labels": labels}
                world.view.put(from_builtins(Node, {"metadata": metadata, "status": status}))
            constraint = {
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}},
            }  # fmt: skip
            for number in range(2):
                container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
                metadata = {
                    "name": f"web-{number}",
                    "namespace": "default",
                    "uid": f"uid-web-{number}",
                    "labels": {"app": "web"},
                }
                spec = {"containers": [container], "topologySpreadConstraints": [constraint]}
                world.view.put(from_builtins(Pod, {"metadata": metadata, "spec": spec}))
            await asyncio.sleep(20)
            assert list(world.client.bound.values()) == ["n1"]
            world.view.remove(world.view.held[Node]["n2"])
            await asyncio.sleep(20)
            assert list(world.client.bound.values()) == ["n1", "n1"]

    run(story())
