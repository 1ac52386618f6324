"""What the API shows of a pod, by value."""

from typing import Any

import pytest
from msgspec.structs import replace

from kybern.api.core_v1 import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
    Pod,
    PodCondition,
    PodIP,
    PodReadinessGate,
    PodSpec,
    PodStatus,
    Probe,
    ResourceRequirements,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import Quantity
from kybern.kubelet.memory import Memory, ProbeResults, Waiting
from kybern.kubelet.observed import Observed, observed
from kybern.kubelet.qos import qos_class
from kybern.kubelet.status import Circumstances, Verdict, pod_status, rejected, status_patch
from kybern.runtime import cri

NOW = 1_767_225_600.0
TIME = "2026-01-01T00:00:00Z"
RUNNING, EXITED, CREATED = cri.ContainerState.RUNNING, cri.ContainerState.EXITED, cri.ContainerState.CREATED


def pod(*containers: Container, policy: str = "Always", init: tuple[Container, ...] = (), **given: Any) -> Pod:
    status = given.pop("status", PodStatus(phase="Pending"))
    return Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="u", generation=4),
        spec=PodSpec(
            containers=containers or (Container(name="web", image="i:1"),),
            restart_policy=policy,
            init_containers=init or None,
            **given,
        ),
        status=status,
    )


def sandbox(ready: bool = True) -> cri.SandboxStatus:
    return cri.SandboxStatus(
        id="s",
        config=cri.PodSandboxConfig(metadata=cri.SandboxMetadata(name="p", namespace="default", uid="u")),
        state=cri.SandboxState.READY if ready else cri.SandboxState.NOT_READY,
        created_at=0.0,
        ips=("10.244.0.2",) if ready else (),
    )


def container(
    name: str = "web", state: cri.ContainerState = RUNNING, code: int = 0, **given: Any
) -> cri.ContainerStatus:
    attempt = given.pop("attempt", 0)
    return cri.ContainerStatus(
        id=f"{name}{attempt}",
        sandbox_id="s",
        metadata=cri.ContainerMetadata(name=name, attempt=attempt),
        labels={},
        annotations={},
        state=state,
        created_at=float(attempt),
        started_at=NOW,
        finished_at=NOW if state is EXITED else 0.0,
        exit_code=code,
        **{"image": "i:1", "image_id": "sha256:1", **given},
    )


def seen(*containers: cri.ContainerStatus, ready: bool = True) -> Observed:
    return observed((sandbox(ready),), containers)


def status(made: Pod, found: Observed, **around: Any) -> PodStatus:
    return pod_status(made, found, NOW, Circumstances(host_ips=("10.244.0.1",), **around))


def condition(found: PodStatus, kind: str) -> PodCondition:
    return next(c for c in found.conditions or () if c.type == kind)


def only(found: PodStatus) -> ContainerStatus:
    (one,) = found.container_statuses or ()
    return one


# Phases

INIT = Container(name="init", image="i:1")
SIDECAR = Container(name="proxy", image="i:1", restart_policy="Always")


@pytest.mark.parametrize(
    ("policy", "containers", "terminal", "phase"),
    [
        ("Always", (), False, "Pending"),
        ("Always", (container("web", CREATED),), False, "Pending"),
        ("Always", (container("web"),), False, "Running"),
        ("Always", (container("web", EXITED, 1),), False, "Running"),
        ("Always", (container("web", EXITED, 0),), False, "Running"),
        ("OnFailure", (container("web", EXITED, 1),), False, "Running"),
        ("OnFailure", (container("web", EXITED, 0),), True, "Succeeded"),
        ("Never", (container("web", EXITED, 0),), True, "Succeeded"),
        ("Never", (container("web", EXITED, 1),), True, "Failed"),
        ("Always", (container("web", EXITED, 0),), True, "Succeeded"),
        ("Always", (container("web", EXITED, 137),), True, "Failed"),
        ("Always", (), True, "Failed"),
        ("Never", (container("web", EXITED, 0),), False, "Pending"),
    ],
)
def test_the_phase_follows_from_the_containers(
    policy: str, containers: tuple[cri.ContainerStatus, ...], terminal: bool, phase: str
) -> None:
    assert status(pod(policy=policy), seen(*containers), terminal=terminal).phase == phase


def test_a_pod_with_one_container_to_come_is_pending() -> None:
    made = pod(Container(name="a", image="i:1"), Container(name="b", image="i:1"))
    assert status(made, seen(container("a"))).phase == "Pending"


