"""Another proxy in the place of ours: the same Services answer, by upstream's kube-proxy where there is one, and by a small one that
knows nothing of kybern. They work in a machine of its own (a namespace)."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import KYBERN, run, until
from every_node import PODS
from machines import Machine, two_machines

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]

PAIR = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: pair}
spec:
  replicas: 2
  selector: {matchLabels: {app: pair}}
  template:
    metadata: {labels: {app: pair}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: kybern.local/host
        command: [sh, -c, "mkdir -p /tmp/w; hostname > /tmp/w/index.html; exec python3 -m http.server -d /tmp/w 8080"]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: pair}
spec: {type: NodePort, selector: {app: pair}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {sessionAffinity: ClientIP, selector: {app: pair}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: pair}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
OLD = (
    "--feature-gates",
    "EndpointSliceProxying=false",
)  # 1.20 knows slices of an API version that is gone: it takes Endpoints
KUBE_PROXY = (
    "kube-proxy", "--hostname-override", "n", "--proxy-mode", "iptables", "--cluster-cidr", "10.244.0.0/12",
    "--conntrack-max-per-core", "0", *OLD,
)  # fmt: skip
PROXIES = {"kube-proxy": KUBE_PROXY, "small": (sys.executable, str(Path(__file__).with_name("small_proxy.py")))}
ASK = "import urllib.request as u; print(*{u.urlopen('http://%s/', timeout=5).read().decode().strip() for _ in range(30)})"


class Lab:
    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine, self.data, self.kubeconfig = machine, place / "data", place / "kubeconfig"
        self.environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def kybern(self, name: str, *args: str, check: bool = True) -> None:
        command = [*KYBERN, name, "--data-dir", str(self.data), *args]
        run(self.machine.inside(*command), self.environment, check=check)

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        return run(self.machine.inside("kubectl", *args), self.environment, stdin=stdin, check=check).stdout

    def seen(self, place: str, pod: str = "") -> set[str]:
        """Who answers there, asked by a pod or by the machine itself; nobody, while it is not there for all."""
        command = ("python3", "-c", ASK % place)
        if pod:
            return set(self.kubectl("exec", pod, "--", *command, check=False).split())
        return set(run(self.machine.inside(*command), self.environment, check=False).stdout.split())


@pytest.fixture(scope="module", params=PROXIES)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    command = PROXIES[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} in the PATH")
    with two_machines() as (machine, gateway):
        # Whoever has no way to the service network has no packet that could be translated; machines have a default route.
        run(["ip", "-n", machine.namespace, "route", "add", "default", "via", gateway.address], dict(os.environ))
        made = Lab(machine, tmp_path_factory.mktemp("proxy"))
        made.kybern("up", "--port", "6443", "--node-name", "n", "--service-proxy", "none")
        place = ("--kubeconfig", str(made.kubeconfig)) if request.param == "kube-proxy" else ()
        proxy = subprocess.Popen(
            machine.inside(*command, *place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=made.environment
        )
        try:
            made.kubectl("apply", "-f", "-", stdin=PODS + "---" + PAIR)
            made.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
            made.kubectl("rollout", "status", "deployment/pair", "--timeout=60s")
            yield made
        finally:
            proxy.kill()
            proxy.wait()
            made.kybern("reset", check=False)


def test_cluster_ips_names_affinity_and_node_ports_are_answered(lab: Lab) -> None:
    client = lab.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
    both = set(lab.kubectl("get", "pods", "-l", "app=pair", "-o", "jsonpath={.items[*].metadata.name}").split())
    for name in ("pair", "pair.default.svc.cluster.local", "headless:8080"):
        until(lambda name=name: lab.seen(name, client) == both)  # type: ignore[misc]
    until(lambda: lab.seen("web", client) == {"n"})  # a pod that reaches itself
    until(lambda: bool(lab.seen("sticky", client)))
    assert len(lab.seen("sticky", client)) == 1
    found = json.loads(lab.kubectl("get", "service", "pair", "-o", "json"))["spec"]
    node = lab.kubectl("get", "node", "n", "-o", "jsonpath={.status.addresses[0].address}")
    for where in (found["clusterIP"], f"{node}:{found['ports'][0]['nodePort']}"):
        until(lambda where=where: lab.seen(where) == both)  # type: ignore[misc]
    tables = run(lab.machine.inside("nft", "list", "tables"), lab.environment).stdout
    ours = {line.split()[2].rpartition("-")[2] for line in tables.splitlines() if "kybern-" in line}
    assert ours == {"policy", "tunnel"}, "none of services"


def test_endpoints_that_come_and_go_are_followed(lab: Lab) -> None:
    def pods() -> set[str]:
        return set(lab.kubectl("get", "pods", "-l", "app=pair", "-o", "jsonpath={.items[*].metadata.name}").split())

    address = lab.kubectl("get", "service", "pair", "-o", "jsonpath={.spec.clusterIP}")
    lab.kubectl("scale", "deployment/pair", "--replicas=1")
    until(lambda: len(pods()) == 1 and lab.seen(address) == pods())
