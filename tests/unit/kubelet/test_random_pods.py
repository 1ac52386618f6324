"""Random pods against a reference: the order in which containers start, and how the pod ends."""

import random
from dataclasses import dataclass
from typing import Any

import pytest

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import Container
from kybern.runtime.cri import ContainerState
from kybern.runtime.simulated import Behaviour, Simulated


@dataclass(frozen=True)
class Part:
    """A container as the test makes it up: how long it runs, and how often it fails before it succeeds."""

    name: str
    kind: str
    seconds: float
    failures: int


def made_up(rng: random.Random) -> tuple[str, list[Part]]:
    policy = rng.choice(["Never", "OnFailure"])
    parts = []
    for number in range(rng.randrange(4)):
        kind = rng.choice(["init", "init", "sidecar"])
        parts.append(Part(f"i{number}", kind, rng.random() * 3, rng.choice([0, 0, 0, 1])))
    parts += [Part(f"a{n}", "app", rng.random() * 5, rng.choice([0, 0, 1, 2])) for n in range(rng.randrange(1, 4))]
    return policy, parts


class Recording(Simulated):
    """Remembers who ran when each container was started."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.begun: list[tuple[str, frozenset[str], frozenset[str]]] = []

    async def start_container(self, container_id: str) -> None:
        name = self.containers[container_id].metadata.name
        running = {c.metadata.name for c in self.containers.values() if c.state is ContainerState.RUNNING}
        done = {
            c.metadata.name for c in self.containers.values() if c.state is ContainerState.EXITED and c.exit_code == 0
        }
        self.begun.append((name, frozenset(running), frozenset(done)))
        await super().start_container(container_id)


@pytest.mark.parametrize("seed", range(60))
def test_containers_start_in_order_and_pods_end_as_they_should(lab: Any, seed: int) -> None:
    policy, parts = made_up(random.Random(seed))
    by_name = {part.name: part for part in parts}

    def behave(config: Any) -> Behaviour:
        part = by_name[config.metadata.name]
        if part.kind == "sidecar":
            return Behaviour()
        return Behaviour(runs_seconds=part.seconds, exit_code=int(config.metadata.attempt < part.failures))

    async def scenario() -> None:
        runtime = Recording(LoopClock(), behave=behave)
        async with lab.cluster(runtime=runtime) as cluster:
            init = tuple(
                Container(name=p.name, image="i:1", restart_policy="Always" if p.kind == "sidecar" else None)
                for p in parts
                if p.kind != "app"
            )
            apps = [Container(name=p.name, image="i:1") for p in parts if p.kind == "app"]
            cluster.api.bind(lab.pod("p", *apps, policy=policy, init_containers=init or None))
            await cluster.phase("p", expected_phase(policy, parts))
            check_order(runtime.begun, parts)
            check_restarts(cluster.api.pod("p").status, policy, parts)
            assert not any(c.state is ContainerState.RUNNING for c in runtime.containers.values())

    lab.simulate(scenario)


def first_failing_init(parts: list[Part]) -> str | None:
    return next((part.name for part in parts if part.kind == "init" and part.failures), None)


def expected_phase(policy: str, parts: list[Part]) -> str:
    if policy == "OnFailure":
        return "Succeeded"
    if first_failing_init(parts):
        return "Failed"
    return "Failed" if any(part.failures for part in parts if part.kind == "app") else "Succeeded"


def check_order(begun: list[tuple[str, frozenset[str], frozenset[str]]], parts: list[Part]) -> None:
    before: dict[str, list[Part]] = {}
    for index, part in enumerate(parts):
        before[part.name] = [p for p in parts[:index] if p.kind != "app"]
    for name, running, done in begun:
        assert name not in running, "no container runs twice at a time"
        for earlier in before[name]:
            if earlier.kind == "init":
                assert earlier.name in done, f"{name} began before {earlier.name} was done"
            else:
                assert earlier.name in running, f"{name} began without its sidecar {earlier.name}"


def check_restarts(status: Any, policy: str, parts: list[Part]) -> None:
    found = {s.name: s for s in (*status.container_statuses, *(status.init_container_statuses or ()))}
    stopped_at = first_failing_init(parts) if policy == "Never" else None
    for part in parts:
        if part.kind == "sidecar":
            continue
        expected = part.failures if policy == "OnFailure" else 0
        assert found[part.name].restart_count == expected
        if stopped_at and part.kind == "app":
            assert found[part.name].state.terminated is None  # it was never begun
