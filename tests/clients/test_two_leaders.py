"""Goal: when a control process is stopped for longer than its lease and then goes on, nothing is doubled, lost or undone.

Method: two real control processes with short leases beside the cluster's own, which stands still. Whoever leads is stopped
(SIGSTOP) until the other one leads, among changes to everything that controllers make, and then goes on with what it
believed. `make soak` does it 100 times (PAUSES).
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import PROJECT, Cluster, until

pytestmark = pytest.mark.clients

PAUSES = int(os.environ.get("PAUSES") or 1)
LEASE = "kube-controller-manager"
CONTROL = """
import sys
from pathlib import Path
from kybern.client.leases import Terms
from kybern.cmd import config, control
control.TERMS = Terms(duration_seconds=2.0, renew_deadline_seconds=1.4, retry_seconds=0.2)
control.identity = lambda cluster: sys.argv[2]
control.main(config.saved(Path(sys.argv[1])))
"""
WORKLOADS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: example.test/web:0}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: example.test/db:0}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {{name: job-{}, labels: {{kind: once}}}}
spec:
  completions: 3
  parallelism: 3
  template:
    metadata: {{labels: {{kind: once}}}}
    spec: {{restartPolicy: Never, containers: [{{name: main, image: example.test/job:0}}]}}
"""


class Candidates:
    """Control processes of the test's own, by name; one that ends, since it lost its lease, is started again."""

    def __init__(self, cluster: Cluster, names: tuple[str, ...]) -> None:
        self.cluster = cluster
        self.running = {name: self.start(name) for name in names}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CONTROL, str(self.cluster.data_dir), name]
        return subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL)

    def until(self, holds: Callable[[], bool]) -> None:
        """As the supervisor would, they are started again meanwhile: on a busy machine leases this short are lost."""

        def look() -> bool:
            for name, process in self.running.items():
                if process.poll() is not None:
                    self.running[name] = self.start(name)
            return holds()

        until(look)

    def leader(self) -> str:
        """Empty where it is none of these."""
        lease = json.loads(self.cluster.kubectl("get", "lease", LEASE, "-n", "kube-system", "-o", "json"))
        holder = lease["spec"].get("holderIdentity", "")
        return holder if holder in self.running else ""

    def stop(self) -> tuple[str, subprocess.Popen[bytes]]:
        """Whoever leads; not one that ended just now, whose successor of the same name would go on leading."""
        while True:
            self.until(lambda: self.leader() != "")
            leader = self.leader()
            if leader in self.running and (process := self.running[leader]).poll() is None:
                process.send_signal(signal.SIGSTOP)
                if process.poll() is None:
                    return leader, process

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()


@pytest.fixture
def own(make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    made = make_cluster()
    made.kybern("up", "--simulated", "--port", str(made.port), "--node-name", "simulated-1")
    made.kubectl("apply", "-f", "-", stdin=WORKLOADS)
    made.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    control = made.processes()["control"]
    os.kill(control, signal.SIGSTOP)
    yield made
    os.kill(control, signal.SIGCONT)
    made.kybern("reset", check=False)


@pytest.fixture
def candidates(own: Cluster) -> Iterator[Candidates]:
    made = Candidates(own, ("first", "second"))
    yield made
    made.end()


def change(own: Cluster, number: int, replicas: int) -> None:
    container = {"name": "main", "image": f"example.test/web:{number}"}
    template = {"spec": {"containers": [container]}}
    patch = {"spec": {"replicas": replicas, "template": template}}
    own.kubectl("patch", "deploy/web", "-p", json.dumps(patch))
    own.kubectl("scale", "statefulset/db", f"--replicas={1 + number % 4}")
    own.kubectl("apply", "-f", "-", stdin=JOB.format(number))


def items(own: Cluster, kind: str, label: str) -> list[Any]:
    found: list[Any] = json.loads(own.kubectl("get", kind, "-l", label, "-o", "json"))["items"]
    return found


def is_as_asked(own: Cluster, number: int, replicas: int) -> bool:
    """Just what was asked for, and no more."""
    pods = [pod for pod in items(own, "pods", "app=web") if "deletionTimestamp" not in pod["metadata"]]
    return (
        [pod["spec"]["containers"][0]["image"] for pod in pods] == [f"example.test/web:{number}"] * replicas
        and {pod["metadata"]["name"] for pod in items(own, "pods", "app=db")}
        == {f"db-{n}" for n in range(1 + number % 4)}
        and len(items(own, "pods", "kind=once")) == 3
    )


def stop_the_leader(own: Cluster, candidates: Candidates, number: int, chance: random.Random) -> None:
    """In the middle of a change; until another one leads, and a little longer."""
    candidates.until(lambda: candidates.leader() != "")
    replicas = chance.randrange(1, 7)
    change(own, number, replicas)
    time.sleep(chance.uniform(0, 0.3))
    leader, stopped = candidates.stop()
    candidates.until(lambda: candidates.leader() not in ("", leader))
    time.sleep(chance.uniform(0, 0.3))
    stopped.send_signal(signal.SIGCONT)
    candidates.until(lambda: is_as_asked(own, number, replicas))


def test_a_leader_that_was_stopped_for_longer_than_its_lease_does_no_harm(own: Cluster, candidates: Candidates) -> None:
    chance = random.Random(5)
    for number in range(1, PAUSES + 1):
        stop_the_leader(own, candidates, number, chance)
        own.kubectl("delete", f"job/job-{number}")
        candidates.until(lambda: not items(own, "pods", "kind=once"))
        sets = items(own, "replicasets", "app=web")
        assert len({found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for found in sets}) == len(
            sets
        )
