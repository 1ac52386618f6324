"""Upstream's kube-proxy in the place of ours: the same Services answer. It works in a machine of its own (a namespace)."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import KYBERN, run, until
from every_node import PODS
from machines import Machine, two_machines

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(shutil.which("kube-proxy") is None, reason="there is no kube-proxy in the PATH"),
]

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {sessionAffinity: ClientIP, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
OLD = (
    "--feature-gates",
    "EndpointSliceProxying=false",
)  # 1.20 knows slices of an API version that is gone: it takes Endpoints
ASK = "import urllib.request as u; print(*{u.urlopen('http://%s/', timeout=5).read().decode().strip() for _ in range(30)})"


class Lab:
    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine, self.data, self.kubeconfig = machine, place / "data", place / "kubeconfig"
        self.environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def kybern(self, name: str, *args: str, check: bool = True) -> None:
        command = [*KYBERN, name, "--data-dir", str(self.data), *args]
        run(self.machine.inside(*command), self.environment, check=check)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return run(self.machine.inside("kubectl", *args), self.environment, stdin=stdin).stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with two_machines() as (machine, gateway):
        # Whoever has no way to the service network has no packet that could be translated; machines have a default route.
        run(["ip", "-n", machine.namespace, "route", "add", "default", "via", gateway.address], dict(os.environ))
        made = Lab(machine, tmp_path_factory.mktemp("proxy"))
        made.kybern("up", "--port", "6443", "--node-name", "n", "--service-proxy", "none")
        command = [
            "kube-proxy", "--kubeconfig", str(made.kubeconfig), "--hostname-override", "n", "--proxy-mode", "iptables",
            "--cluster-cidr", "10.244.0.0/12", "--conntrack-max-per-core", "0", *OLD,
        ]  # fmt: skip
        proxy = subprocess.Popen(
            machine.inside(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=made.environment
        )
        try:
            made.kubectl("apply", "-f", "-", stdin=PODS + "---" + SERVICES)
            made.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
            yield made
        finally:
            proxy.kill()
            proxy.wait()
            made.kybern("reset", check=False)


def test_cluster_ips_names_affinity_and_node_ports_are_answered(lab: Lab) -> None:
    pod = lab.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
    rules = "iptables-save -t nat"
    until(lambda: "default/web" in run(lab.machine.inside(*rules.split()), lab.environment).stdout)
    for name in ("web", "sticky", "headless:8080", "web.default.svc.cluster.local"):
        assert lab.kubectl("exec", pod, "--", "python3", "-c", ASK % name).strip() == "n", name
    found = json.loads(lab.kubectl("get", "service", "web", "-o", "json"))["spec"]
    node = lab.kubectl("get", "node", "n", "-o", "jsonpath={.status.addresses[0].address}")
    for where in (found["clusterIP"], f"{node}:{found['ports'][0]['nodePort']}"):
        assert run(lab.machine.inside("python3", "-c", ASK % where), lab.environment).stdout.strip() == "n"
    tables = run(lab.machine.inside("nft", "list", "tables"), lab.environment).stdout
    assert sum("kybern-" in line for line in tables.splitlines()) == 1  # the policies', and none of services
