"""What is done next, by value."""

from typing import Any

import pytest

from kybern.api.core_v1 import (
    Container,
    ContainerRestartRule,
    ContainerRestartRuleOnExitCodes,
    EphemeralContainer,
    Pod,
    PodSpec,
    Probe,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.kubelet.memory import Memory, ProbeResults, Waiting
from kybern.kubelet.observed import CONTAINER_HASH, Observed, observed, restart_count
from kybern.kubelet.plan import CreateSandbox, KillContainer, StartContainer, StopPod, plan
from kybern.kubelet.restarts import RestartDelay, after_restart, duration_text, waits_until
from kybern.runtime.cri import (
    ContainerMetadata,
    ContainerState,
    ContainerStatus,
    PodSandboxConfig,
    SandboxMetadata,
    SandboxState,
    SandboxStatus,
)

NOW = 1000.0


def pod(
    *names: str, policy: str = "Always", init: tuple[Container, ...] = (), deleted: bool = False, **spec: Any
) -> Pod:
    containers = tuple(Container(name=name, image="i:1") for name in names or ("web",))
    meta = ObjectMeta(
        name="p", namespace="default", uid="u", deletion_timestamp="2026-01-01T00:00:00Z" if deleted else None
    )
    return Pod(
        metadata=meta,
        spec=PodSpec(containers=containers, restart_policy=policy, init_containers=init or None, **spec),
    )


def sandbox(attempt: int = 0, ready: bool = True, ips: tuple[str, ...] = ("10.0.0.2",)) -> SandboxStatus:
    return SandboxStatus(
        id=f"s{attempt}",
        config=PodSandboxConfig(metadata=SandboxMetadata(name="p", namespace="default", uid="u", attempt=attempt)),
        state=SandboxState.READY if ready else SandboxState.NOT_READY,
        created_at=float(attempt),
        ips=ips,
    )


def container(
    name: str = "web",
    state: ContainerState = ContainerState.RUNNING,
    code: int = 0,
    *,
    attempt: int = 0,
    of: str = "s0",
    ended: float = NOW - 1,
    image: str = "i:1",
) -> ContainerStatus:
    return ContainerStatus(
        id=f"{name}-{attempt}",
        sandbox_id=of,
        metadata=ContainerMetadata(name=name, attempt=attempt),
        labels={},
        annotations={CONTAINER_HASH: image},
        state=state,
        created_at=float(attempt),
        exit_code=code,
        finished_at=ended if state is ContainerState.EXITED else 0.0,
    )


def seen(*containers: ContainerStatus, sandboxes: tuple[SandboxStatus, ...] | None = None) -> Observed:
    return observed((sandbox(),) if sandboxes is None else sandboxes, containers)


EXITED, RUNNING, CREATED, UNKNOWN = (
    ContainerState.EXITED,
    ContainerState.RUNNING,
    ContainerState.CREATED,
    ContainerState.UNKNOWN,
)
INIT = Container(name="init", image="i:1")
SIDECAR = Container(name="proxy", image="i:1", restart_policy="Always")


def actions(pod: Pod, observed: Observed, memory: Memory | None = None) -> tuple[Any, ...]:
    return plan(pod, observed, NOW, memory).actions


# Sandboxes


def test_a_new_pod_gets_a_sandbox_and_its_containers() -> None:
    assert actions(pod("a", "b"), Observed()) == (CreateSandbox(0), StartContainer("a"), StartContainer("b"))


def test_a_new_pod_with_init_containers_gets_only_the_first_of_them() -> None:
    assert actions(pod(init=(INIT,)), Observed()) == (CreateSandbox(0), StartContainer("init"))


def test_a_container_that_was_only_made_is_started_in_the_next_sandbox_whatever_its_policy() -> None:
    state = seen(container(state=ContainerState.CREATED), sandboxes=(sandbox(ready=False),))
    assert StartContainer("web") in plan(pod(policy="Never"), state, NOW).actions


def test_a_dead_sandbox_is_replaced_and_its_containers_are_started_again() -> None:
    state = seen(container(state=EXITED, code=137), sandboxes=(sandbox(ready=False),))
    assert actions(pod(), state) == (StopPod(), CreateSandbox(1), StartContainer("web"))


def test_a_sandbox_without_an_address_is_replaced() -> None:
    assert actions(pod(), seen(sandboxes=(sandbox(ips=()),)))[:2] == (StopPod(), CreateSandbox(1))


def test_a_sandbox_on_the_hosts_network_needs_no_address() -> None:
    assert actions(pod(host_network=True), seen(sandboxes=(sandbox(ips=()),))) == (StartContainer("web"),)


def test_two_ready_sandboxes_are_one_too_many() -> None:
    state = seen(container(of="s1"), sandboxes=(sandbox(0), sandbox(1)))
    assert actions(pod(), state)[:2] == (StopPod(), CreateSandbox(2))


def test_a_pod_that_is_never_restarted_gets_no_second_sandbox() -> None:
    found = plan(pod(policy="Never"), seen(container(state=EXITED, code=137), sandboxes=(sandbox(ready=False),)), NOW)
    assert found.finished and found.actions == (StopPod(),)


def test_a_pod_that_never_started_gets_another_sandbox_whatever_its_policy() -> None:
    assert actions(pod(policy="Never"), seen(sandboxes=(sandbox(ready=False),)))[1] == CreateSandbox(1)


def test_a_new_sandbox_skips_what_has_succeeded() -> None:
    state = seen(container("a", EXITED, 0), container("b", EXITED, 1), sandboxes=(sandbox(ready=False),))
    assert actions(pod("a", "b", policy="OnFailure"), state) == (StopPod(), CreateSandbox(1), StartContainer("b"))


def test_a_new_sandbox_is_not_made_where_everything_has_succeeded() -> None:
    state = seen(container(state=EXITED), sandboxes=(sandbox(ready=False),))
    assert plan(pod(policy="OnFailure"), state, NOW).finished


# Containers


def test_a_pod_as_it_should_be_is_left_alone() -> None:
    found = plan(pod(), seen(container()), NOW)
    assert found.actions == () and not found.finished and found.wakes_at is None


def test_a_missing_container_is_started() -> None:
    assert actions(pod("a", "b"), seen(container("a"))) == (StartContainer("b"),)


@pytest.mark.parametrize(
    ("policy", "code", "starts"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_an_ended_container_is_restarted_as_its_policy_says(policy: str, code: int, starts: bool) -> None:
    found = plan(pod("a", "b", policy=policy), seen(container("a"), container("b", EXITED, code)), NOW)
    assert (StartContainer("b") in found.actions) is starts


@pytest.mark.parametrize(("policy", "code"), [("OnFailure", 0), ("Never", 0), ("Never", 1)])
def test_a_pod_is_finished_when_nothing_runs_and_nothing_is_restarted(policy: str, code: int) -> None:
    assert plan(pod(policy=policy), seen(container(state=EXITED, code=code)), NOW).finished


@pytest.mark.parametrize("state", [CREATED, UNKNOWN])
def test_a_container_that_was_not_started_is_started(state: ContainerState) -> None:
    assert actions(pod(policy="Never"), seen(container(state=state))) == (StartContainer("web"),)


def test_nothing_is_started_in_a_pod_that_is_deleted() -> None:
    assert StartContainer("web") not in actions(pod(deleted=True), seen(container(state=EXITED)))


def test_a_containers_own_restart_policy_counts() -> None:
    never = Container(name="b", image="i:1", restart_policy="Never")
    made = Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="u"),
        spec=PodSpec(containers=(Container(name="a", image="i:1"), never), restart_policy="Always"),
    )
    assert actions(made, seen(container("a"), container("b", EXITED, 1))) == ()


@pytest.mark.parametrize(("operator", "code", "starts"), [("In", 42, True), ("In", 1, False), ("NotIn", 1, True)])
def test_a_restart_rule_overrides_the_policy(operator: str, code: int, starts: bool) -> None:
    rule = ContainerRestartRule(
        action="Restart", exit_codes=ContainerRestartRuleOnExitCodes(operator=operator, values=(42,))
    )
    ruled = Container(name="b", image="i:1", restart_policy="Never", restart_policy_rules=(rule,))
    made = Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="u"),
        spec=PodSpec(containers=(Container(name="a", image="i:1"), ruled), restart_policy="Never"),
    )
    assert (StartContainer("b") in actions(made, seen(container("a"), container("b", EXITED, code)))) is starts


