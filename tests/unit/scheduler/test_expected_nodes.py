"""`status.nominatedNodeName`: where a pod is about to go, said by the scheduler or to it, and why it did not get there."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from own_scheduler import Everything, placed, pod, scheduled, with_all

from kybern.api.core_v1 import Pod
from kybern.api.errors import InternalError
from kybern.client import Client
from kybern.scheduler.binding import DefaultBinder
from kybern.scheduler.extension_points import BindPlugin, TurnAway, Wait
from kybern.testing.cluster import Cluster
from kybern.testing.virtual import run


async def expected(cluster: Cluster, name: str) -> str:
    return (await cluster.client.get(Pod, name, "default")).status.nominated_node_name or ""


def test_a_pod_whose_binding_takes_a_while_says_where_it_is_about_to_go() -> None:
    async def story() -> None:
        plugin = Everything()
        plugin.verdict = Wait(30)
        async with scheduled("n1", profile=with_all(plugin)) as (cluster, _):
            await cluster.client.create(pod("a"))
            await cluster.settle()
            assert (await placed(cluster), await expected(cluster, "a")) == ({"a": ""}, "n1")
            assert plugin.waiting is not None
            plugin.waiting.allow(plugin.waiting.pods()[0].metadata.uid or "")
            await cluster.settle()
            assert (await placed(cluster), await expected(cluster, "a")) == ({"a": "n1"}, "")

    run(story())


@pytest.mark.parametrize("allowed", [True, False])
def test_what_comes_of_a_held_pod_is_the_last_word_of_its_status_however_soon_it_comes(allowed: bool) -> None:
    async def story() -> None:
        plugin = Everything()
        plugin.verdict = Wait(30)
        async with scheduled("n1", profile=with_all(plugin)) as (cluster, scheduler):
            await cluster.client.create(pod("a"))
            while not scheduler.held:
                await asyncio.sleep(0)
            plugin.verdict = TurnAway("not again")
            uid = plugin.waiting.pods()[0].metadata.uid or ""  # type: ignore[union-attr]
            scheduler.permits.allow(uid) if allowed else scheduler.permits.turn_away(uid, "not now")
            await cluster.settle()
            assert (await placed(cluster), await expected(cluster, "a")) == ({"a": "n1" if allowed else ""}, "")

    run(story())


def test_a_pod_that_is_bound_at_once_says_nothing_before() -> None:
    async def story() -> None:
        async with scheduled("n1") as (cluster, _):
            seen: list[str] = []
            cluster.view.on_change(Pod, lambda _, new: seen.append((new and new.status.nominated_node_name) or ""))
            await cluster.client.create(pod("a"))
            await cluster.settle()
            assert await placed(cluster) == {"a": "n1"} and not any(seen)

    run(story())


def test_somebody_else_s_word_is_a_promise_until_it_is_withdrawn() -> None:
    async def story() -> None:
        async with scheduled("n1") as (cluster, _):
            await cluster.client.create(pod("big", cpu="9", priority=0))
            await cluster.settle()
            await say(cluster, "big", "n1")
            await cluster.client.create(pod("small", cpu="1"))
            await cluster.settle()
            assert await placed(cluster) == {"big": "", "small": ""}
            await say(cluster, "big", None)
            await cluster.advance(60)
            assert await placed(cluster) == {"big": "", "small": "n1"}

    run(story())


async def say(cluster: Cluster, name: str, node: str | None) -> None:
    await cluster.client.patch(Pod, name, "default", {"status": {"nominatedNodeName": node}}, subresource="status")


class Broken(BindPlugin):
    name = "Broken"
    works = False

    async def bind(self, pod: Pod, node: str, client: Client) -> bool:
        if not self.works:
            raise InternalError("no luck")
        return False


def test_a_pod_that_could_not_be_bound_says_so_and_is_expected_nowhere() -> None:
    async def story() -> None:
        broken, plugin = Broken(), Everything()
        profile = replace(with_all(plugin), bind=(broken, DefaultBinder()))
        async with scheduled("n1", profile=profile) as (cluster, _):
            await cluster.client.create(pod("a"))
            await cluster.settle(0.5)
            condition: Any = (await cluster.client.get(Pod, "a", "default")).status.conditions
            (said,) = [one for one in condition if one.type == "PodScheduled"]
            assert (said.status, said.reason, said.message) == ("False", "SchedulerError", "binding rejected: no luck")
            assert await expected(cluster, "a") == ""
            broken.works = True
            await cluster.advance(30)
            assert await placed(cluster) == {"a": "n1"}

    run(story())
