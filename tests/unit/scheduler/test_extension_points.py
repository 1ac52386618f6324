"""Plugins of one's own at every point, gangs, and extenders: through the whole scheduler, in virtual time."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace
from own_scheduler import Everything, placed, pod, scheduled, told, with_all

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.scheduling_v1 import PriorityClass
from kybern.client.events import Recorder
from kybern.scheduler.binding import DefaultBinder
from kybern.scheduler.extender_messages import MetaPod, MetaVictims
from kybern.scheduler.extenders import Extender, ExtenderFailed, Opinion, opinion
from kybern.scheduler.extension_points import (
    TurnAway,
    Verdict,
    Wait,
    WaitingPods,
)
from kybern.scheduler.framework import Change, PerNodePlugin
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.outcomes import BINDINGS_MAX
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.scheduler import Scheduler
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.victims import Candidate
from kybern.testing.cluster import Cluster
from kybern.testing.virtual import run
from kybern.web.http import Request, Response
from kybern.web.server import serve


class OnlyNamed(PerNodePlugin[str]):
    name = "OnlyNamed"
    wakes_on = Change.NODE_ADDED

    def pre_filter(self, pod: Pod, nodes: Nodes) -> str | None:
        return (pod.metadata.annotations or {}).get("only")

    def refuses(self, state: str, node: Node) -> list[str]:
        return [] if node.metadata.name == state else [f"only {state}"]


def test_a_rule_for_one_node_at_a_time_may_look_at_anything_in_the_pod() -> None:
    profile = changed(DEFAULT_PROFILE, filters=(*DEFAULT_PROFILE.filters, OnlyNamed()))

    async def story() -> None:
        async with scheduled("n1", "n2", profile=profile) as (cluster, _):
            for name, only in (("a", "n1"), ("b", "n2"), ("c", "n3")):
                await cluster.client.create(pod(name, annotations={"only": only}))
            await cluster.settle()
            assert await placed(cluster) == {"a": "n1", "b": "n2", "c": ""}
            assert any("2 only n3" in message for message in await told(cluster))

    run(story())


def test_the_points_come_in_order_and_a_gate_opens_when_its_plugin_is_asked_again() -> None:
    async def story() -> None:
        plugin = Everything()
        plugin.shut = True
        async with scheduled("n1", profile=with_all(plugin)) as (cluster, _scheduler):
            for name in ("b", "a"):
                await cluster.client.create(pod(name))
            await cluster.settle()
            assert await placed(cluster) == {"a": "", "b": ""} and plugin.seen == []
            plugin.shut = False
            await cluster.client.patch(Node, "n1", "", {"metadata": {"labels": {"open": "yes"}}})
            await cluster.settle()
            assert await placed(cluster) == {"a": "n1", "b": "n1"}
            assert [line for line in plugin.seen if line.endswith(" a")] == ["reserve a", "prebind a", "postbind a"]
            assert ((await cluster.client.get(Pod, "a", "default")).metadata.labels or {})["bound"] == "soon"
            assert plugin.seen.index("reserve a") < plugin.seen.index("reserve b")

    run(story())


def test_a_pod_waits_for_its_permit_holding_its_room_and_time_turns_it_away() -> None:
    async def story() -> None:
        plugin = Everything()
        plugin.verdict = Wait(30)
        async with scheduled("n1", profile=with_all(plugin)) as (cluster, scheduler):
            await cluster.client.create(pod("a", cpu="5"))
            await cluster.client.create(pod("b", cpu="5"))
            await cluster.settle()
            assert await placed(cluster) == {"a": "", "b": ""}
            assert plugin.waiting is not None and [one.metadata.name for one in plugin.waiting.pods()] == ["a"]
            plugin.waiting.allow(plugin.waiting.pods()[0].metadata.uid or "")
            await cluster.settle()
            assert (await placed(cluster))["a"] == "n1"
            await cluster.client.delete(Pod, "a", "default")
            await cluster.advance(5)
            await cluster.advance(40)
            late = "rejected due to timeout after waiting 30s at plugin Everything"
            assert f"0/1 nodes are available: 1 {late}." in await told(cluster)
            plugin.verdict = TurnAway("not today")
            await something_changes(cluster, "once")
            await cluster.advance(20)
            assert "0/1 nodes are available: 1 not today." in await told(cluster)
            assert (await placed(cluster))["b"] == "" and "unreserve b" in plugin.seen
            plugin.verdict = None
            await something_changes(cluster, "again")
            await cluster.advance(20)
            assert (await placed(cluster))["b"] == "n1"
            assert not scheduler.held and not scheduler.permits.waiting

    run(story())


@pytest.mark.parametrize("allowed", [False, True])
def test_a_pod_that_is_deleted_before_it_is_bound_gives_back_what_was_reserved(allowed: bool) -> None:
    async def story() -> None:
        plugin, shut = Everything(), asyncio.Event()
        plugin.verdict = Wait(30)
        profile = changed(with_all(plugin), bind=(Late(shut),))
        async with scheduled("n1", profile=profile) as (cluster, scheduler):
            await cluster.client.create(pod("a"))
            await cluster.settle()
            if allowed:
                scheduler.permits.allow(scheduler.permits.pods()[0].metadata.uid or "")
                await cluster.settle()
            assert plugin.seen[0] == "reserve a" and "unreserve a" not in plugin.seen
            await cluster.client.delete(Pod, "a", "default")
            await cluster.settle()
            assert plugin.seen[-1] == "unreserve a" and not scheduler.snapshot.placed
            assert not scheduler.held and not scheduler.permits.waiting and not scheduler.binding
            shut.set()
            await cluster.settle()
            assert plugin.seen.count("unreserve a") == 1

    run(story())


class Late(DefaultBinder):
    def __init__(self, until: asyncio.Event) -> None:
        self.until = until

    async def bind(self, pod: Pod, node: str, client: Any) -> bool:
        await self.until.wait()
        return await super().bind(pod, node, client)


async def something_changes(cluster: Cluster, what: str) -> None:
    """Whatever it is: nobody knows what a plugin of one's own goes by."""
    await cluster.client.patch(Node, "n1", "", {"metadata": {"labels": {"changed": what}}})


