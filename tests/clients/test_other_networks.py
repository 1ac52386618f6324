"""Somebody else's network plugins, one of which hangs for a pod that it does not like; and a cluster without a service proxy."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Cluster, until

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(
        not os.access("/usr/lib/cni/ptp", os.X_OK), reason="apt-get install containernetworking-plugins"
    ),
]

PROGRAMS = Path("/opt/cni/bin")
PICKY = """#!/usr/bin/python3
import json, os, pathlib, subprocess, sys
given = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == "ADD":
    if "K8S_POD_NAME=disliked" in os.environ["CNI_ARGS"]:
        pathlib.Path({marker!r}).touch()
        subprocess.run(["sleep", {seconds!r}])
    print(json.dumps(given["prevResult"]))
"""
PATIENCE = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
runtimeRequestTimeout: 5s
"""


@dataclass(frozen=True)
class Foreign:
    cluster: Cluster
    configuration: Path
    leases: Path
    marker: Path
    """There once the picky plugin hangs."""
    seconds: str
    """How long it would: no other process waits for just so long."""

    def addresses_taken(self) -> set[str]:
        return {path.name for path in self.leases.iterdir() if path.name[0].isdigit()}

    def addresses_of_pods(self) -> set[str]:
        return set(self.cluster.kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].status.podIP}").split())

    def complaints(self) -> list[str]:
        status = self.cluster.kybern("status", "-o", "json", check=False).stdout
        found: list[str] = json.loads(status)["complaints"]
        return found


@pytest.fixture(scope="module")
def own(make_cluster: Callable[[], Cluster], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    made, place = make_cluster(), tmp_path_factory.mktemp("plugins")
    picky = PROGRAMS / f"kybern-test-{uuid.uuid4().hex[:8]}"
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    marker, seconds = place / "hangs", str(100_000 + uuid.uuid4().int % 100_000_000)
    picky.write_text(PICKY.format(marker=str(marker), seconds=seconds))
    picky.chmod(0o755)
    routes = [{"dst": "0.0.0.0/0"}]
    ipam = {"type": "host-local", "dataDir": str(place / "leases"), "subnet": "10.199.0.0/29", "routes": routes}
    plugins = [{"type": "ptp", "ipam": ipam}, {"type": picky.name}]
    configuration = place / "net.d" / "10-test.conflist"
    configuration.parent.mkdir()
    configuration.write_text(json.dumps({"cniVersion": "1.0.0", "name": "test", "plugins": plugins}))
    made.data_dir.mkdir(parents=True, exist_ok=True)
    (made.data_dir / "kubelet.yaml").write_text(PATIENCE)
    how = ("--pod-network", "cni", "--cni-conf-dir", str(configuration.parent))
    try:
        made.kybern("up", "--port", str(made.port), "--node-name", "n", *how)
        yield Foreign(made, configuration, place / "leases" / "test", marker, seconds)
    finally:
        made.kybern("reset", check=False)
        picky.unlink()


def test_pods_of_a_plugins_network_answer_by_their_service(own: Foreign) -> None:
    made = own.cluster
    made.kubectl(
        "create", "deployment", "web", "--image=kybern.local/host", "--", "python3", "-m", "http.server", "8080"
    )
    made.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    made.kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    ip = made.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].status.podIP}")
    assert ip.startswith("10.199.0.")
    code = "import urllib.request as u; print(u.urlopen('http://web/', timeout=5).status)"
    made.kubectl("create", "deployment", "client", "--image=kybern.local/host", "--", "sleep", "1000")
    made.kubectl("rollout", "status", "deployment/client", "--timeout=60s")
    assert made.kubectl("exec", "deploy/client", "--", "python3", "-c", code).strip() == "200"


def test_a_plugin_that_hangs_is_said_on_its_pod_and_holds_up_no_other(own: Foreign) -> None:
    made, sleeping = own.cluster, ("--image=kybern.local/host", "--restart=Never", "--command", "--", "sleep", "1000")
    made.kubectl("run", "disliked", *sleeping)
    until(own.marker.exists)
    made.kubectl("run", "liked", *sleeping)
    made.kubectl("wait", "pod/liked", "--for=condition=Ready", "--timeout=60s")
    about = "involvedObject.name=disliked,reason=FailedCreatePodSandBox"

    def said() -> str:
        return made.kubectl("get", "events", "--field-selector", about, "-o", "jsonpath={.items[*].message}")

    until(lambda: "ADD did not end in 5 s" in said())
    until(lambda: any("pod default/disliked" in one and "ADD did not end in 5 s" in one for one in own.complaints()))
    made.kubectl("delete", "pod", "disliked", "--timeout=60s")
    made.kubectl("delete", "pod", "liked", "--grace-period=1", "--timeout=60s")
    until(lambda: own.addresses_taken() == own.addresses_of_pods())
    assert subprocess.run(["pgrep", "-fx", f"sleep {own.seconds}"], capture_output=True, check=False).returncode == 1


def test_a_plugins_network_that_is_exhausted_or_damaged_is_said_and_nothing_of_it_is_left(own: Foreign) -> None:
    made = own.cluster
    made.kubectl("scale", "deployment/client", "--replicas=6")  # one more than the plugin's range has addresses
    message = "jsonpath={.items[*].message}"
    until(lambda: "no IP addresses available in range set" in made.kubectl("get", "events", "-o", message))
    until(lambda: any("no IP addresses available in range set" in one for one in own.complaints()))
    made.kubectl("scale", "deployment/client", "--replicas=1")
    good = own.configuration.read_text()
    own.configuration.write_text("{")
    until(lambda: any("node n is not Ready" in one and "10-test.conflist" in one for one in own.complaints()))
    own.configuration.write_text(good)
    until(lambda: own.complaints() == [])
    made.kybern("reset")
    assert own.addresses_taken() == set()


def test_without_a_service_proxy_no_table_of_services_is_made_and_names_still_resolve(
    make_cluster: Callable[[], Cluster],
) -> None:
    made = make_cluster()
    made.kybern("up", "--port", str(made.port), "--node-name", "n", "--service-proxy", "none")
    ident = made.names()[1]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout.split()
    assert f"kybern-{ident}-policy" in tables and f"kybern-{ident}" not in tables
    made.kybern("reset")