def test_a_pod_whose_init_container_failed_for_good_has_failed() -> None:
    found = status(pod(policy="Never", init=(INIT,)), seen(container("init", EXITED, 1)), terminal=True)
    assert found.phase == "Failed"


def test_a_pod_whose_init_container_is_tried_again_is_pending() -> None:
    assert status(pod(init=(INIT,)), seen(container("init", EXITED, 1))).phase == "Pending"


def test_a_terminal_phase_is_never_left() -> None:
    made = pod(status=PodStatus(phase="Failed", reason="Evicted"))
    found = status(made, seen(container()))
    assert (found.phase, found.reason) == ("Failed", "Evicted")


def test_a_terminal_phase_is_not_entered_while_something_runs() -> None:
    made = pod(status=PodStatus(phase="Running"))
    verdict = Verdict("DeadlineExceeded", "too long")
    assert status(made, seen(container()), verdict=verdict).phase == "Running"
    ended = status(made, seen(container("web", EXITED, 137)), verdict=verdict, terminal=True)
    assert (ended.phase, ended.reason, ended.message) == ("Failed", "DeadlineExceeded", "too long")


def test_a_refused_pod_says_why() -> None:
    found = rejected(pod(), Verdict("OutOfcpu", "no cpu"), NOW)
    assert (found.phase, found.reason, found.message) == ("Failed", "OutOfcpu", "Pod was rejected: no cpu")
    assert rejected(pod(status=found), Verdict("OutOfcpu", "no cpu"), NOW + 60) == found


# Conditions


def test_a_running_pod_is_ready_in_every_way() -> None:
    found = status(pod(), seen(container()))
    assert [(c.type, c.status, c.reason) for c in found.conditions or ()] == [
        ("PodReadyToStartContainers", "True", None),
        ("Initialized", "True", None),
        ("Ready", "True", None),
        ("ContainersReady", "True", None),
        ("PodScheduled", "True", None),
    ]


def test_a_pod_without_a_sandbox_is_not_ready_to_start_containers() -> None:
    assert condition(status(pod(), Observed()), "PodReadyToStartContainers").status == "False"


def test_a_pod_that_is_not_ready_names_its_containers() -> None:
    made = pod(Container(name="a", image="i:1"), Container(name="b", image="i:1"), Container(name="c", image="i:1"))
    found = condition(status(made, seen(container("b"))), "Ready")
    assert (found.status, found.reason) == ("False", "ContainersNotReady")
    assert found.message == "containers with unready status: [a c]"


def test_a_pod_that_is_not_initialized_names_its_init_containers() -> None:
    found = condition(status(pod(init=(INIT,)), seen(container("init"))), "Initialized")
    assert (found.reason, found.message) == ("ContainersNotInitialized", "containers with incomplete status: [init]")


def test_an_initialized_pod_stays_initialized_while_a_sidecar_restarts() -> None:
    found = status(pod(init=(SIDECAR,)), seen(container("proxy", EXITED, 1), container()))
    assert condition(found, "Initialized").status == "True"
    assert condition(found, "Ready").message == "containers with unready status: [proxy]"


@pytest.mark.parametrize(("code", "reason"), [(0, "PodCompleted"), (1, "PodFailed")])
def test_a_pod_at_its_end_is_not_ready(code: int, reason: str) -> None:
    found = status(pod(policy="Never"), seen(container("web", EXITED, code)), terminal=True)
    assert (condition(found, "Ready").status, condition(found, "Ready").reason) == ("False", reason)
    assert condition(found, "ContainersReady").reason == reason


def test_a_completed_pod_was_initialized() -> None:
    found = status(pod(policy="Never"), seen(container("web", EXITED)), terminal=True)
    assert condition(found, "Initialized").reason == "PodCompleted"


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (None, 'corresponding condition of pod readiness gate "example.com/x" does not exist.'),
        ("False", 'the status of pod readiness gate "example.com/x" is not "True", but False'),
    ],
)
def test_a_closed_readiness_gate_keeps_the_pod_from_being_ready(gate: str | None, message: str) -> None:
    own = (PodCondition(type="example.com/x", status=gate),) if gate else None
    made = pod(
        readiness_gates=(PodReadinessGate(condition_type="example.com/x"),),
        status=PodStatus(phase="Running", conditions=own),
    )
    found = status(made, seen(container()))
    assert (condition(found, "Ready").reason, condition(found, "Ready").message) == ("ReadinessGatesNotReady", message)
    assert condition(found, "ContainersReady").status == "True"


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    old = status(pod(), seen(container()))
    later = pod_status(pod(status=old), seen(container()), NOW + 60, Circumstances())
    assert condition(later, "Ready").last_transition_time == TIME
    unready = pod_status(pod(status=old), seen(container("web", EXITED, 1)), NOW + 60, Circumstances())
    assert condition(unready, "Ready").last_transition_time == "2026-01-01T00:01:00Z"