def test_what_cannot_be_reserved_is_not_taken() -> None:
    async def story() -> None:
        plugin = Everything()
        plugin.full = "no more of it"
        async with scheduled("n1", profile=with_all(plugin)) as (cluster, scheduler):
            await cluster.client.create(pod("a"))
            await cluster.settle()
            assert (await placed(cluster))["a"] == ""
            assert "0/1 nodes are available: 1 no more of it." in await told(cluster)
            assert plugin.seen[:2] == ["reserve a", "unreserve a"] and not scheduler.snapshot.placed

    run(story())


# Gangs


def member(name: str, gang: str, size: int, cpu: str = "3") -> Pod:
    return pod(name, cpu, {"kybern.io/gang": gang, "kybern.io/gang-size": str(size)})


def test_a_gang_runs_all_at_once_or_not_at_all() -> None:
    async def story() -> None:
        async with scheduled("n1", "n2") as (cluster, scheduler):  # room for four of three processors
            for number in range(2):
                await cluster.client.create(member(f"a{number}", "a", 3))
            await cluster.settle()
            assert set((await placed(cluster)).values()) == {""}
            await cluster.client.create(member("a2", "a", 3))
            await cluster.settle()
            assert all((await placed(cluster)).values())
            for number in range(2):
                await cluster.client.create(member(f"b{number}", "b", 2))
            await cluster.settle()
            found = await placed(cluster)
            assert found["b0"] == found["b1"] == ""
            assert any("gang b: room for 1 of 2 pods. 0/2 nodes are available" in text for text in await told(cluster))
            assert len(scheduler.snapshot.placed) == 3
            await cluster.client.create(pod("small", "2"))  # nothing is held by the gang that waits
            await cluster.settle()
            assert (await placed(cluster))["small"]
            await cluster.client.delete(Pod, "a0", "default")
            await cluster.client.delete(Pod, "a1", "default")
            await cluster.advance(20)
            assert all((await placed(cluster)).values())

    run(story())


def test_a_gang_of_more_pods_than_are_bound_at_once_may_wait_for_the_permit_of_its_last() -> None:
    size = BINDINGS_MAX + 6

    async def story() -> None:
        async with scheduled("n1", profile=with_all(Last(size))) as (cluster, scheduler):
            for number in range(size):
                await cluster.client.create(member(f"a{number}", "a", size, cpu="1m"))
            await cluster.advance(60)
            assert set((await placed(cluster)).values()) == {"n1"}
            assert not scheduler.held

    run(story())


