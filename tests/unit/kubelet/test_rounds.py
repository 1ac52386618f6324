"""RestartAllContainers: one container's end begins a new round for all of its pod, in the same sandbox."""

from dataclasses import replace
from typing import Any

from kybern.api.core_v1 import Container, ContainerRestartRule, ContainerRestartRuleOnExitCodes, Pod
from kybern.kubelet.memory import Memory
from kybern.kubelet.observed import Observed, observed
from kybern.kubelet.plan import KillContainer, StartContainer, plan
from kybern.kubelet.restarts import RestartDelay
from kybern.kubelet.status import Circumstances, pod_status
from kybern.runtime import cri
from kybern.runtime.cri import ContainerState, ContainerStatus

NOW = 1000.0
RULE = ContainerRestartRule(
    action="RestartAllContainers", exit_codes=ContainerRestartRuleOnExitCodes(operator="In", values=(42,))
)
INIT = Container(name="init", image="i:1")
WORKER = Container(name="worker", image="i:1", restart_policy="Never", restart_policy_rules=(RULE,))
OTHER = Container(name="other", image="i:1")


def made(lab: Any, policy: str = "Never") -> Pod:
    pod: Pod = lab.pod("p", WORKER, OTHER, init_containers=(INIT,), policy=policy)
    return pod


def container(name: str, created: float, ended: float = 0.0, code: int = 0) -> ContainerStatus:
    return ContainerStatus(
        id=f"{name}-{created}",
        sandbox_id="s",
        metadata=cri.ContainerMetadata(name=name, attempt=0),
        labels={},
        annotations={},
        state=ContainerState.EXITED if ended else ContainerState.RUNNING,
        created_at=created,
        started_at=created,
        finished_at=ended,
        exit_code=code,
    )


def seen(*containers: ContainerStatus) -> Observed:
    meta = cri.SandboxMetadata(name="p", namespace="default", uid="uid-p", attempt=0)
    sandbox = cri.SandboxStatus(
        id="s",
        config=cri.PodSandboxConfig(metadata=meta),
        state=cri.SandboxState.READY,
        created_at=0.0,
        ips=("10.0.0.2",),
    )
    return observed((sandbox,), containers)


BEFORE = (container("init", 1.0, 2.0), container("other", 3.0), container("worker", 3.0, 10.0, 42))


def condition(pod: Pod, now: Observed) -> str | None:
    status = pod_status(pod, now, NOW, Circumstances())
    return next((c.status for c in status.conditions or () if c.type == "AllContainersRestarting"), None)


def test_what_still_runs_is_ended_first_and_the_pod_says_so(lab: Any) -> None:
    pod, now = made(lab), seen(*BEFORE)
    (kill,) = plan(pod, now, NOW).actions
    assert isinstance(kill, KillContainer) and (kill.name, kill.cause) == ("other", "all")
    assert condition(pod, now) == "True"


def test_then_init_containers_begin_again_and_all_others_after_them(lab: Any) -> None:
    pod = made(lab)
    over = (container("init", 1.0, 2.0), container("other", 3.0, 11.0, 137), container("worker", 3.0, 10.0, 42))
    assert plan(pod, seen(*over), NOW).actions == (StartContainer("init"),)
    assert condition(pod, seen(*over)) == "False"
    done = (container("init", 12.0, 13.0), *over)
    assert plan(pod, seen(*done), NOW).actions == (StartContainer("worker"), StartContainer("other"))
    again = (container("worker", 14.0), container("other", 14.0), *done)
    assert plan(pod, seen(*again), NOW).actions == ()


def test_another_exit_code_ends_nothing_but_its_container(lab: Any) -> None:
    now = seen(BEFORE[0], BEFORE[1], replace(BEFORE[2], exit_code=1))
    assert plan(made(lab), now, NOW).actions == ()
    assert condition(lab.pod("plain"), now) is None


def test_only_the_one_that_asked_for_it_waits(lab: Any) -> None:
    over = (container("other", 3.0, NOW - 1, 137), container("worker", 3.0, NOW - 1, 42))
    pod: Pod = lab.pod("p", WORKER, OTHER)
    slow = RestartDelay(seconds=300.0, updated_at=NOW - 2)
    planned = plan(pod, seen(*over), NOW, Memory(delays={"worker": slow, "other": slow}))
    assert planned.actions == (StartContainer("other"),) and "worker" in planned.waiting


def test_in_a_kubelet_every_container_starts_anew(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(made(lab, policy="Always"))
            await cluster.until(lambda: any(c.metadata.name == "init" for c in cluster.runtime.containers.values()))
            await end(cluster, "init", 0)
            await cluster.phase("p", "Running")
            await cluster.until(lambda: len(running(cluster)) == 2)
            await end(cluster, "worker", 42)
            await cluster.until(lambda: [c.metadata.name for c in running(cluster)] == ["init"])
            await end(cluster, "init", 0)
            await cluster.until(lambda: len(running(cluster)) == 2)
            counts = lambda: {s.name: s.restart_count for s in cluster.api.pod("p").status.container_statuses or ()}  # noqa: E731
            await cluster.until(lambda: counts() == {"worker": 1, "other": 1})
            assert len(cluster.runtime.sandboxes) == 1

    async def end(cluster: Any, name: str, code: int) -> None:
        found = next(c for c in running(cluster) if c.metadata.name == name)
        cluster.runtime._end(found.id, code)

    def running(cluster: Any) -> list[ContainerStatus]:
        return [c for c in cluster.runtime.containers.values() if c.state is ContainerState.RUNNING]

    lab.simulate(scenario)