def test_a_container_of_another_image_is_replaced() -> None:
    (kill,) = actions(pod(), seen(container(image="old:1")))
    assert kill == KillContainer("web-0", "web", "Container web definition changed, will be restarted", "changed")


# Probes


def test_a_container_that_is_not_alive_is_killed() -> None:
    memory = Memory(probes={"web-0": ProbeResults(liveness=False)})
    (kill,) = actions(pod(), seen(container()), memory)
    assert kill == KillContainer("web-0", "web", "Container web failed liveness probe, will be restarted", "liveness")


def test_a_killed_container_that_is_not_restarted_is_not_said_to_be() -> None:
    memory = Memory(probes={"web-0": ProbeResults(liveness=False)})
    (kill,) = actions(pod(policy="Never"), seen(container()), memory)
    assert kill.message == "Container web failed liveness probe"


def test_a_container_that_does_not_start_up_is_killed() -> None:
    memory = Memory(probes={"web-0": ProbeResults(startup=False)})
    (kill,) = actions(pod(), seen(container()), memory)
    assert kill.cause == "startup"


def test_readiness_changes_nothing() -> None:
    assert actions(pod(), seen(container()), Memory(probes={"web-0": ProbeResults(readiness=False)})) == ()


# Back-off


def test_the_first_restart_is_immediate() -> None:
    assert actions(pod(), seen(container(state=EXITED, code=1, ended=NOW))) == (StartContainer("web"),)


