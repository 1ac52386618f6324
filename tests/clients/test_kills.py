"""Goal: a node whose agent is killed again and again, or whose machine is reset, goes on as if nothing had happened.

Method: a real cluster. Kills fall at random moments among pods that come and go and need something of everything that a
node makes; a reset is what it takes from a machine: every process, mount, namespace, link, table and cgroup, and /run.
`make soak` does both at length: KILLS, RESETS and PODS say how often, and among how many pods that stay.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inventory
import pytest
from chroots import in_a_chroot
from conftest import Cluster, until

from kybern.linux import cgroup_detect, mounts, nft
from kybern.linux.netlink import Netlink
from kybern.runtime.cleanup import remove_group

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]

KILLS = int(os.environ.get("KILLS") or 4)
RESETS = int(os.environ.get("RESETS") or 1)
PODS = int(os.environ.get("PODS") or 4)
KILLS_OF_A_ROUND = 4  # after which the supervisor is killed too, and forgets how long it makes who dies wait
RUNNING_SECONDS = float(
    os.environ.get("RUNNING_SECONDS") or 30
)  # what a node has to run everything again; more where others use it
KEPT_OF_PODS = ("pods", "pod-logs", "runtime/containers", "runtime/sandboxes")
STEADY = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: steady}}
spec:
  replicas: {PODS - 1}
  selector: {{matchLabels: {{app: steady}}}}
  template:
    metadata: {{labels: {{app: steady}}}}
    spec:
      terminationGracePeriodSeconds: 0
      volumes:
      - {{name: disk, emptyDir: {{}}}}
      - {{name: memory, emptyDir: {{medium: Memory}}}}
      containers:
      - name: c
        image: kybern.local/host
        command: [sh, -c, "for v in disk memory; do echo x >> /$v/starts; wc -l < /$v/starts; done; exec sleep 100000"]
        volumeMounts: [{{name: disk, mountPath: /disk}}, {{name: memory, mountPath: /memory}}]
"""
ON_THE_NODE = """
apiVersion: v1
kind: Pod
metadata: {name: of-the-node, namespace: default, labels: {app: steady}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: kybern.local/host, command: [sleep, "100000"]}]
"""


