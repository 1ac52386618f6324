"""A kubelet may die at any moment: nothing is restarted for that, nothing runs twice, nothing is left behind."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import Container, ResourceRequirements
from kybern.kubelet.parts import NoCgroups
from kybern.runtime.cri import ContainerState, LinuxResources
from kybern.runtime.simulated import Behaviour, Simulated

INIT = Container(name="init", image="i:1")
SIDECAR = Container(name="proxy", image="i:1", restart_policy="Always")
DEATHS = 12
PODS = 6


class Slow(Simulated):
    """Every call takes a moment, so that there are moments to die in."""

    async def run_pod_sandbox(self, config: Any) -> str:
        await self.clock.sleep(0.02)
        made = await super().run_pod_sandbox(config)
        await self.clock.sleep(0.02)
        return made

    async def create_container(self, sandbox_id: str, config: Any) -> str:
        await self.clock.sleep(0.02)
        made = await super().create_container(sandbox_id, config)
        await self.clock.sleep(0.02)
        return made

    async def start_container(self, container_id: str) -> None:
        await self.clock.sleep(0.02)
        await super().start_container(container_id)
        await self.clock.sleep(0.02)


def behave(config: Any) -> Behaviour:
    return Behaviour(runs_seconds=0.3) if config.metadata.name == "init" else Behaviour(stops_seconds=0.1)


def running(runtime: Simulated) -> Counter[tuple[str, str]]:
    return Counter(
        (c.labels["io.kubernetes.pod.name"], c.metadata.name)
        for c in runtime.containers.values()
        if c.state is ContainerState.RUNNING
    )


@pytest.mark.parametrize("seed", range(15))
def test_pods_start_and_end_as_if_nothing_had_happened(lab: Any, seed: int) -> None:
    async def scenario() -> None:
        rng, clock = random.Random(seed), LoopClock()
        runtime, api = Slow(clock, behave=behave, pull_seconds=0.05), lab.FakeApi()
        made = [lab.pod(f"p{n}", init_containers=(INIT, SIDECAR) if n % 2 else ()) for n in range(PODS)]
        for death in range(DEATHS):
            async with lab.cluster(runtime=runtime, api=api, seed=death) as cluster:
                for pod in made[death // 2 : death // 2 + 1]:
                    if not api.has_pod(pod.metadata.name) and death % 2 == 0:
                        api.bind(pod)
                await clock.sleep(rng.random() * 0.5)
                assert max(running(runtime).values(), default=0) <= 1
        async with lab.cluster(runtime=runtime, api=api, seed=99) as cluster:
            for pod in made:
                await cluster.phase(pod.metadata.name, "Running")
                statuses = api.pod(pod.metadata.name).status
                assert {s.restart_count for s in statuses.container_statuses} == {0}
            assert len([s for s in runtime.sandboxes.values() if s.state.value == "ready"]) == PODS
        for pod in made:
            api.delete_gracefully(f"/api/v1/namespaces/default/pods/{pod.metadata.name}")
        for death in range(DEATHS):
            async with lab.cluster(runtime=runtime, api=api, seed=death) as cluster:
                await clock.sleep(rng.random() * 0.1)
        async with lab.cluster(runtime=runtime, api=api, seed=99) as cluster:
            await cluster.until(lambda: not runtime.sandboxes and not runtime.containers)
            await cluster.until(lambda: not any(api.has_pod(pod.metadata.name) for pod in made))
            await cluster.until(lambda: not cluster.kubelet.workers)

    lab.simulate(scenario)


def test_of_sandboxes_that_died_only_those_of_containers_that_are_kept_stay(lab: Any) -> None:
    async def scenario() -> None:
        runtime, api = Simulated(LoopClock()), lab.FakeApi()
        async with lab.cluster(runtime=runtime, api=api) as cluster:
            api.bind(lab.pod("p"))
            for life in range(5):
                await cluster.until(lambda: sum(running(runtime).values()) == 1)
                newest = max(runtime.sandboxes.values(), key=lambda s: s.config.metadata.attempt)
                assert newest.config.metadata.attempt == life
                await runtime.stop_pod_sandbox(newest.id)
            await cluster.until(lambda: sum(running(runtime).values()) == 1)
            await cluster.until(lambda: len(runtime.sandboxes) == len(runtime.containers) == 2, 1)

    lab.simulate(scenario)


class Groups(NoCgroups):
    def __init__(self) -> None:
        self.made: set[str] = set()

    def ensure(self, path: str, resources: LinuxResources) -> None:
        self.made.add(path)

    async def remove(self, path: str) -> None:
        self.made.discard(path)


def test_the_cgroup_of_a_pod_that_the_api_forgot_meanwhile_goes_too(lab: Any) -> None:
    async def scenario() -> None:
        runtime, api, groups = Simulated(LoopClock()), lab.FakeApi(), Groups()
        asking = Container(
            name="c", image="i:1", resources=ResourceRequirements(requests={"cpu": "1"}, limits={"cpu": "2"})
        )
        async with lab.cluster(runtime=runtime, api=api, cgroups=groups) as cluster:
            api.bind(lab.pod("p", asking))
            await cluster.phase("p", "Running")
        assert [path for path in groups.made if "burstable" in path]
        api.remove("/api/v1/namespaces/default/pods/p")
        async with lab.cluster(runtime=runtime, api=api, cgroups=groups, seed=2) as cluster:
            await cluster.until(lambda: not runtime.sandboxes)
            assert not groups.made

    lab.simulate(scenario)


class StartsNothing(Simulated):
    """Whoever asks for a start is dead before the runtime hears of it."""

    async def start_container(self, container_id: str) -> None:
        await asyncio.Event().wait()


def test_a_pod_that_is_deleted_when_its_container_was_made_and_not_started_goes(lab: Any) -> None:
    async def scenario() -> None:
        runtime, api = StartsNothing(LoopClock()), lab.FakeApi()
        async with lab.cluster(runtime=runtime, api=api) as cluster:
            api.bind(lab.pod("p"))
            await cluster.until(lambda: bool(runtime.containers))
        assert [c.state for c in runtime.containers.values()] == [ContainerState.CREATED]
        api.delete_gracefully("/api/v1/namespaces/default/pods/p")
        async with lab.cluster(runtime=runtime, api=api, seed=2) as cluster:
            assert await cluster.until(lambda: not api.has_pod("p")) < 2
            assert not runtime.containers

    lab.simulate(scenario)


class EndsOnceListed(Simulated):
    """Its init container ends, seen by nobody yet, just after everything was listed."""

    async def list_containers(self) -> Any:
        listed = await super().list_containers()
        for container in listed:
            if container.metadata.name == "init":
                self._end(container.id, 0)
        return listed


def test_what_changes_while_a_new_kubelet_lists_is_seen_at_once(lab: Any) -> None:
    async def scenario() -> None:
        runtime, api = EndsOnceListed(LoopClock()), lab.FakeApi()
        async with lab.cluster(runtime=runtime, api=api) as cluster:
            api.bind(lab.pod("p", init_containers=(INIT,)))
            await cluster.until(lambda: running(runtime) == {("p", "init"): 1})
        async with lab.cluster(runtime=runtime, api=api, seed=2) as cluster:
            assert await cluster.phase("p", "Running") < 1

    lab.simulate(scenario)