def test_conditions_of_others_are_kept() -> None:
    other = PodCondition(type="DisruptionTarget", status="True")
    found = status(pod(status=PodStatus(phase="Running", conditions=(other,))), seen(container()))
    assert condition(found, "DisruptionTarget") == other


def test_conditions_and_status_name_the_generation_they_are_of() -> None:
    found = status(pod(), seen(container()))
    assert found.observed_generation == 4
    assert {c.observed_generation for c in found.conditions or ()} == {4}


# Containers


def test_a_running_container() -> None:
    found = only(status(pod(), seen(container())))
    assert found.state == ContainerState(running=ContainerStateRunning(started_at=TIME))
    assert (found.ready, found.started, found.restart_count) == (True, True, 0)
    assert (found.container_id, found.image, found.image_id) == ("kybern://web0", "i:1", "sha256:1")


@pytest.mark.parametrize(("init", "reason"), [((), "ContainerCreating"), ((INIT,), "PodInitializing")])
def test_a_container_to_come(init: tuple[Container, ...], reason: str) -> None:
    found = only(status(pod(init=init), seen()))
    assert found.state and found.state.waiting and found.state.waiting.reason == reason
    assert (found.ready, found.started, found.image) == (False, False, "i:1")


@pytest.mark.parametrize(
    ("code", "given", "reason"),
    [
        (0, {}, "Completed"),
        (2, {}, "Error"),
        (137, {"reason": "OOMKilled"}, "OOMKilled"),
        (128, {"reason": "StartError"}, "StartError"),
        (127, {"reason": "ContainerCannotRun"}, "ContainerCannotRun"),
    ],
)
def test_an_ended_container(code: int, given: dict[str, str], reason: str) -> None:
    found = only(status(pod(policy="Never"), seen(container("web", EXITED, code, message="bye", **given))))
    assert found.state and found.state.terminated
    ended = found.state.terminated
    assert (ended.reason, ended.exit_code, ended.message) == (reason, code, "bye")
    assert (ended.finished_at, ended.container_id) == (TIME, "kybern://web0")


def test_a_container_in_backoff_shows_why_and_how_it_ended() -> None:
    why = Waiting("CrashLoopBackOff", "back-off 10s restarting failed container=web pod=p_default(u)", NOW + 5)
    found = only(status(pod(), seen(container("web", EXITED, 3)), waiting={"web": why}))
    assert found.state and found.state.waiting and found.state.waiting.reason == "CrashLoopBackOff"
    assert found.last_state and found.last_state.terminated and found.last_state.terminated.exit_code == 3


@pytest.mark.parametrize(
    "reason",
    ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError",
     "CreateContainerError", "RunContainerError"],
)  # fmt: skip
def test_a_container_that_could_not_be_started_shows_why(reason: str) -> None:
    memory = Memory(waiting={"web": Waiting(reason, "because", NOW + 5)})
    found = only(status(pod(), seen(), memory=memory))
    assert found.state and found.state.waiting
    assert (found.state.waiting.reason, found.state.waiting.message) == (reason, "because")


def test_a_restarted_container_shows_how_the_one_before_ended() -> None:
    found = only(status(pod(), seen(container("web", EXITED, 3), container(attempt=1))))
    assert found.restart_count == 1
    assert found.last_state and found.last_state.terminated and found.last_state.terminated.exit_code == 3


def test_a_container_that_the_runtime_lost_counts_as_ended() -> None:
    before = ContainerStatus(
        name="web", state=ContainerState(running=ContainerStateRunning()), container_id="kybern://x", restart_count=2
    )
    made = pod(status=PodStatus(phase="Running", container_statuses=(before,)))
    found = only(status(made, seen()))
    assert found.last_state and found.last_state.terminated
    assert (found.last_state.terminated.reason, found.last_state.terminated.exit_code) == (
        "ContainerStatusUnknown",
        137,
    )
    assert found.restart_count == 2


