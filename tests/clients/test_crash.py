"""Any process may be killed at any moment: it is started again, containers never notice, and nothing is left at the end."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import inventory
import pytest
from conftest import KYBERN, Cluster, run, until

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]

PODS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: steady}
spec:
  replicas: 3
  selector: {matchLabels: {app: steady}}
  template:
    metadata: {labels: {app: steady}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: kybern.local/host
        command: [sh, -c, "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.1; done"]
"""


@pytest.fixture(scope="module")
def own(make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    made = make_cluster()
    made.kybern("up", "--port", str(made.port), "--node-name", "crash-1")
    made.kubectl("apply", "-f", "-", stdin=PODS)
    made.kubectl("rollout", "status", "deploy/steady", "--timeout=60s")
    yield made
    made.kybern("reset", check=False)


def containers(cluster: Cluster) -> dict[str, tuple[str, int, bool]]:
    """Pod → (container id, restarts, ready)."""
    pods: list[Any] = json.loads(cluster.kubectl("get", "pods", "-o", "json"))["items"]
    return {
        pod["metadata"]["name"]: (status["containerID"], status["restartCount"], status["ready"])
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }


def runs(pid: int) -> bool:
    """One that has ended and that nobody has asked for yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as about:
            return about.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("name", ["server", "control", "node", "warden"])
def test_a_killed_process_starts_again_and_no_container_restarts(own: Cluster, name: str) -> None:
    running = containers(own)
    assert len(running) == 3
    pid = own.processes()[name]
    os.kill(pid, signal.SIGKILL)
    until(lambda: own.processes()[name] not in (0, pid))
    until(lambda: own.kybern("status", check=False).returncode == 0)
    assert containers(own) == running


def test_logs_go_on_after_the_warden_was_killed(own: Cluster) -> None:
    pod = next(iter(containers(own)))
    pid = own.processes()["warden"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: own.processes()["warden"] not in (0, pid))

    def last() -> int:
        return int(own.kubectl("logs", pod, "--tail=1").split()[-1])

    first = last()
    until(lambda: last() > first + 5)


def test_up_again_says_that_it_is_up(own: Cluster) -> None:
    assert "is up already" in own.kybern("up").stderr


def test_a_second_cluster_runs_beside(own: Cluster, make_cluster: Callable[[], Cluster]) -> None:
    other = make_cluster()
    other.kybern("up", "--port", str(other.port), "--node-name", "other-1")
    other.kubectl("run", "p", "--image=kybern.local/host", "--restart=Never", "--command", "--", "sleep", "1000")
    other.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
    assert "No resources" not in own.kubectl("get", "pods")
    assert other.kubectl("get", "pods", "-o", "name").split() == ["pod/p"]
    other.kybern("reset")
    assert len(containers(own)) == 3


def test_a_busy_port_is_one_clear_line(own: Cluster, make_cluster: Callable[[], Cluster]) -> None:
    other = make_cluster()
    refused = other.kybern("up", "--port", str(own.port), check=False)
    assert refused.returncode == 1
    assert "another program uses it" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_killed_supervisor_takes_its_processes_along_and_up_finds_the_containers(own: Cluster) -> None:
    running = containers(own)
    found = own.supervised()
    pids = [program["pid"] for program in found["programs"]]
    os.kill(found["pid"], signal.SIGKILL)
    until(lambda: not any(map(runs, pids)))
    own.kybern("up")
    until(lambda: all(ready for _, _, ready in containers(own).values()))
    assert {name: ident for name, (ident, _, _) in containers(own).items()} == {
        name: ident for name, (ident, _, _) in running.items()
    }


def test_down_leaves_nothing_behind_and_up_brings_everything_back(own: Cluster) -> None:
    names = (*own.names(), *own.pod_links())
    own.kybern("down")
    assert inventory.look().of(*names) == {}
    own.kybern("up")
    until(lambda: len(containers(own)) == 3 and all(ready for _, _, ready in containers(own).values()), 60)


def test_down_after_everything_was_killed_leaves_nothing_behind(own: Cluster) -> None:
    names, pids = (*own.names(), *own.pod_links()), own.processes()
    found = own.supervised()
    os.kill(found["pid"], signal.SIGKILL)
    for pid in pids.values():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it went down with the supervisor
    own.kybern("down")
    assert inventory.look().of(*names) == {}


def test_a_foreground_cluster_ends_with_ctrl_c(make_cluster: Callable[[], Cluster]) -> None:
    made = make_cluster()
    command = [*KYBERN, "up", "--foreground", "--data-dir", str(made.data_dir), "--port", str(made.port)]
    with subprocess.Popen(command, env=made.environment, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: made.kubeconfig.exists() and run(
            ["kubectl", "get", "--raw", "/readyz"], made.environment, check=False).returncode == 0)  # fmt: skip
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert inventory.look().of(*made.names()) == {}
