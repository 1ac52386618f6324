"""Somebody else's network plugins, and a cluster without a service proxy."""

import json
import os
import subprocess
from collections.abc import Callable
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


def test_pods_of_a_plugins_network_answer_by_their_service_and_none_is_started_without_it(
    make_cluster: Callable[[], Cluster], tmp_path: Path
) -> None:
    made = make_cluster()
    ipam = {
        "type": "host-local",
        "dataDir": str(tmp_path / "leases"),
        "subnet": "10.199.0.0/29",
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    found = {"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "ptp", "ipam": ipam}]}
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d" / "10-test.conflist").write_text(json.dumps(found))
    made.kybern(
        "up", "--port", str(made.port), "--node-name", "n", "--pod-network", "cni", "--cni-conf-dir", str(tmp_path / "net.d")
    )  # fmt: skip
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

    made.kubectl("scale", "deployment/client", "--replicas=6")  # one more than the plugin's range has addresses
    message = "jsonpath={.items[*].message}"
    until(lambda: "no IP addresses available in range set" in made.kubectl("get", "events", "-o", message))
    configuration = tmp_path / "net.d" / "10-test.conflist"
    good = configuration.read_text()
    configuration.write_text("{")
    until(lambda: any("node n is not Ready" in one and "10-test.conflist" in one for one in complaints(made)))
    configuration.write_text(good)
    until(lambda: complaints(made) == [])
    made.kybern("reset")
    assert [path.name for path in (tmp_path / "leases" / "test").iterdir() if path.name[0].isdigit()] == []


def test_without_a_service_proxy_no_table_of_services_is_made_and_names_still_resolve(
    make_cluster: Callable[[], Cluster],
) -> None:
    made = make_cluster()
    made.kybern("up", "--port", str(made.port), "--node-name", "n", "--service-proxy", "none")
    ident = made.names()[1]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout.split()
    assert f"kybern-{ident}-policy" in tables and f"kybern-{ident}" not in tables
    made.kybern("reset")


def complaints(cluster: Cluster) -> list[str]:
    found: list[str] = json.loads(cluster.kybern("status", "-o", "json", check=False).stdout)["complaints"]
    return found
