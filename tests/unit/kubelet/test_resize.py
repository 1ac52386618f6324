"""In-place resize: what a pod is given, when, and how its containers come to it; over a simulated runtime."""

from typing import Any

import pytest

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import Container, ContainerResizePolicy, ExecAction, Probe, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.kubelet.resources import linux_resources, resized
from kybern.kubelet.topology.cpus import CpuPolicy
from kybern.kubelet.topology.memory import MemoryPolicy
from kybern.runtime import cri
from kybern.runtime.cri import ContainerState
from kybern.runtime.simulated import Behaviour, Simulated

PATH = "/api/v1/namespaces/default/pods/"


def amounts(**given: str) -> dict[str, Quantity]:
    return {name: Quantity(text) for name, text in given.items()}


def sized(name: str = "web", restart: str = "NotRequired", **given: str) -> Container:
    asked = amounts(**given)
    policy = tuple(ContainerResizePolicy(resource_name=r, restart_policy=restart) for r in ("cpu", "memory"))
    return Container(
        name=name, image="web:1", resources=ResourceRequirements(requests=asked, limits=asked), resize_policy=policy
    )


def resize(cluster: Any, name: str, **given: str) -> None:
    found = cluster.api.objects[PATH + name]
    first, *others = found["spec"]["containers"]
    first = {**first, "resources": {"requests": given, "limits": given}}
    meta = {**found["metadata"], "generation": found["metadata"]["generation"] + 1}
    cluster.api.put(PATH + name, {**found, "metadata": meta, "spec": {**found["spec"], "containers": [first, *others]}})


def condition(cluster: Any, name: str, kind: str) -> Any:
    return next((c for c in cluster.api.pod(name).status.conditions if c.type == kind), None)


def shown(cluster: Any, name: str) -> Any:
    return cluster.api.pod(name).status.container_statuses[0]


async def is_given(cluster: Any, name: str, **given: str) -> None:
    await cluster.until(lambda: shown(cluster, name).allocated_resources == amounts(**given))
    await cluster.until(lambda: shown(cluster, name).resources.limits == amounts(**given))
    await cluster.until(lambda: condition(cluster, name, "PodResizeInProgress") is None)


def test_a_running_container_gets_other_limits_and_is_not_restarted(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod("web-1", sized(cpu="100m", memory="64Mi")))
            await cluster.phase("web-1", "Running")
            before = shown(cluster, "web-1")
            resize(cluster, "web-1", cpu="300m", memory="128Mi")
            await is_given(cluster, "web-1", cpu="300m", memory="128Mi")
            now = shown(cluster, "web-1")
            assert (now.container_id, now.restart_count) == (before.container_id, 0)
            (container,) = cluster.runtime.containers.values()
            assert container.resources.cpu_quota == 30_000 and container.resources.memory_limit_bytes == 128 << 20
            assert cluster.api.pod("web-1").status.observed_generation == 2
            await cluster.kubelet.parts.recorder.flush()
            amounts = '{"cpu":"300m","memory":"128Mi"}'
            asked = f'{{"containers":[{{"name":"web","resources":{{"limits":{amounts},"requests":{amounts}}}}}],"generation":2}}'
            assert cluster.api.events()[-2:] == [
                ("ResizeStarted", f"Pod resize started: {asked}"),
                ("ResizeCompleted", f"Pod resize completed: {asked}"),
            ]

    lab.simulate(scenario)


def test_a_resize_policy_asks_for_a_new_start_whatever_the_exit_code(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod("web-1", sized(restart="RestartContainer", cpu="100m"), policy="OnFailure"))
            await cluster.phase("web-1", "Running")
            resize(cluster, "web-1", cpu="200m")
            await is_given(cluster, "web-1", cpu="200m")
            assert shown(cluster, "web-1").restart_count == 1

    lab.simulate(scenario)


def test_what_the_node_will_never_have_is_infeasible_and_the_pod_runs_on(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod("web-1", sized(cpu="1")))
            await cluster.phase("web-1", "Running")
            resize(cluster, "web-1", cpu="40")
            await cluster.until(lambda: condition(cluster, "web-1", "PodResizePending") is not None)
            pending = condition(cluster, "web-1", "PodResizePending")
            text = "Node didn't have enough capacity: cpu, requested: 40000, capacity: 4000"
            assert (pending.status, pending.reason, pending.message) == ("True", "Infeasible", text)
            assert shown(cluster, "web-1").allocated_resources == amounts(cpu="1")
            await cluster.kubelet.parts.recorder.flush()
            reason, told = cluster.api.events()[-1]
            assert reason == "ResizeInfeasible" and told.startswith('Pod resize Infeasible: {"containers":[')
            assert told.endswith(f'"generation":2,"error":"{text}"}}')
            resize(cluster, "web-1", cpu="1")
            await cluster.until(lambda: condition(cluster, "web-1", "PodResizePending") is None)

    lab.simulate(scenario)


