"""kubectl against a whole cluster, as people use it: what it prints is what they see."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from conftest import Cluster

pytestmark = pytest.mark.clients

WEB = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: kybern.local/host
    command: [sh, -c, "mkdir -p /tmp/w; echo hello > /tmp/w/index.html; echo started; exec python3 -u -m http.server -d /tmp/w 8080"]
    ports: [{containerPort: 8080}]
"""


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"k-{time.monotonic_ns()}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def web(cluster: Cluster, namespace: str) -> str:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=WEB)
    cluster.kubectl("wait", "-n", namespace, "pod/web", "--for=condition=Ready", "--timeout=30s")
    return namespace


def test_the_node_is_ready_and_says_what_it_is(cluster: Cluster) -> None:
    assert re.search(r"node-1\s+Ready", cluster.kubectl("get", "nodes"))
    described = cluster.kubectl("describe", "node", "node-1")
    assert "KubeletReady" in described
    assert "Kubelet Version" in described


def test_logs_can_be_tailed_and_time_stamped(cluster: Cluster, web: str) -> None:
    assert cluster.kubectl("logs", "-n", web, "web", "--tail=1000").startswith("started")
    stamped = cluster.kubectl("logs", "-n", web, "web", "--timestamps", "--limit-bytes=60")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z started", stamped)


def test_exec_passes_input_output_and_the_exit_code(cluster: Cluster, web: str) -> None:
    assert cluster.kubectl("exec", "-n", web, "web", "-i", "--", "cat", stdin="through\n") == "through\n"
    failed = subprocess.run(
        ["kubectl", "exec", "-n", web, "web", "--", "sh", "-c", "exit 7"], env=cluster.environment, check=False
    )
    assert failed.returncode == 7


def test_exec_with_a_terminal_has_one(cluster: Cluster, web: str) -> None:
    done = subprocess.run(
        ["script", "-qec", f"kubectl exec -n {web} web -it -- sh -c 'test -t 0 && echo terminal'", "/dev/null"],
        env=cluster.environment, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert "terminal" in done.stdout


def test_port_forward_reaches_the_container(cluster: Cluster, web: str) -> None:
    with subprocess.Popen(
        ["kubectl", "port-forward", "-n", web, "pod/web", ":8080"],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as forward:
        try:
            assert forward.stdout is not None
            said = forward.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", said)
            assert found, said
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert b"hello" in b"".join(iter(lambda: connection.recv(4096), b""))
        finally:
            forward.terminate()


@pytest.mark.parametrize(
    ("image", "command", "reason"),
    [
        ("127.0.0.1:1/nothing:1", "true", "ErrImagePull|ImagePullBackOff"),
        ("Not A Name", "true", "InvalidImageName"),
        ("kybern.local/host", "/no/such/program", "RunContainerError|StartError|CrashLoopBackOff"),
    ],
)
def test_what_cannot_run_says_why_and_the_rest_runs_on(
    cluster: Cluster, namespace: str, image: str, command: str, reason: str
) -> None:
    pod = f"""
apiVersion: v1
kind: Pod
metadata: {{name: broken}}
spec:
  containers: [{{name: c, image: "{image}", command: ["{command}"]}}]
"""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod)
    deadline = time.monotonic() + 20
    while not re.search(reason, seen := cluster.kubectl("get", "pod", "-n", namespace, "broken")):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    assert re.search(r"node-1\s+Ready", cluster.kubectl("get", "nodes"))


def test_a_missing_config_map_keeps_a_pod_waiting_with_the_reason(cluster: Cluster, namespace: str) -> None:
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: waiting}
spec:
  containers:
  - {name: c, image: kybern.local/host, command: [sleep, "1000"], env: [{name: A, valueFrom: {configMapKeyRef: {name: absent, key: a}}}]}
"""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod)
    deadline = time.monotonic() + 20
    while "CreateContainerConfigError" not in (seen := cluster.kubectl("get", "pod", "-n", namespace, "waiting")):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    assert 'configmap "absent" not found' in cluster.kubectl("describe", "pod", "-n", namespace, "waiting")


def test_a_strict_apply_refuses_an_unknown_field(cluster: Cluster, namespace: str) -> None:
    bad = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\nspc: {}\n"
    done = subprocess.run(
        ["kubectl", "apply", "-n", namespace, "--server-side", "-f", "-"],
        env=cluster.environment, input=bad, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "spc" in done.stderr
