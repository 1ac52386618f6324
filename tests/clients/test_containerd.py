"""A whole cluster whose containers containerd runs: example 01-web on it, seen by kubectl."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import inventory
import pytest
from conftest import KYBERN, PROJECT, Cluster, run, until
from containerd import PATH, containerd, there

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(not there(), reason="apt-get install -y containerd runc"),
]


@pytest.fixture(scope="module")
def made(make_cluster: Callable[[], Cluster], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    base = tmp_path_factory.mktemp("containerd")
    with containerd(base) as target:
        cluster = make_cluster()
        url = target.replace("unix:", "containerd:")
        cluster.kybern("up", "--port", str(cluster.port), "--node-name", "n", "--runtime", url)
        try:
            yield cluster
        finally:
            names = cluster.names()
            cluster.kybern("reset")
            assert tasks(base) == [], "nothing of the cluster stays in containerd"
            assert inventory.look().of(*names) == {}
            assert list((base / "net.d").iterdir()) == list((base / "bin").iterdir()) == []


def tasks(base: Path) -> list[str]:
    command = ["ctr", "--address", str(base / "containerd.sock"), "--namespace", "k8s.io", "containers", "ls", "-q"]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": PATH}).stdout.split()


def test_the_web_example_runs_in_containerd(made: Cluster) -> None:
    version = made.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}")
    assert version.startswith("containerd://1.")
    for name in ("configmap", "deployment"):
        made.kubectl("apply", "-f", str(PROJECT / "examples" / "01-web" / f"{name}.yaml"))
    made.kubectl(
        "expose", "deployment", "web", "--port=80", "--target-port=http"
    )  # its node port may be another cluster's
    made.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    pods = made.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.phase}").split()
    assert pods == ["Running"] * 3
    address = made.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
        assert answer.read() == b"Hello from kybern.\n"


def test_exec_logs_and_port_forward_reach_it(made: Cluster) -> None:
    code = "import urllib.request as u; print(u.urlopen('http://web/', timeout=5).read().decode())"
    assert made.kubectl("exec", "deploy/web", "--", "python3", "-c", code).strip() == "Hello from kybern."
    assert made.kubectl("exec", "-i", "deploy/web", "--", "cat", stdin="through") == "through"
    ended = run(["kubectl", "exec", "deploy/web", "--", "sh", "-c", "exit 7"], made.environment, check=False)
    assert ended.returncode == 7
    until(lambda: '"GET / HTTP/1.1" 200' in made.kubectl("logs", "-l", "app=web", "--tail=-1"), 20)
    command = ["kubectl", "port-forward", "deploy/web", ":8080"]
    with subprocess.Popen(command, env=made.environment, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        port = forward.stdout.readline().split(" -> ")[0].rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.read() == b"Hello from kybern.\n"
        forward.terminate()


def test_a_policy_holds_for_its_pods(made: Cluster) -> None:
    deny = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "closed"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    made.kubectl("apply", "-f", "-", stdin=json.dumps(deny))
    code = "import urllib.request as u; u.urlopen('http://web/', timeout=1)"

    def refused() -> bool:
        command = ["kubectl", "exec", "deploy/web", "--", "python3", "-c", code]
        return run(command, made.environment, check=False).returncode != 0

    until(refused, 20)
    made.kubectl("delete", "networkpolicy", "closed")


def test_an_image_that_is_built_here_runs_there(made: Cluster, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM scratch\nCOPY --from=kybern.local/host /usr/bin/busybox /busybox\n"
        'RUN ["/busybox", "sh", "-c", "echo built > /said"]\nCMD ["/busybox", "cat", "/said"]\n'
    )
    command = [*KYBERN, "image", "build", "--data-dir", str(made.data_dir), "-t", "mine:1", str(tmp_path)]
    run(command, made.environment)
    made.kubectl("run", "mine", "--image=mine:1", "--image-pull-policy=IfNotPresent", "--restart=Never")
    until(lambda: made.kubectl("logs", "mine", check=False) == "built\n", 40)


def test_the_agents_restart_restarts_no_container(made: Cluster) -> None:
    started = "jsonpath={.items[*].status.containerStatuses[*].containerID}"
    before = made.kubectl("get", "pods", "-l", "app=web", "-o", started)
    made.kill("node")
    code = made.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
    until(lambda: run(["kubectl", "exec", code, "--", "true"], made.environment, check=False).returncode == 0, 40)
    assert made.kubectl("get", "pods", "-l", "app=web", "-o", started) == before
    restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}"
    assert made.kubectl("get", "pods", "-l", "app=web", "-o", restarts).split() == ["0"] * 3