def test_a_restart_waits_for_its_delay() -> None:
    memory = Memory(delays={"web": RestartDelay(20.0, NOW - 30)})
    found = plan(pod(), seen(container(state=EXITED, code=1, ended=NOW - 5)), NOW, memory)
    assert found.actions == () and not found.finished
    why = found.waiting["web"]
    assert (why.reason, why.until) == ("CrashLoopBackOff", NOW + 15)
    assert why.message == "back-off 20s restarting failed container=web pod=p_default(u)"
    assert found.wakes_at == NOW + 15


def test_a_restart_whose_delay_is_over_happens() -> None:
    memory = Memory(delays={"web": RestartDelay(20.0, NOW - 30)})
    assert actions(pod(), seen(container(state=EXITED, code=1, ended=NOW - 21)), memory) == (StartContainer("web"),)


def test_one_container_in_backoff_holds_up_no_other() -> None:
    memory = Memory(delays={"a": RestartDelay(20.0, NOW)})
    found = plan(pod("a", "b"), seen(container("a", EXITED, 1)), NOW, memory)
    assert found.actions == (StartContainer("b"),) and set(found.waiting) == {"a"}


def test_a_container_whose_image_is_missing_waits() -> None:
    why = Waiting("ImagePullBackOff", "Back-off", NOW + 7)
    found = plan(pod(), seen(), NOW, Memory(waiting={"web": why}))
    assert found.actions == () and found.waiting == {"web": why}


def test_a_wait_that_is_over_ends() -> None:
    memory = Memory(waiting={"web": Waiting("ErrImagePull", "no", NOW)})
    assert actions(pod(), seen(), memory) == (StartContainer("web"),)


def test_no_sandbox_is_made_for_containers_that_all_wait() -> None:
    memory = Memory(delays={"web": RestartDelay(20.0, NOW)})
    state = seen(container(state=EXITED, code=1), sandboxes=(sandbox(ready=False),))
    assert plan(pod(), state, NOW, memory).actions == ()