def test_the_termination_message_outlives_its_file() -> None:
    ended = ContainerStateTerminated(exit_code=1, message="last words", container_id="kybern://web0")
    before = ContainerStatus(name="web", state=ContainerState(terminated=ended), container_id="kybern://web0")
    made = pod(policy="Never", status=PodStatus(phase="Failed", container_statuses=(before,)))
    found = only(status(made, seen(container("web", EXITED, 1))))
    assert found.state and found.state.terminated and found.state.terminated.message == "last words"


@pytest.mark.parametrize(
    ("results", "started", "ready"),
    [
        (ProbeResults(), False, False),
        (ProbeResults(startup=True), True, False),
        (ProbeResults(startup=True, readiness=True), True, True),
        (ProbeResults(readiness=True), False, False),
        (ProbeResults(startup=True, readiness=False), True, False),
    ],
)
def test_probes_decide_what_has_started_and_is_ready(results: ProbeResults, started: bool, ready: bool) -> None:
    probed = Container(name="web", image="i:1", startup_probe=Probe(), readiness_probe=Probe())
    found = only(status(pod(probed), seen(container()), memory=Memory(probes={"web0": results})))
    assert (found.started, found.ready) == (started, ready)


def test_an_init_container_is_ready_once_it_has_succeeded() -> None:
    for state, code, ready in ((RUNNING, 0, False), (EXITED, 0, True), (EXITED, 1, False)):
        (found,) = status(pod(init=(INIT,)), seen(container("init", state, code))).init_container_statuses or ()
        assert found.ready is ready


# Addresses and the rest


def test_addresses_are_those_of_the_sandbox_and_the_node() -> None:
    found = status(pod(), seen(container()))
    assert (found.pod_ip, found.pod_ips) == ("10.244.0.2", (PodIP(ip="10.244.0.2"),))
    assert (found.host_ip, found.start_time) == ("10.244.0.1", TIME)


def test_a_pod_on_the_hosts_network_has_its_addresses() -> None:
    assert status(pod(host_network=True), seen(container())).pod_ip == "10.244.0.1"


def test_the_address_is_kept_when_the_sandbox_is_gone() -> None:
    old = PodStatus(phase="Running", pod_ip="10.244.0.9", pod_ips=(PodIP(ip="10.244.0.9"),))
    assert status(pod(status=old), seen(ready=False)).pod_ip == "10.244.0.9"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": Quantity("1")}}, "Burstable"),
        ({"limits": {"cpu": Quantity("1"), "memory": Quantity("1Gi")}}, "Guaranteed"),
        ({"limits": {"memory": Quantity("1Gi")}}, "Burstable"),
    ],
)
def test_the_quality_of_service_class(resources: dict[str, Any], expected: str) -> None:
    assert qos_class(pod(Container(name="a", resources=ResourceRequirements(**resources)))) == expected


# Patches


def test_an_unchanged_status_is_not_written() -> None:
    found = status(pod(), seen(container()))
    assert status_patch("u", found, found) is None


def test_a_patch_holds_what_changed_and_nothing_else() -> None:
    old = status(pod(), seen(container()))
    patch = status_patch("u", old, replace(old, message="news"))
    assert patch == {"metadata": {"uid": "u"}, "status": {"message": "news"}}


def test_a_patch_holds_only_the_conditions_that_changed() -> None:
    old = status(pod(), seen(container()))
    new = status(pod(status=old), seen(container("web", EXITED, 1)))
    patch = status_patch("u", old, new)
    assert patch is not None
    assert {c["type"] for c in patch["status"]["conditions"]} == {"Ready", "ContainersReady"}


def test_a_patch_takes_away_the_reason_of_a_condition_that_has_none_any_more() -> None:
    old = PodStatus(conditions=(PodCondition(type="Ready", status="False", reason="ContainersNotReady", message="m"),))
    patch = status_patch("u", old, PodStatus(conditions=(PodCondition(type="Ready", status="True"),)))
    assert patch is not None
    assert patch["status"]["conditions"] == [{"type": "Ready", "status": "True", "reason": None, "message": None}]


def test_a_patch_takes_away_addresses_that_are_gone() -> None:
    old = PodStatus(pod_ips=(PodIP(ip="10.0.0.1"),))
    patch = status_patch("u", old, PodStatus(pod_ips=(PodIP(ip="10.0.0.2"),)))
    assert patch is not None and patch["status"]["podIPs"] == [{"ip": "10.0.0.2"}, {"$patch": "replace"}]