@pytest.fixture(scope="module")
def own(make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    made = make_cluster()
    made.kybern("up", "--port", str(made.port), "--node-name", "killed-1")
    made.kubectl("apply", "-f", "-", stdin=STEADY)
    (made.data_dir / "manifests").mkdir(exist_ok=True)
    (made.data_dir / "manifests" / "of-the-node.yaml").write_text(ON_THE_NODE)
    until(lambda: len(ready(made)) == PODS)
    yield made
    made.kybern("reset", check=False)


@pytest.fixture
def steady(own: Cluster) -> Iterator[dict[str, tuple[str, int]]]:
    """What runs and is to run on; whatever a test added goes with it."""
    yield ready(own)
    own.kubectl("delete", "pod", "-l", "churn", "--force", "--grace-period=0", check=False)


def pods_of(cluster: Cluster, label: str) -> list[Any]:
    found: list[Any] = json.loads(cluster.kubectl("get", "pods", "-l", label, "-o", "json"))["items"]
    return found


def is_ready(pod: Any) -> bool:
    ready = {"type": "Ready", "status": "True"}.items()
    return any(ready <= condition.items() for condition in pod["status"].get("conditions", ()))


def ready(cluster: Cluster) -> dict[str, tuple[str, int]]:
    """Pod → (container id, restarts), of the steady ones that are ready."""
    return {
        pod["metadata"]["name"]: (status["containerID"], status["restartCount"])
        for pod in pods_of(cluster, "app=steady")
        for status in pod["status"].get("containerStatuses", ())
        if is_ready(pod)
    }


def holdings(cluster: Cluster) -> dict[str, int]:
    """How much there is of everything that a node makes for pods."""
    data, ident = cluster.names()
    found = {place: len(os.listdir(cluster.data_dir / place)) for place in KEPT_OF_PODS}
    points = [point.path for point in mounts.mount_points()]
    return found | {
        "links": len(cluster.pod_links()),
        "cgroups": len([path for path in inventory.cgroups("/sys/fs/cgroup") if f"/kybern-{ident}/" in f"{path}/"]),
        "mounts": len([path for path in points if path.startswith((data, f"/run/kybern/{ident}"))]),
        "addresses": len(list(Path(f"/run/kybern/{ident}/addresses").glob("*/*"))),
        "namespaces": len(os.listdir(f"/run/kybern/{ident}/sandboxes")),
    }


def surprises(cluster: Cluster) -> dict[str, str]:
    """By the log of the process: what it met that nobody thought of."""
    logs = {path.name: path.read_text() for path in (cluster.data_dir / "logs").iterdir()}
    return {name: text[text.index("Traceback") :][:5000] for name, text in logs.items() if "Traceback" in text}


def until_equal(look: Callable[[], dict[str, int]], wanted: dict[str, int], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while look() != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert look() == wanted


def churning(number: int) -> str:
    """Pods with something of everything that a node makes for one."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: churn-{number}, labels: {{churn: "yes"}}}}
spec:
  terminationGracePeriodSeconds: 1
  hostUsers: {str(bool(number % 2) or in_a_chroot()).lower()}
  shareProcessNamespace: {str(number % 4 == 0).lower()}
  volumes:
  - {{name: memory, emptyDir: {{medium: Memory}}}}
  - {{name: disk, emptyDir: {{}}}}
  initContainers:
  - {{name: first, image: kybern.local/host, command: ["true"]}}
  containers:
  - name: c
    image: kybern.local/host
    command: [sleep, "1000"]
    lifecycle: {{postStart: {{exec: {{command: ["true"]}}}}}}
    livenessProbe: {{exec: {{command: ["true"]}}, periodSeconds: 1}}
    volumeMounts: [{{name: memory, mountPath: /m}}, {{name: disk, mountPath: /d, subPath: a}}]
---"""


def kill_among_churn(own: Cluster, chance: random.Random, kills: int) -> None:
    pod = next(iter(ready(own)))
    for first in range(0, 4 * kills, 4):
        own.kubectl("apply", "-f", "-", stdin="".join(map(churning, range(first, first + 4))))
        gone = [f"pod/churn-{number}" for number in range(first - 4, first - 2) if number >= 0]
        own.kubectl("delete", "--wait=false", "--ignore-not-found", *(gone or ["pod/none"]))
        until(lambda: own.processes()["node"] != 0)
        with subprocess.Popen(
            ["kubectl", "exec", pod, "--", "sleep", "0.3"], env=own.environment, stderr=subprocess.DEVNULL
        ):  # it breaks off, or does not
            time.sleep(chance.uniform(0, 0.6))
            os.kill(own.processes()["node"], signal.SIGKILL)


def settle(own: Cluster) -> None:
    """Everything that was to come has come, for the first time."""
    until(lambda: own.kybern("status", check=False).returncode == 0)
    until(lambda: all(is_ready(p) for p in pods_of(own, "churn") if "deletionTimestamp" not in p["metadata"]))
    statuses = [status for pod in pods_of(own, "churn") for status in pod["status"].get("containerStatuses", ())]
    assert {status["restartCount"] for status in statuses} == {0}, statuses


def test_the_nodes_agent_may_be_killed_while_pods_come_and_go(own: Cluster, steady: dict[str, tuple[str, int]]) -> None:
    chance, held = random.Random(11), holdings(own)
    for done in range(0, KILLS, KILLS_OF_A_ROUND):
        kill_among_churn(own, chance, min(KILLS_OF_A_ROUND, KILLS - done))
        settle(own)
        if done + KILLS_OF_A_ROUND < KILLS:
            kill_all(own)
            own.kybern("up")
        own.kubectl("delete", "pod", "-l", "churn", "--timeout=60s")
        assert ready(own) == steady
        assert surprises(own) == {}
        until_equal(lambda: holdings(own), held)


def test_after_a_machine_was_reset_its_pods_run_again_with_what_was_on_disk(
    own: Cluster, steady: dict[str, tuple[str, int]]
) -> None:
    held = holdings(own)
    never = "kubectl run never --image=kybern.local/host --restart=Never --labels=churn=yes --command -- sleep 1000"
    own.kubectl(*never.split()[1:])
    own.kubectl("wait", "pod/never", "--for=condition=Ready", "--timeout=20s")
    named = next(name for name in steady if name.startswith("steady"))
    starts = len(own.kubectl("logs", named).split()) // 2
    for number in range(1, RESETS + 1):
        names = (*own.names(), *own.pod_links())
        reset(own)
        assert inventory.look().of(*names) == {}
        own.kybern("up")
        again = {name: restarts + number for name, (_, restarts) in steady.items()}
        until_equal(lambda: {name: restarts for name, (_, restarts) in ready(own).items()}, again, RUNNING_SECONDS)
        assert own.kubectl("logs", named).split() == [str(starts + number), "1"]
    assert surprises(own) == {}
    assert own.kubectl("get", "pod/never", "-o", "jsonpath={.status.phase}") == "Failed"
    own.kubectl("delete", "pod/never")
    until_equal(lambda: holdings(own), held | dict.fromkeys(("runtime/containers", "runtime/sandboxes"), 2 * PODS))


def kill_all(own: Cluster) -> None:
    """The supervisor, and with it every process of the cluster's own; containers run on."""
    found = own.supervised()
    for pid in (found["pid"], *(program["pid"] for program in found["programs"])):
        try:
            os.kill(pid or found["pid"], signal.SIGKILL)
        except ProcessLookupError:
            pass  # it went down with the supervisor


def reset(own: Cluster) -> None:
    """What a reset takes from a machine. What it leaves: the disk."""
    data, ident = own.names()
    kill_all(own)
    remove_group(cgroup_detect.detect(), f"/kybern-{ident}")
    for directory in (data, f"/run/kybern/{ident}"):
        mounts.unmount_beneath(directory)
    shutil.rmtree(f"/run/kybern/{ident}")
    for line in inventory.output("nft", "list", "tables").splitlines():
        _, family, table = line.split()
        if ident in table:
            nft.delete_table(family, table)
    with Netlink() as links:
        for link in json.loads(inventory.output("ip", "-j", "link")):
            if ident in link["ifname"]:
                links.delete_link(link["ifname"])
