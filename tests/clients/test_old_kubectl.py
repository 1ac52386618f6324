"""kubectl 1.20, which Debian 12 ships: it validates by the protobuf form of OpenAPI v2 and merges on its own side."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Cluster
from old_kubectl import fetched

pytestmark = pytest.mark.clients

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: kybern.local/host, command: [sleep, "1000"], ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: page, labels: {app: web}}
data: {index: hello}
"""

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def program() -> Path:
    found = fetched()
    said = subprocess.run([found, "version", "--client", "--short"], capture_output=True, text=True, check=False)
    if "v1.20." not in said.stdout:
        pytest.skip(f"Debian gives another kubectl here: {(said.stdout or said.stderr).strip()}")
    return found


@pytest.fixture
def kubectl(cluster: Cluster, program: Path) -> Iterator[Kubectl]:
    """In a namespace of its own, with a cache of its own."""
    namespace = f"old-{time.monotonic_ns()}"
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(cluster.data_dir)}

    def run(*args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(program), "-n", namespace, *args]
        done = subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, timeout=90, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(args)}\n{done.stdout}\n{done.stderr}"
        return done

    run("create", "namespace", namespace)
    yield run
    run("delete", "namespace", namespace, "--wait=false")


def apply(kubectl: Kubectl, text: str = WEB) -> list[str]:
    return kubectl("apply", "-f", "-", stdin=text).stdout.splitlines()


def test_it_tells_the_version_of_the_server(kubectl: Kubectl) -> None:
    assert 'Server Version: version.Info{Major:"1", Minor:"37"' in kubectl("version").stdout


def test_get_prints_the_columns_of_the_server(kubectl: Kubectl) -> None:
    apply(kubectl)
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    head, row = kubectl("get", "pods", "-o", "wide").stdout.splitlines()
    assert head.split()[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert row.split()[1:4] == ["1/1", "Running", "0"]
    assert kubectl("get", "deploy,cm", "-l", "app=web", "-o", "name").stdout.split() == [
        "deployment.apps/web",
        "configmap/page",
    ]


def test_apply_again_changes_nothing_and_a_change_is_seen(kubectl: Kubectl) -> None:
    assert apply(kubectl) == ["deployment.apps/web created", "configmap/page created"]
    assert apply(kubectl) == ["deployment.apps/web unchanged", "configmap/page unchanged"]
    changed = WEB.replace("hello", "hello again")
    diff = kubectl("diff", "-f", "-", stdin=changed, check=False)
    assert (diff.returncode, "+  index: hello again" in diff.stdout) == (1, True)
    assert apply(kubectl, changed) == ["deployment.apps/web unchanged", "configmap/page configured"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("replicaz: 1", 'unknown field "replicaz" in io.k8s.api.apps.v1.DeploymentSpec'),
        ('replicas: "x"', 'replicas: got "string", expected "integer"'),
    ],
)
def test_apply_finds_what_the_schema_forbids_before_it_sends(kubectl: Kubectl, wrong: str, said: str) -> None:
    done = kubectl("apply", "-f", "-", stdin=WEB.replace("replicas: 1", wrong), check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert kubectl("get", "deploy", "-o", "name").stdout == ""


def test_explain_shows_the_fields_below(kubectl: Kubectl) -> None:
    said = kubectl("explain", "deployment.spec.strategy", "--recursive").stdout
    assert "KIND:     Deployment\nVERSION:  apps/v1" in said
    assert "   rollingUpdate\t<Object>\n      maxSurge\t<string>" in said


def test_describe_tells_of_a_pod_with_its_events_in_order(kubectl: Kubectl) -> None:
    apply(kubectl)
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    said = kubectl("describe", "pod", "-l", "app=web").stdout
    assert "Controlled By:  ReplicaSet/web-" in said
    assert "ContainersNotReady" not in said
    events = said[said.index("Events:") :]
    places = [events.index(reason) for reason in ("Scheduled", "Pulled", "Created", "Started")]
    assert places == sorted(places)


def test_a_rollout_is_undone(kubectl: Kubectl) -> None:
    apply(kubectl)
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    kubectl("set", "env", "deploy/web", "A=b")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    assert kubectl("rollout", "undo", "deploy/web").stdout == "deployment.apps/web rolled back\n"
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    revisions = [
        line.split()[0] for line in kubectl("rollout", "history", "deploy/web").stdout.splitlines()[2:] if line
    ]
    assert revisions == ["2", "3"]


def test_an_eviction_of_its_version_is_taken(kubectl: Kubectl) -> None:
    apply(kubectl, WEB.replace("app: web", "app: drained"))
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    pod = kubectl("get", "pods", "-o", "name").stdout.strip().partition("/")[2]
    node = kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}").stdout
    try:
        # By a label of its own: other tests run their pods on this node too.
        kubectl("drain", node, "--pod-selector", "app=drained", "--grace-period=0", "--timeout=60s")
        assert kubectl("get", "pod", pod, check=False).returncode == 1
    finally:
        kubectl("uncordon", node)


def test_delete_waits_until_it_is_gone(kubectl: Kubectl) -> None:
    apply(kubectl)
    said = kubectl("delete", "-f", "-", "--grace-period=1", stdin=WEB).stdout.splitlines()
    assert said == ['deployment.apps "web" deleted', 'configmap "page" deleted']
    assert "not found" in kubectl("get", "deploy", "web", check=False).stderr
