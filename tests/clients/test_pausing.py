"""A pod that allows it is frozen, with its real processes, for a more important one, and thawed afterwards."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PROJECT, Cluster

pytestmark = pytest.mark.linux

WAIT_SECONDS = 60.0


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.2)


def state_of(command: str) -> str:
    """Of the freezer of the process with this command line: frozen or thawed; empty where there is no such process."""
    for found in Path("/proc").glob("[0-9]*"):
        try:
            if command.encode() not in (found / "cmdline").read_bytes() or found.name == str(os.getpid()):
                continue
            for line in (found / "cgroup").read_text().splitlines():
                _, kinds, path = line.split(":", 2)
                if kinds == "freezer":
                    return Path(f"/sys/fs/cgroup/freezer{path}/freezer.state").read_text().strip().lower()
                if kinds == "" and Path(f"/sys/fs/cgroup{path}/cgroup.events").exists():
                    events = Path(f"/sys/fs/cgroup{path}/cgroup.events").read_text()
                    return "frozen" if "frozen 1" in events else "thawed"
        except OSError:
            continue  # it has ended
    return ""


def test_a_pod_is_frozen_for_a_more_important_one_and_goes_on_afterwards(cluster: Cluster) -> None:
    node = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"][0]
    cpus = float(node["status"]["allocatable"]["cpu"].rstrip("m"))
    each = f"{int(cpus * (600 if not node['status']['allocatable']['cpu'].endswith('m') else 0.6))}m"
    text = (PROJECT / "examples/07-pausing/pausing.yaml").read_text()
    cluster.kubectl(
        "apply", "-f", "-", stdin=text.replace('cpu: "1"', f"cpu: {each}").replace("while :;", "while sleep 977;")
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/batch", "--timeout=60s")
    try:
        until(lambda: state_of("sleep\x00977") == "thawed")
        urgent = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "urgent"},
            "spec": {
                "priorityClassName": "urgent", "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": "kybern.local/host", "command": ["sleep", "600"],
                                "resources": {"requests": {"cpu": each}}}],
            },
        }  # fmt: skip
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(urgent))
        cluster.kubectl("wait", "--for=condition=Ready", "pod/urgent", "--timeout=60s")
        until(lambda: state_of("sleep\x00977") == "frozen")
        cluster.kubectl("wait", "--for=condition=Ready=false", "pod/batch", "--timeout=60s")
        cluster.kubectl("delete", "pod", "urgent", "--wait=true")
        until(lambda: state_of("sleep\x00977") == "thawed")
        cluster.kubectl("wait", "--for=condition=Ready", "pod/batch", "--timeout=60s")
        restarts = json.loads(cluster.kubectl("get", "pod", "batch", "-o", "json"))["status"]["containerStatuses"][0]
        assert restarts["restartCount"] == 0
    finally:
        cluster.kubectl("delete", "pod", "batch", "urgent", "--ignore-not-found", "--now", check=False)
        cluster.kubectl("delete", "priorityclass", "urgent", check=False)