@pytest.mark.parametrize(("resource", "manager"), [("cpu", "CPU"), ("memory", "Memory")])
def test_what_a_container_has_for_itself_alone_is_not_resized_but_the_rest_is(
    lab: Any, resource: str, manager: str
) -> None:
    async def scenario() -> None:
        before, after = {"cpu": "500m", "memory": "64Mi"}, {"cpu": "600m", "memory": "128Mi"}
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod("web-1", sized(**before)))
            await cluster.phase("web-1", "Running")
            parts = cluster.kubelet.parts
            parts.cpus.policy, parts.memory.policy = (
                CpuPolicy(static=resource == "cpu"),
                MemoryPolicy(static=resource == "memory"),
            )
            other = before | {name: text for name, text in after.items() if name != resource}
            resize(cluster, "web-1", **other)
            await is_given(cluster, "web-1", **other)
            resize(cluster, "web-1", **after)
            await cluster.until(lambda: condition(cluster, "web-1", "PodResizePending") is not None)
            text = f'Resize is infeasible for Guaranteed Pods alongside {manager} Manager policy "static"'
            assert condition(cluster, "web-1", "PodResizePending").message == text

    lab.simulate(scenario)


def test_a_deferred_resize_happens_when_another_pod_goes(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            for name in ("web-1", "web-2"):
                cluster.api.bind(lab.pod(name, sized(cpu="2")))
                await cluster.phase(name, "Running")
            resize(cluster, "web-1", cpu="3")
            await cluster.until(lambda: condition(cluster, "web-1", "PodResizePending") is not None)
            assert condition(cluster, "web-1", "PodResizePending").reason == "Deferred"
            cluster.api.delete_gracefully(PATH + "web-2")
            await is_given(cluster, "web-1", cpu="3")
            assert condition(cluster, "web-1", "PodResizePending") is None

    lab.simulate(scenario)


def test_a_memory_limit_below_what_is_used_is_an_error_until_it_fits(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Full(LoopClock())
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod("web-1", sized(memory="256Mi")))
            await cluster.phase("web-1", "Running")
            runtime.used = 200 << 20
            resize(cluster, "web-1", memory="100Mi")
            await cluster.until(lambda: condition(cluster, "web-1", "PodResizeInProgress") is not None)
            await cluster.until(lambda: condition(cluster, "web-1", "PodResizeInProgress").reason == "Error")
            assert "below current usage" in condition(cluster, "web-1", "PodResizeInProgress").message
            assert shown(cluster, "web-1").resources.limits == amounts(memory="256Mi")
            runtime.used = 1 << 20
            await is_given(cluster, "web-1", memory="100Mi")

    lab.simulate(scenario)


class Full(Simulated):
    used = 0

    async def container_stats(self, container_id: str) -> cri.ContainerStats:
        return cri.ContainerStats(
            id=container_id, cpu_usage_core_ns=0, memory_working_set_bytes=self.used, memory_usage_bytes=self.used
        )


def test_amounts_that_are_the_same_to_the_kernel_change_nothing(lab: Any) -> None:
    asked = [lab.pod("p", sized(cpu=cpu)) for cpu in ("1m", "2m")]
    wanted = linux_resources(asked[0], asked[0].spec.containers[0], 0)
    status = cri.ContainerStatus(
        id="c",
        sandbox_id="s",
        metadata=cri.ContainerMetadata(name="web"),
        labels={},
        annotations={},
        state=ContainerState.RUNNING,
        created_at=0.0,
        resources=wanted,
    )
    assert resized(asked[1], asked[1].spec.containers[0], status) is None


@pytest.mark.parametrize("policy", ["OnFailure", "Always"])
def test_what_a_liveness_probe_ended_is_started_again_though_it_ended_well(lab: Any, policy: str) -> None:
    async def scenario() -> None:
        def execute(container_id: str, command: Any) -> cri.ExecResult:
            return cri.ExecResult(stdout=b"", stderr=b"", exit_code=1)

        clock = LoopClock()
        runtime = Simulated(clock, behave=lambda config: Behaviour(stop_exit_code=0), execute=execute)
        async with lab.cluster(runtime=runtime) as cluster:
            probe = Probe(exec=ExecAction(command=("no",)), period_seconds=1, failure_threshold=1)
            web = Container(name="web", image="web:1", liveness_probe=probe)
            cluster.api.bind(lab.pod("web-1", web, policy=policy))
            await cluster.phase("web-1", "Running")
            await cluster.until(lambda: shown(cluster, "web-1").restart_count > 0)
            assert cluster.api.pod("web-1").status.phase == "Running"

    lab.simulate(scenario)