class Last(Everything):
    """Whoever comes first waits; the last one of so many lets all go."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def permit(self, pod: Pod, node: str, waiting: WaitingPods) -> Verdict:
        others = waiting.pods()
        if len(others) < self.size - 1:
            return Wait(600)
        for other in others:
            waiting.allow(other.metadata.uid or "")
        return None


@pytest.mark.parametrize("where", ["reserve", "permit"])
def test_a_rule_that_fails_for_one_of_a_gang_keeps_nobody_of_it_from_being_tried_again(where: str) -> None:
    async def story() -> None:
        plugin = Broken(where)
        async with scheduled("n1", profile=with_all(plugin)) as (cluster, scheduler):
            for number in range(3):
                await cluster.client.create(member(f"a{number}", "a", 3, cpu="1"))
            await cluster.advance(5)
            assert (await placed(cluster))["a1"] == ""
            assert any("out of order" in message for message in await told(cluster))
            plugin.broken = ""
            await cluster.advance(30)
            assert set((await placed(cluster)).values()) == {"n1"}
            assert not scheduler.binding and not len(scheduler.queue)

    run(story())


class Broken(Everything):
    """Fails for a pod at one of the points."""

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken

    def reserve(self, pod: Pod, node: str, snapshot: Snapshot) -> str:
        return self.fail("reserve", pod) or super().reserve(pod, node, snapshot)

    def permit(self, pod: Pod, node: str, waiting: WaitingPods) -> Verdict:
        self.fail("permit", pod)
        return None

    def fail(self, where: str, pod: Pod) -> str:
        if self.broken == where and pod.metadata.name == "a1":
            raise RuntimeError("out of order")
        return ""


def test_two_gangs_of_which_only_one_fits_do_not_hold_half_each() -> None:
    async def story() -> None:
        async with scheduled("n1", "n2") as (cluster, _):
            for number in range(4):
                for gang in "ab":
                    await cluster.client.create(member(f"{gang}{number}", gang, 4))
            await cluster.settle()
            found = await placed(cluster)
            whole = {gang: {bool(node) for name, node in found.items() if name[0] == gang} for gang in "ab"}
            assert sorted(whole.values(), key=str) == [{False}, {True}]

    run(story())


def test_a_member_of_a_running_gang_is_replaced_even_by_a_scheduler_that_began_later() -> None:
    async def story() -> None:
        async with scheduled("n1", "n2") as (cluster, _):
            for number in range(3):
                await cluster.client.create(member(f"a{number}", "a", 3))
            await cluster.settle()
            assert all((await placed(cluster)).values())
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            later = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            task = cluster.tasks.create_task(later.run())
            await cluster.settle()
            task.cancel()
            assert sorted(pod.metadata.name or "" for pod in later.gangs.members["default", "a"].values()) == [
                "a0",
                "a1",
                "a2",
            ]

    run(story())


def test_a_gang_s_size_that_is_no_number_keeps_its_pods_waiting_and_nobody_else() -> None:
    async def story() -> None:
        async with scheduled("n1") as (cluster, _):
            await cluster.client.create(pod("odd", "1", {"kybern.io/gang": "g", "kybern.io/gang-size": "many"}))
            await cluster.client.create(pod("even"))
            await cluster.settle()
            assert await placed(cluster) == {"odd": "", "even": "n1"}

    run(story())


async def important(cluster: Cluster) -> None:
    await cluster.client.create(PriorityClass(metadata=ObjectMeta(name="important"), value=1000))


def important_member(name: str, size: int) -> Pod:
    one = member(name, "i", size)
    return replace(one, spec=replace(one.spec, priority_class_name="important"))


def test_less_important_pods_leave_for_a_gang_that_then_runs_as_a_whole() -> None:
    async def story() -> None:
        async with scheduled("n1", "n2") as (cluster, _):
            await important(cluster)
            for number in range(4):  # two on each node, and no room for a third
                await cluster.client.create(pod(f"low{number}", "3"))
            await cluster.settle()
            for number in range(3):
                await cluster.client.create(important_member(f"i{number}", 3))
            await cluster.advance(60)
            found = await placed(cluster)
            assert {name for name in found if name.startswith("i")} == {name for name in found if found[name]} - {
                name for name in found if name.startswith("low")
            }
            assert all(found[f"i{number}"] for number in range(3))
            assert sum(name.startswith("low") for name in found) == 1  # no more than three had to leave

    run(story())


def test_nobody_leaves_for_a_gang_that_would_have_no_room_even_then() -> None:
    async def story() -> None:
        async with scheduled("n1", "n2") as (cluster, scheduler):
            await important(cluster)
            for number in range(4):
                await cluster.client.create(pod(f"low{number}", "3"))
            await cluster.settle()
            for number in range(5):
                await cluster.client.create(important_member(f"i{number}", 5))
            await cluster.advance(60)
            found = await placed(cluster)
            assert all(found[f"low{number}"] for number in range(4))
            assert not any(found[f"i{number}"] for number in range(5))
            assert len(scheduler.snapshot.placed) == 4 and not scheduler.nominations.by_uid

    run(story())


@pytest.mark.parametrize(("size", "runs"), [(2, True), (3, False)])
def test_a_gang_runs_where_an_extender_lets_all_of_it_run(size: int, runs: bool) -> None:
    ANSWERS.clear()
    ANSWERS.update(filter={"nodenames": ["n1"], "failedNodes": {"n2": "not here"}}, delay=2.0)
    extender = Answering(url="http://127.0.0.1:1", filter_verb="filter", node_cache_capable=True)

    async def story() -> None:
        async with scheduled("n1", "n2", extenders=(extender,)) as (cluster, scheduler):
            for number in range(size):
                await cluster.client.create(member(f"a{number}", "a", size))  # two fit on a node
            await cluster.advance(30)
            assert set((await placed(cluster)).values()) == {"n1" if runs else ""}
            assert len(scheduler.snapshot.placed) == (size if runs else 0)

    run(story())


# Extenders


class Answering(Extender):
    """Answers itself, after a while, what `answers` says for a verb."""

    async def _asked(self, verb: str, about: Any, read: Any) -> Any:
        ASKED.append((verb, about))
        await asyncio.sleep(ANSWERS.get("delay", 0.0))
        found = ANSWERS[verb]
        if isinstance(found, Exception):
            raise found
        return read(json.loads(json.dumps(found)))


ASKED: list[tuple[str, Any]] = []
ANSWERS: dict[str, Any] = {}


def test_an_extender_filters_scores_and_delays_nobody_but_the_pods_it_is_interested_in() -> None:
    ASKED.clear()
    ANSWERS.clear()
    ANSWERS.update(
        filter={"nodenames": ["n1", "n2"], "failedNodes": {"n3": "too far"}},
        prioritize=[{"host": "n2", "score": 10}], delay=20.0,
    )  # fmt: skip
    extender = Answering(
        url="http://127.0.0.1:1", filter_verb="filter", prioritize_verb="prioritize", weight=5,
        node_cache_capable=True, managed=frozenset(("example.com/foo",)),
    )  # fmt: skip

    async def story() -> None:
        async with scheduled("n1", "n2", "n3", extenders=(extender,)) as (cluster, _):
            for name in ("n1", "n2", "n3"):
                patch = {"status": {"capacity": {"example.com/foo": "5"}, "allocatable": {"example.com/foo": "5"}}}
                await cluster.client.patch(Node, name, "", patch, how="strategic", subresource="status")
            await cluster.settle()
            managed = pod("managed")
            resources = replace(managed.spec.containers[0].resources, requests={"example.com/foo": "1"})  # type: ignore[type-var]
            container = replace(
                managed.spec.containers[0], resources=replace(resources, limits={"example.com/foo": "1"})
            )
            await cluster.client.create(replace(managed, spec=replace(managed.spec, containers=(container,))))
            await cluster.client.create(pod("plain"))
            await cluster.advance(5)
            found = await placed(cluster)
            assert found["plain"] and not found["managed"]
            await cluster.advance(60)
            assert (await placed(cluster))["managed"] == "n2"
            assert {verb for verb, _ in ASKED} == {"filter", "prioritize"}
            assert ASKED[0][1]["NodeNames"] == ["n1", "n2", "n3"]

    run(story())


def test_a_pod_waits_for_an_extender_that_fails_unless_it_may_be_ignored() -> None:

    ANSWERS.clear()
    ANSWERS.update(filter=ExtenderFailed("failed filter with extender at URL http://x: refused"))

    async def story(ignorable: bool) -> None:
        extender = Answering(url="http://127.0.0.1:1", filter_verb="filter", ignorable=ignorable)
        async with scheduled("n1", extenders=(extender,)) as (cluster, _):
            await cluster.client.create(pod("a"))
            await cluster.settle()
            assert bool((await placed(cluster))["a"]) == ignorable
            if not ignorable:
                assert any("failed filter with extender" in message for message in await told(cluster))
                ANSWERS.update(filter={"nodenames": [], "failedNodes": {"n1": "full"}})
                await cluster.advance(30)
                assert any("0/1 nodes are available: 1 full." in message for message in await told(cluster))

    run(story(False))
    ANSWERS.update(filter=ExtenderFailed("gone"))
    run(story(True))


def test_an_extender_is_asked_over_http_in_upstream_s_words() -> None:
    asked: list[tuple[str, Any]] = []

    async def answer(request: Request) -> Response:
        asked.append((request.path, json.loads(request.body)))
        found: dict[str, Any] = {
            "/x/filter": {
                "Nodes": {"items": [{"metadata": {"name": "n2"}}]},
                "NodeNames": None,
                "FailedNodes": None,
                "FailedAndUnresolvableNodes": {"n1": "no"},
                "Error": "",
            },
            "/x/prioritize": [{"Host": "n1", "Score": 2}, {"Host": "n2", "Score": 7}],
            "/x/bind": {"Error": ""},
            "/x/preempt": {"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "u"}], "NumPDBViolations": 2}}},
        }
        return Response(200, {}, json.dumps(found[request.path]).encode())

    async def story() -> None:
        server = await serve(answer, host="127.0.0.1", port=0)
        extender = Extender(
            url=f"http://127.0.0.1:{server.port}/x/", filter_verb="filter", bind_verb="bind", preempt_verb="preempt"
        )
        nodes = [from_builtins(Node, {"metadata": {"name": name}}) for name in ("n1", "n2")]
        found = await opinion([extender], pod("a"), nodes)
        assert found == Opinion({"n2": 0}, {"n1": "no"}, frozenset(("n1",)))
        assert await extender.bind(pod("a"), "n2", None)  # type: ignore[arg-type]
        candidates = [Candidate("n1", (pod("v"), pod("w")), 1), Candidate("n2", (pod("v"),), 0)]
        agreed = await extender.victims(pod("a"), candidates)
        assert agreed == {"n1": MetaVictims(pods=[MetaPod(uid="u")], num_pdb_violations=2)}
        assert await changed(extender, prioritize_verb="prioritize").scored(pod("a"), nodes) == {"n1": 20, "n2": 70}
        await server.close()
        assert [path for path, _ in asked] == ["/x/filter", "/x/bind", "/x/preempt", "/x/prioritize"]
        assert asked[0][1]["Pod"]["metadata"]["name"] == "a" and len(asked[0][1]["Nodes"]["items"]) == 2
        assert asked[0][1]["NodeNames"] is None
        assert asked[1][1] == {"PodName": "a", "PodNamespace": "default", "PodUID": "", "Node": "n2"}
        assert list(asked[2][1]["NodeNameToVictims"]) == ["n1", "n2"]
        assert asked[2][1]["NodeNameToVictims"]["n1"]["NumPDBViolations"] == 1
        assert [one["metadata"]["name"] for one in asked[2][1]["NodeNameToVictims"]["n1"]["Pods"]] == ["v", "w"]
        try:
            await opinion([extender], pod("a"), nodes)
        except ExtenderFailed as failed:
            assert "failed filter with extender at URL http://127.0.0.1" in str(failed)
        else:
            raise AssertionError

    asyncio.run(story())


@pytest.mark.parametrize(
    "said",
    [
        "null",
        "[]",
        "3",
        '{"NodeNames": 3}',
        '{"FailedNodes": []}',
        '{"Nodes": {"items": [3]}}',
        "<html>",
        "\xff",
        "[" * 9999,
    ],
)
def test_an_answer_that_is_none_is_the_extender_s_fault(said: str) -> None:
    async def answer(request: Request) -> Response:
        return Response(200, {}, said.encode("latin-1"))

    async def story() -> None:
        server = await serve(answer, host="127.0.0.1", port=0)
        extender = Extender(
            url=f"http://127.0.0.1:{server.port}", filter_verb="filter", bind_verb="bind", ignorable=True
        )
        nodes = [from_builtins(Node, {"metadata": {"name": "n1"}})]
        if said == "null":  # an answer that says nothing
            assert (await opinion([changed(extender, ignorable=False)], pod("a"), nodes)).scores == {}
        else:
            with pytest.raises(ExtenderFailed, match="failed filter with extender"):
                await opinion([changed(extender, ignorable=False)], pod("a"), nodes)
            assert (await opinion([extender], pod("a"), nodes)).scores == {"n1": 0}
        binds = await extender.bind(pod("a"), "n1", None)  # type: ignore[arg-type]
        assert binds == (said == "null" or said.startswith("{"))  # who may be ignored leaves it to others
        await server.close()

    asyncio.run(story())


def test_an_extender_chooses_among_all_candidates_whose_pods_leave() -> None:
    """Both nodes would do; the extender leaves only n2, and there one victim of two."""

    async def story() -> None:
        async with scheduled("n1", "n2", extenders=(extender,)) as (cluster, _):
            await important(cluster)
            for number in range(4):
                await cluster.client.create(pod(f"low{number}", "3"))
            await cluster.settle()
            there = [one for one in await cluster.client.list(Pod, "default") if one.spec.node_name == "n2"]
            ANSWERS["preempt"] = {"nodeNameToMetaVictims": {"n2": {"pods": [{"uid": there[1].metadata.uid}]}}}
            one = pod("high", "3")
            await cluster.client.create(replace(one, spec=replace(one.spec, priority_class_name="important")))
            await cluster.advance(60)
            found = await placed(cluster)
            assert found["high"] == "n2"
            assert there[1].metadata.name not in found and there[0].metadata.name in found
            assert set(ASKED[0][1]["NodeNameToMetaVictims"]) == {"n1", "n2"}

    ASKED.clear()
    ANSWERS.clear()
    extender = Answering(url="http://127.0.0.1:1", preempt_verb="preempt", node_cache_capable=True)
    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        {"nodeNameToMetaVictims": {"n1": {"pods": [{"uid": "nobody"}]}}},
        {"nodeNameToMetaVictims": {"n1": {}}},
        {},
        ExtenderFailed("gone"),
    ],
)
def test_nobody_leaves_where_an_extender_names_no_victims_or_wrong_ones(answer: Any) -> None:
    async def story() -> None:
        async with scheduled("n1", extenders=(extender,)) as (cluster, scheduler):
            await important(cluster)
            await cluster.client.create(pod("low", "8"))
            await cluster.settle()
            one = pod("high", "8")
            await cluster.client.create(replace(one, spec=replace(one.spec, priority_class_name="important")))
            await cluster.advance(60)
            assert await placed(cluster) == {"low": "n1", "high": ""}
            assert not scheduler.nominations.by_uid
            assert await told(cluster)

    ANSWERS.clear()
    ANSWERS["preempt"] = answer
    extender = Answering(url="http://127.0.0.1:1", preempt_verb="preempt", node_cache_capable=True)
    run(story())


@pytest.mark.parametrize("agrees", [True, False])
def test_pods_leave_for_a_gang_when_an_extender_agrees_for_every_member(agrees: bool) -> None:
    """Two members lack room; the extender is asked about each with its node, and says yes to both or to one only."""

    class Agreeing(Extender):
        async def victims(self, pod: Pod, candidates: Sequence[Candidate]) -> Any:
            ASKED.append((pod.metadata.name or "", [one.node for one in candidates]))
            if not agrees and len(ASKED) > 1:
                return {}
            return {
                one.node: MetaVictims(pods=[MetaPod(uid=v.metadata.uid or "") for v in one.victims])
                for one in candidates
            }

    async def story() -> None:
        async with scheduled("n1", "n2", extenders=(extender,)) as (cluster, scheduler):
            await important(cluster)
            for number in range(4):  # two on each node, and no room for a third
                await cluster.client.create(pod(f"low{number}", "3"))
            await cluster.settle()
            for number in range(2):
                await cluster.client.create(important_member(f"i{number}", 2))
            await cluster.advance(40 if agrees else 2)
            found = await placed(cluster)
            assert bool(found["i0"] and found["i1"]) == agrees
            assert sum(name.startswith("low") for name in found) == (2 if agrees else 4)
            assert not scheduler.nominations.by_uid

    ASKED.clear()
    extender = Agreeing(url="http://127.0.0.1:1", preempt_verb="preempt", node_cache_capable=True)
    run(story())
    assert {len(nodes) for _, nodes in ASKED} == {1}
