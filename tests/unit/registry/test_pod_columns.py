from typing import Any

import pytest

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod
from kybern.registry.pods import PODS

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
READY = {"type": "Ready", "status": "True"}
RUNNING = {"running": {"startedAt": "2025-12-31T23:00:00Z"}}


def container(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "i", "imageID": "", "ready": False, "restartCount": 0, **fields}


def row(status: Any = None, metadata: Any = None, **spec: Any) -> dict[str, Any]:
    spec.setdefault("containers", [{"name": "a", "image": "i"}])
    meta = {"name": "web", "creationTimestamp": "2025-12-31T23:55:00Z", **(metadata or {})}
    pod = from_builtins(Pod, {"metadata": meta, "spec": spec, "status": {"phase": "Pending", **(status or {})}})
    return {column.name: column.cell(pod, NOW) for column in PODS.columns}


def test_a_running_pod() -> None:
    status = {
        "phase": "Running", "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}], "conditions": [READY],
        "containerStatuses": [container(ready=True, state=RUNNING)],
    }  # fmt: skip
    assert row(status, nodeName="n1") == {
        "Name": "web", "Ready": "1/1", "Status": "Running", "Restarts": "0", "Age": "5m", "IP": "10.244.0.5",
        "Node": "n1", "Nominated Node": "<none>", "Readiness Gates": "<none>",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"containerStatuses": [container(state={"waiting": {"reason": "ContainerCreating"}})]}, "ContainerCreating"),
        ({"containerStatuses": [container(state={"waiting": {"reason": "ImagePullBackOff"}})]}, "ImagePullBackOff"),
        (
            {"phase": "Running", "containerStatuses": [container(state={"waiting": {"reason": "CrashLoopBackOff"}})]},
            "CrashLoopBackOff",
        ),
        (
            {"containerStatuses": [container(state={"terminated": {"exitCode": 0, "reason": "Completed"}})]},
            "Completed",
        ),
        ({"containerStatuses": [container(state={"terminated": {"exitCode": 3}})]}, "ExitCode:3"),
        ({"containerStatuses": [container(state={"terminated": {"exitCode": 137, "signal": 9}})]}, "Signal:9"),
        ({"containerStatuses": [container(state={"terminated": {"exitCode": 1, "reason": "OOMKilled"}})]}, "OOMKilled"),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}, "SchedulingGated"),
    ],
)
def test_the_container_in_trouble_speaks_for_the_pod(status: dict[str, Any], word: str) -> None:
    assert row(status)["Status"] == word


@pytest.mark.parametrize(
    ("init", "word"),
    [
        ([container("x", state={"running": {}})], "Init:0/2"),
        ([container("x", state={"waiting": {"reason": "PodInitializing"}})], "Init:0/2"),
        ([container("x", state={"waiting": {"reason": "CrashLoopBackOff"}})], "Init:CrashLoopBackOff"),
        ([container("x", state={"terminated": {"exitCode": 2}})], "Init:ExitCode:2"),
        ([container("x", state={"terminated": {"exitCode": 1, "signal": 15}})], "Init:Signal:15"),
        ([container("x", state={"terminated": {"exitCode": 1, "reason": "Error"}})], "Init:Error"),
        (
            [container("x", state={"terminated": {"exitCode": 0}}), container("y", state={"running": {}})],
            "Init:1/2",
        ),
    ],
)
def test_init_containers_hold_the_pod_up(init: list[Any], word: str) -> None:
    spec = {"initContainers": [{"name": "x", "image": "i"}, {"name": "y", "image": "i"}]}
    waiting = [container(state={"waiting": {"reason": "PodInitializing"}})]
    assert row({"initContainerStatuses": init, "containerStatuses": waiting}, **spec)["Status"] == word


def test_a_pod_whose_init_containers_are_done_is_initializing_its_main_ones() -> None:
    status = {
        "initContainerStatuses": [container("x", state={"terminated": {"exitCode": 0}})],
        "containerStatuses": [container(state={"waiting": {"reason": "PodInitializing"}})],
    }
    assert row(status, initContainers=[{"name": "x", "image": "i"}])["Status"] == "PodInitializing"


def test_a_sidecar_counts_among_the_ready() -> None:
    status = {
        "phase": "Running",
        "initContainerStatuses": [container("s", ready=True, started=True, state=RUNNING)],
        "containerStatuses": [container(ready=True, state=RUNNING)],
    }
    found = row(status, initContainers=[{"name": "s", "image": "i", "restartPolicy": "Always"}])
    assert (found["Ready"], found["Status"]) == ("2/2", "Running")


def test_restarts_say_when_the_last_one_was() -> None:
    last = {"terminated": {"exitCode": 1, "finishedAt": "2025-12-31T23:54:28Z"}}
    found = row({"containerStatuses": [container(restartCount=3, lastState=last, ready=True, state=RUNNING)]})
    assert found["Restarts"] == "3 (5m32s ago)"


def test_one_ended_container_does_not_make_a_running_pod_completed() -> None:
    done = container("b", state={"terminated": {"exitCode": 0, "reason": "Completed"}})
    alive = container("a", ready=True, state=RUNNING)
    spec = {"containers": [{"name": "b", "image": "i"}, {"name": "a", "image": "i"}]}
    assert row({"containerStatuses": [done, alive]}, **spec)["Status"] == "NotReady"
    assert row({"containerStatuses": [done, alive], "conditions": [READY]}, **spec)["Status"] == "Running"


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"phase": "Running"}, "Terminating"),
        ({"phase": "Running", "reason": "NodeLost"}, "Unknown"),
        ({"phase": "Succeeded"}, "Succeeded"),
    ],
)
def test_a_pod_that_is_being_deleted(status: dict[str, Any], word: str) -> None:
    assert row(status, {"deletionTimestamp": "2025-12-31T23:59:00Z"})["Status"] == word


def test_readiness_gates_are_counted() -> None:
    status = {"conditions": [{"type": "a/b", "status": "True"}]}
    found = row(status, readinessGates=[{"conditionType": "a/b"}, {"conditionType": "c/d"}])
    assert found["Readiness Gates"] == "1/2"
