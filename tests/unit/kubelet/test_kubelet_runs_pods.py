"""Whole lives of pods: a kubelet over a simulated runtime and a small API server, on virtual time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import Container, ExecAction, Lifecycle, LifecycleHandler, Probe, SleepAction
from kybern.kubelet import node as node_module
from kybern.runtime.cri import ContainerState, ExecResult, PodSandboxConfig, SandboxMetadata
from kybern.runtime.simulated import Behaviour, Simulated


def condition(pod: Any, kind: str) -> Any:
    return next(c for c in pod.status.conditions if c.type == kind)


def test_a_bound_pod_runs_within_the_budget(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            assert await cluster.phase("web-1", "Running") < 0.3
            found = cluster.api.pod("web-1")
            assert condition(found, "Ready").status == "True"
            assert found.status.pod_ip and found.status.host_ip == "10.244.0.1"
            assert found.status.container_statuses[0].container_id.startswith("kybern://")
            await cluster.kubelet.parts.recorder.flush()
            reasons = [reason for reason, _ in cluster.api.events()]
            assert reasons == ["Pulling", "Pulled", "Created", "Started"]

    lab.simulate(scenario)


def test_a_deleted_pod_is_stopped_and_then_removed_everywhere(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(stops_seconds=3))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1")
            took = await cluster.until(lambda: not cluster.api.has_pod("web-1"))
            assert 3 <= took < 3.5
            assert not runtime.containers and not runtime.sandboxes
            await cluster.until(lambda: not cluster.kubelet.workers)

    lab.simulate(scenario)


def test_a_pod_that_ends_while_its_volumes_are_made_gets_no_sandbox(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            begun = asyncio.Event()

            async def never_done(*given: Any) -> None:
                begun.set()
                await asyncio.Event().wait()

            cluster.kubelet.parts.volumes.set_up = never_done
            cluster.api.bind(lab.pod())
            await begun.wait()
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1")
            await cluster.until(lambda: not cluster.api.has_pod("web-1"))
            assert cluster.runtime.count == 0  # nothing was ever made

    lab.simulate(scenario)


def test_a_container_that_ignores_its_signal_is_killed_after_the_grace_period(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(stops_seconds=1000))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod(termination_grace_period_seconds=5))
            await cluster.phase("web-1", "Running")
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1", 5)
            took = await cluster.until(lambda: not cluster.api.has_pod("web-1"))
            assert 5 <= took < 5.5

    lab.simulate(scenario)


def test_a_shorter_grace_period_counts_at_once(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(stops_seconds=1000))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1", 600)
            await cluster.until(lambda: cluster.kubelet.workers["uid-web-1"].stage.value == "terminating")
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1", 1)
            assert 2 <= await cluster.until(lambda: not cluster.api.has_pod("web-1")) < 2.5  # nobody gets less

    lab.simulate(scenario)


def test_a_crashing_container_is_restarted_ever_more_slowly(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(runs_seconds=1, exit_code=3))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod())

            def status() -> Any:
                return cluster.api.pod("web-1").status.container_statuses[0]

            await cluster.phase("web-1", "Running")
            await cluster.until(lambda: status().state.waiting is not None)
            assert status().state.waiting.reason == "CrashLoopBackOff"
            named = "container=web pod=web-1_default(uid-web-1)"
            assert status().state.waiting.message == f"back-off 10s restarting failed {named}"
            assert status().last_state.terminated.exit_code == 3
            took = await cluster.until(lambda: status().restart_count == 5)
            assert 10 + 20 + 40 <= took <= 10 + 20 + 40 + 80 + 10
            assert len(runtime.containers) == 2  # the latest, and the one before it
            await cluster.kubelet.parts.recorder.flush()
            text = "Back-off restarting failed container web in pod web-1_default(uid-web-1)"
            assert ("BackOff", text) in cluster.api.events()

    lab.simulate(scenario)


def test_a_pod_that_ran_to_its_end_has_succeeded_and_is_not_restarted(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(runs_seconds=2))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod(policy="Never"))
            await cluster.phase("web-1", "Succeeded")
            found = cluster.api.pod("web-1")
            assert found.status.container_statuses[0].state.terminated.reason == "Completed"
            assert condition(found, "Ready").reason == "PodCompleted"
            assert all(s.state.value == "not-ready" for s in runtime.sandboxes.values())
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1")
            await cluster.until(lambda: not cluster.api.has_pod("web-1"))
            assert not runtime.containers

    lab.simulate(scenario)


def test_a_failed_pod_that_is_never_restarted_has_failed(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(runs_seconds=2, exit_code=1))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod(policy="Never"))
            await cluster.phase("web-1", "Failed")
            assert cluster.api.pod("web-1").status.container_statuses[0].restart_count == 0

    lab.simulate(scenario)


def test_init_containers_run_in_order_before_the_others(lab: Any) -> None:
    async def scenario() -> None:
        begun: list[str] = []

        def behave(config: Any) -> Behaviour:
            begun.append(config.metadata.name)
            return Behaviour(runs_seconds=1) if config.metadata.name.startswith("init") else Behaviour()

        async with lab.cluster(runtime=Simulated(LoopClock(), behave=behave)) as cluster:
            inits = (Container(name="init-a", image="i:1"), Container(name="init-b", image="i:1"))
            cluster.api.bind(lab.pod(init_containers=inits))
            await cluster.phase("web-1", "Running")
            assert list(dict.fromkeys(begun)) == ["init-a", "init-b", "web"]
            assert condition(cluster.api.pod("web-1"), "Initialized").status == "True"

    lab.simulate(scenario)


def test_a_sidecar_starts_first_and_ends_last(lab: Any) -> None:
    async def scenario() -> None:
        def behave(config: Any) -> Behaviour:
            return Behaviour(runs_seconds=5) if config.metadata.name == "web" else Behaviour()

        runtime = Simulated(LoopClock(), behave=behave)
        async with lab.cluster(runtime=runtime) as cluster:
            sidecar = Container(name="proxy", image="p:1", restart_policy="Always")
            cluster.api.bind(lab.pod(policy="Never", init_containers=(sidecar,)))
            await cluster.phase("web-1", "Succeeded")
            web, proxy = (
                next(c for c in runtime.containers.values() if c.metadata.name == n) for n in ("web", "proxy")
            )
            assert proxy.started_at <= web.started_at and proxy.finished_at >= web.finished_at

    lab.simulate(scenario)


def test_hooks_run_together_and_sidecars_end_last_to_first_as_long_as_there_is_time(lab: Any) -> None:
    """Apps end at 4 s (hook 3, signal 1), the later sidecar at 7, by when the grace period has left the first its least."""

    async def scenario() -> None:
        seconds = {"web": 1.0, "first": 1000.0, "second": 3.0}
        ended: dict[str, float] = {}

        class Noting(Simulated):
            async def remove_container(self, container_id: str) -> None:
                found = self.containers[container_id]
                ended[found.metadata.name] = found.finished_at
                await super().remove_container(container_id)

        runtime = Noting(LoopClock(), behave=lambda config: Behaviour(stops_seconds=seconds[config.metadata.name]))
        hook = Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=3)))
        async with lab.cluster(runtime=runtime) as cluster:
            sidecars = [
                Container(name=n, image="s:1", restart_policy="Always", lifecycle=hook) for n in ("first", "second")
            ]
            web = Container(name="web", image="web:1", lifecycle=hook)
            cluster.api.bind(lab.pod("web-1", web, init_containers=tuple(sidecars)))
            await cluster.phase("web-1", "Running")
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1", 8)
            began = cluster.kubelet.clock.wall()
            await cluster.until(lambda: len(ended) == len(seconds))
            assert {name: round(at - began) for name, at in ended.items()} == {"web": 4, "second": 7, "first": 9}

    lab.simulate(scenario)


def test_a_pod_without_any_grace_period_still_has_its_hook_and_its_signal(lab: Any) -> None:
    async def scenario() -> None:
        ran: list[str] = []

        def execute(container: str, command: Any) -> ExecResult:
            ran.append(command[0])
            return ExecResult(stdout=b"", stderr=b"", exit_code=0)

        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(stops_seconds=1.5), execute=execute)
        hook = Lifecycle(pre_stop=LifecycleHandler(exec=ExecAction(command=("hook",))))
        async with lab.cluster(runtime=runtime) as cluster:
            web = Container(name="web", image="web:1", lifecycle=hook)
            cluster.api.bind(lab.pod("web-1", web, termination_grace_period_seconds=0))
            await cluster.phase("web-1", "Running")
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1", 0)
            await cluster.until(lambda: not cluster.runtime.sandboxes)
            assert ran == ["hook"]

    lab.simulate(scenario)


def test_an_image_that_cannot_be_pulled_is_waited_for(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock(), absent=["web:1"])
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod())

            def waiting() -> Any:
                statuses = cluster.api.pod("web-1").status.container_statuses
                return statuses[0].state.waiting if statuses else None

            await cluster.until(lambda: waiting() and waiting().reason == "ErrImagePull")
            await cluster.until(lambda: waiting().reason == "ImagePullBackOff")
            assert waiting().message == 'Back-off pulling image "web:1": ErrImagePull: web:1: not found'
            runtime.absent = frozenset()
            assert await cluster.phase("web-1", "Running") < 25

    lab.simulate(scenario)


def test_a_failing_liveness_probe_restarts_the_container(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(
            LoopClock(), execute=lambda container, command: ExecResult(stdout=b"", stderr=b"broken", exit_code=1)
        )
        probe = Probe(exec=ExecAction(command=("check",)), period_seconds=1, failure_threshold=2)
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod("web-1", Container(name="web", image="web:1", liveness_probe=probe)))
            await cluster.phase("web-1", "Running")
            await cluster.until(lambda: cluster.api.pod("web-1").status.container_statuses[0].restart_count == 2)
            await cluster.kubelet.parts.recorder.flush()
            events = cluster.api.events()
            assert ("Unhealthy", "Liveness probe failed: broken") in events
            assert ("Killing", "Container web failed liveness probe, will be restarted") in events

    lab.simulate(scenario)


def test_a_pod_is_ready_when_its_readiness_probe_says_so(lab: Any) -> None:
    async def scenario() -> None:
        answers = [1, 1, 0]
        runtime = Simulated(
            LoopClock(),
            execute=lambda container, command: ExecResult(
                stdout=b"", stderr=b"", exit_code=answers.pop(0) if answers else 0
            ),
        )
        probe = Probe(exec=ExecAction(command=("check",)), period_seconds=5)
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod("web-1", Container(name="web", image="web:1", readiness_probe=probe)))
            await cluster.phase("web-1", "Running")
            ready = condition(cluster.api.pod("web-1"), "Ready")
            assert (ready.reason, ready.message) == ("ContainersNotReady", "containers with unready status: [web]")
            took = await cluster.until(lambda: condition(cluster.api.pod("web-1"), "Ready").status == "True")
            assert 9 < took < 11

    lab.simulate(scenario)


class Unwired(Simulated):
    """Its network comes some time after the start."""

    def __init__(self, clock: LoopClock, after: float) -> None:
        super().__init__(clock)
        self.wired_at = clock.monotonic() + after

    async def network_fault(self) -> str:
        return "" if self.clock.monotonic() >= self.wired_at else "the node has no pod CIDR yet"


@pytest.mark.parametrize(("wired_after", "said"), [(1.0, ["True"]), (60.0, ["False", "True"])])
def test_a_node_is_not_unready_because_its_agent_has_just_started(
    lab: Any, wired_after: float, said: list[str]
) -> None:
    async def scenario() -> None:
        clock, api = LoopClock(), lab.FakeApi()
        async with lab.cluster(api=api):
            pass
        seen: list[str] = []
        put = api.put

        def watched(path: str, obj: dict[str, Any]) -> dict[str, Any]:
            if path == "/api/v1/nodes/n1":
                (ready,) = (each["status"] for each in obj["status"]["conditions"] if each["type"] == "Ready")
                seen.extend([ready] if seen[-1:] != [ready] else [])
            return dict(put(path, obj))

        api.put = watched
        async with lab.cluster(api=api, runtime=Unwired(clock, wired_after), seed=2):
            await clock.sleep(100)
        assert seen == said

    lab.simulate(scenario)


def test_a_pod_that_was_marked_as_lost_is_ready_again_soon_after_its_node_is_back(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            path = "/api/v1/namespaces/default/pods/web-1"
            await cluster.until(lambda: condition(cluster.api.pod("web-1"), "Ready").status == "True")
            found = cluster.api.objects[path]
            lost = [c | {"status": "False"} if c["type"] == "Ready" else c for c in found["status"]["conditions"]]
            cluster.api.put(path, {**found, "status": {**found["status"], "conditions": lost}})
            took = await cluster.until(lambda: condition(cluster.api.pod("web-1"), "Ready").status == "True")
            assert 9 < took < 12

    lab.simulate(scenario)


def test_of_five_hundred_changes_of_a_pod_the_last_is_told_as_observed(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            path = "/api/v1/namespaces/default/pods/web-1"
            for generation in range(2, 502):
                found = cluster.api.objects[path]
                changed = {"spec": {**found["spec"], "activeDeadlineSeconds": 10_000 - generation}}
                cluster.api.put(path, {**found, **changed, "metadata": {**found["metadata"], "generation": generation}})
                await asyncio.sleep(0.01)
            await cluster.until(lambda: cluster.api.pod("web-1").status.observed_generation == 501)
            ready = condition(cluster.api.pod("web-1"), "Ready")
            assert (ready.status, ready.observed_generation) == ("True", 501)

    lab.simulate(scenario)


def test_a_kubelet_that_starts_anew_touches_no_container(lab: Any) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        runtime, api = Simulated(clock), lab.FakeApi()
        async with lab.cluster(runtime=runtime, api=api) as cluster:
            for number in range(5):
                api.bind(lab.pod(f"web-{number}"))
            for number in range(5):
                await cluster.phase(f"web-{number}", "Running")
        before, api.requests = dict(runtime.containers), []
        async with lab.cluster(runtime=runtime, api=api, seed=2) as cluster:
            await cluster.until(lambda: len(cluster.kubelet.workers) == 5)
            await clock.sleep(300)
            assert runtime.containers == before
            assert not [path for method, path in api.requests if method != "GET" and "/pods/" in path]

    lab.simulate(scenario)


def test_pods_that_the_api_does_not_know_are_stopped_and_removed(lab: Any) -> None:
    async def scenario() -> None:
        runtime, api = Simulated(LoopClock()), lab.FakeApi()
        async with lab.cluster(runtime=runtime, api=api) as cluster:
            api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
        api.remove("/api/v1/namespaces/default/pods/web-1")
        async with lab.cluster(runtime=runtime, api=api, seed=2) as cluster:
            await cluster.until(lambda: not runtime.sandboxes and not runtime.containers)

    lab.simulate(scenario)


def test_what_a_build_left_that_was_killed_with_the_agent_is_removed_though_no_namespace_has_it(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock())
        metadata = SandboxMetadata(name="image-build", namespace="", uid="image-build-1")
        await runtime.run_pod_sandbox(PodSandboxConfig(metadata=metadata))
        async with lab.cluster(runtime=runtime) as cluster:
            await cluster.until(lambda: not runtime.sandboxes, seconds=30)

    lab.simulate(scenario)


def test_a_pod_out_of_time_has_failed(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod(active_deadline_seconds=20))
            took = await cluster.phase("web-1", "Failed")
            assert 19 <= took <= 22
            assert cluster.api.pod("web-1").status.reason == "DeadlineExceeded"

    lab.simulate(scenario)


def test_a_pod_that_does_not_fit_is_refused(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            from kybern.api.core_v1 import ResourceRequirements
            from kybern.api.shape import Quantity

            big = Container(name="web", image="web:1", resources=ResourceRequirements(requests={"cpu": Quantity("5")}))
            cluster.api.bind(lab.pod("web-1", big))
            await cluster.phase("web-1", "Failed")
            found = cluster.api.pod("web-1").status
            assert found.reason == "OutOfcpu"
            assert found.message == (
                "Pod was rejected: Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000"
            )
            assert not cluster.runtime.sandboxes

    lab.simulate(scenario)


def test_the_sandbox_is_made_anew_when_it_died(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            first = next(iter(cluster.runtime.sandboxes))
            await cluster.runtime.stop_pod_sandbox(first)
            await cluster.until(
                lambda: any(c.state is ContainerState.RUNNING for c in cluster.runtime.containers.values())
            )
            await cluster.until(lambda: cluster.api.pod("web-1").status.container_statuses[0].restart_count == 1)
            changed = ("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
            assert cluster.api.events().count(changed) == 1

    lab.simulate(scenario)


def test_a_hook_before_the_end_uses_up_the_grace_period(lab: Any) -> None:
    async def scenario() -> None:
        hook = Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=4)))
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod("web-1", Container(name="web", image="web:1", lifecycle=hook)))
            await cluster.phase("web-1", "Running")
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1", 30)
            assert 4 <= await cluster.until(lambda: not cluster.api.has_pod("web-1")) < 4.5

    lab.simulate(scenario)


def test_a_failed_hook_after_the_start_ends_the_container(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(
            LoopClock(), execute=lambda container, command: ExecResult(stdout=b"", stderr=b"no", exit_code=1)
        )
        hook = Lifecycle(post_start=LifecycleHandler(exec=ExecAction(command=("hook",))))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod("web-1", Container(name="web", image="web:1", lifecycle=hook)))

            def restarts() -> int:
                statuses = cluster.api.pod("web-1").status.container_statuses
                return statuses[0].restart_count if statuses else 0

            await cluster.until(lambda: restarts() == 2)
            await cluster.kubelet.parts.recorder.flush()
            told = {("FailedPostStartHook", "PostStartHook failed"), ("Killing", "FailedPostStartHook")}
            assert told <= set(cluster.api.events())  # what the hook said is in the status alone

    lab.simulate(scenario)


def test_the_api_server_may_be_away_for_a_while(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(runs_seconds=30, exit_code=1))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            cluster.api.down = True
            await cluster.until(lambda: len(runtime.containers) == 2, 100)  # it is restarted all the same
            cluster.api.down = False
            await cluster.until(lambda: cluster.api.pod("web-1").status.container_statuses[0].restart_count >= 1, 30)

    lab.simulate(scenario)


def test_a_pod_deleted_by_force_is_stopped(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            cluster.api.remove("/api/v1/namespaces/default/pods/web-1")
            await cluster.until(lambda: not cluster.runtime.sandboxes and not cluster.kubelet.workers, 10)

    lab.simulate(scenario)


def test_a_pod_deleted_by_force_takes_no_room_from_those_that_follow_while_it_is_stopped(lab: Any) -> None:
    """The scheduler gave its place away when it went from the API."""

    async def scenario() -> None:
        async with lab.cluster() as cluster:
            from kybern.api.core_v1 import ResourceRequirements
            from kybern.api.shape import Quantity

            most = ResourceRequirements(requests={"cpu": Quantity("3")})
            cluster.api.bind(lab.pod("web-1", Container(name="web", image="web:1", resources=most)))
            await cluster.phase("web-1", "Running")
            cluster.api.remove("/api/v1/namespaces/default/pods/web-1")
            cluster.api.bind(lab.pod("web-2", Container(name="web", image="web:1", resources=most)))
            await cluster.phase("web-2", "Running")

    lab.simulate(scenario)


def test_a_namesake_follows_as_a_pod_of_its_own(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            cluster.api.remove("/api/v1/namespaces/default/pods/web-1")
            made = lab.pod()
            cluster.api.bind(replace(made, metadata=replace(made.metadata, uid="another")))
            await cluster.phase("web-1", "Running")
            await cluster.until(lambda: set(cluster.kubelet.workers) == {"another"}, 10)
            assert {c.labels["io.kubernetes.pod.uid"] for c in cluster.runtime.containers.values()} == {"another"}

    lab.simulate(scenario)


def test_a_command_that_does_not_exist_is_an_error_and_then_backed_off_from(lab: Any) -> None:
    async def scenario() -> None:
        fault = 'exec: "nope": executable file not found in $PATH'
        runtime = Simulated(LoopClock(), behave=lambda config: Behaviour(start_fault=fault))
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod())

            def status() -> Any:
                statuses = cluster.api.pod("web-1").status.container_statuses
                return statuses[0] if statuses else None

            def waits_for(reason: str) -> bool:
                waiting = status() and status().state.waiting
                return bool(waiting) and waiting.reason == reason

            await cluster.until(lambda: waits_for("RunContainerError"), 1)
            assert status().state.waiting.message == fault
            await cluster.until(lambda: waits_for("CrashLoopBackOff"), 5)
            assert status().last_state.terminated.reason == "StartError"
            assert status().last_state.terminated.exit_code == 128
            assert status().last_state.terminated.message == fault

    lab.simulate(scenario)


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 10 * 365 * 86400.0])
def test_a_clock_that_jumps_changes_no_delay_and_restarts_nothing(lab: Any, jump: float) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        runtime = Simulated(
            clock, behave=lambda c: Behaviour(runs_seconds=1, exit_code=1) if c.metadata.name == "bad" else Behaviour()
        )
        async with lab.cluster(runtime=runtime, clock=clock) as cluster:
            cluster.api.bind(lab.pod("web-1", Container(name="bad", image="i:1"), Container(name="good", image="i:1")))

            def bad() -> Any:
                statuses = cluster.api.pod("web-1").status.container_statuses
                return statuses[0] if statuses else None

            await cluster.until(lambda: bad() and bad().restart_count == 2)
            await cluster.until(lambda: bad().state.waiting is not None)
            clock.start += jump
            assert 15 < await cluster.until(lambda: bad().restart_count == 3, 30) < 22
            assert 35 < await cluster.until(lambda: bad().restart_count == 4, 60) < 45
            assert cluster.api.pod("web-1").status.container_statuses[1].restart_count == 0

    lab.simulate(scenario)


async def test_a_node_tells_of_its_start_its_machines_and_what_it_may_take(lab: Any, tmp_path: Path) -> None:
    own = {"simulated": False, "data_directory": str(tmp_path), "logs_directory": str(tmp_path)}
    node = "/api/v1/nodes/n1"
    async with lab.cluster(**own) as cluster:
        started = ("Starting", "Starting kubelet.")
        async with asyncio.timeout(10):
            while started not in cluster.api.events():
                await asyncio.sleep(0.01)
        found = cluster.api.objects[node]
        cordoned = {**found, "spec": {**found.get("spec", {}), "unschedulable": True}}
        rebooted = {**cordoned["status"], "nodeInfo": {**cordoned["status"]["nodeInfo"], "bootID": "before"}}
        cluster.api.put(node, {**cordoned, "status": rebooted})
        cluster.kubelet.parts.node.news.set()
        async with asyncio.timeout(10):
            while not any(reason == "Rebooted" for reason, _ in cluster.api.events()):
                await asyncio.sleep(0.01)
        told = dict(cluster.api.events())
        assert told["NodeNotSchedulable"] == "Node n1 status is now: NodeNotSchedulable"
        assert told["Rebooted"].startswith("Node n1 has been rebooted, boot id: ")
        assert told["NodeAllocatableEnforced"] == "Updated Node Allocatable limit across pods"


@pytest.mark.parametrize(("swap", "kept", "told"), [(1 << 30, False, True), (1 << 30, True, False), (0, False, False)])
def test_secrets_that_may_be_written_to_swap_are_told(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: int, kept: bool, told: bool
) -> None:
    monkeypatch.setattr(node_module, "may_stay_in_memory", lambda: kept)

    async def scenario() -> None:
        own = {"simulated": False, "data_directory": str(tmp_path), "logs_directory": str(tmp_path)}
        async with lab.cluster(**own) as cluster:
            reporter = node_module.NodeReporter(cluster.kubelet.parts, list)
            cluster.kubelet.parts.node.swap_bytes = swap
            await reporter.report()
            await cluster.kubelet.parts.recorder.flush()
            found = [text for reason, text in cluster.api.events() if reason == "PossibleMemoryBackedVolumesOnDisk"]
            assert found == [node_module.NOT_IN_MEMORY] * told

    lab.simulate(scenario)


def test_a_pod_that_asks_for_a_label_of_a_moment_ago_runs(lab: Any) -> None:
    """What the kubelet knows of its node is older than the pod: it looks again before it refuses."""

    async def scenario() -> None:
        async with lab.cluster() as cluster:
            path = "/api/v1/nodes/n1"
            await cluster.until(lambda: path in cluster.api.objects)
            node = cluster.api.objects[path]
            cluster.api.put(path, {**node, "metadata": {**node["metadata"], "labels": {"disk": "ssd"}}})
            cluster.api.bind(lab.pod(node_selector={"disk": "ssd"}))
            cluster.api.bind(lab.pod("web-2", node_selector={"disk": "tape"}))
            await cluster.phase("web-1", "Running")
            await cluster.phase("web-2", "Failed")
            assert cluster.api.pod("web-2").status.reason == "NodeAffinity"
            await cluster.kubelet.parts.recorder.flush()
            assert [reason for reason, _ in cluster.api.events()].count("NodeAffinity") == 1

    lab.simulate(scenario)