@pytest.mark.parametrize(
    ("delay", "ended", "expected"),
    [(None, 100.0, 10.0), (RestartDelay(10, 90), 100.0, 20.0), (RestartDelay(300, 90), 100.0, 300.0),
     (RestartDelay(160, 90), 100.0, 300.0), (RestartDelay(300, 90), 691.0, 10.0)],
)  # fmt: skip
def test_the_delay_doubles_up_to_five_minutes_and_is_forgotten_after_ten(
    delay: RestartDelay | None, ended: float, expected: float
) -> None:
    assert after_restart(delay, ended, ended).seconds == expected


def test_a_node_may_say_that_it_grows_to_less() -> None:
    first = after_restart(None, 100.0, 100.0, 4.0)
    assert (first.seconds, after_restart(RestartDelay(10, 90), 100.0, 100.0, 15.0).seconds) == (4.0, 15.0)


def test_nothing_is_waited_for_without_a_delay() -> None:
    assert waits_until(None, NOW) == 0.0


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (20, "20s"), (80, "1m20s"), (160, "2m40s"), (300, "5m0s")])
def test_durations_read_as_upstreams_do(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


# Init containers


def test_the_next_init_container_follows_the_one_that_succeeded() -> None:
    second = Container(name="init2", image="i:1")
    assert actions(pod(init=(INIT, second)), seen(container("init", EXITED))) == (StartContainer("init2"),)


def test_a_running_init_container_is_waited_for() -> None:
    assert actions(pod(init=(INIT,)), seen(container("init"))) == ()


def test_containers_follow_the_last_init_container() -> None:
    assert actions(pod(init=(INIT,)), seen(container("init", EXITED))) == (StartContainer("web"),)


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
def test_a_failed_init_container_is_tried_again(policy: str) -> None:
    assert actions(pod(policy=policy, init=(INIT,)), seen(container("init", EXITED, 1))) == (StartContainer("init"),)


def test_a_failed_init_container_ends_a_pod_that_is_never_restarted() -> None:
    assert plan(pod(policy="Never", init=(INIT,)), seen(container("init", EXITED, 1)), NOW).finished


def test_init_containers_do_not_run_again_once_the_pod_has_been_initialized() -> None:
    assert actions(pod(init=(INIT,)), seen(container("web"))) == ()


# Sidecars


def test_a_sidecar_that_has_started_lets_the_next_begin() -> None:
    assert actions(pod(init=(SIDECAR, INIT)), seen(container("proxy"))) == (StartContainer("init"),)


def test_a_sidecar_with_a_startup_probe_is_waited_for() -> None:
    probed = Container(name="proxy", image="i:1", restart_policy="Always", startup_probe=Probe())
    assert actions(pod(init=(probed, INIT)), seen(container("proxy"))) == ()
    started = Memory(probes={"proxy-0": ProbeResults(startup=True)})
    assert actions(pod(init=(probed, INIT)), seen(container("proxy")), started) == (StartContainer("init"),)


def test_a_sidecar_that_ended_is_restarted_whatever_the_pods_policy() -> None:
    state = seen(container("proxy", EXITED), container("web"))
    assert actions(pod(policy="Never", init=(SIDECAR,)), state) == (StartContainer("proxy"),)


def test_a_sidecar_does_not_keep_a_finished_pod_going() -> None:
    state = seen(container("proxy"), container("web", EXITED))
    assert plan(pod(policy="Never", init=(SIDECAR,)), state, NOW).finished


# Ephemeral containers


def test_an_ephemeral_container_is_started_once() -> None:
    made = pod(ephemeral_containers=(EphemeralContainer(name="debug", image="i:1"),))
    assert actions(made, seen(container())) == (StartContainer("debug"),)
    assert actions(made, seen(container(), container("debug", EXITED))) == ()


def test_the_restart_count_comes_from_the_annotation_else_from_the_attempt() -> None:
    assert restart_count(container(attempt=3)) == 3
