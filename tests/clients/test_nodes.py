"""Several nodes on one machine: packets between their pods, limits that hold, and nodes that are cut off, killed, healed."""

import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inventory
import pytest
from conftest import Cluster, free_port, run, until
from every_node import PODS
from oci_images import busybox, oci_archive

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]


@pytest.fixture(scope="module", params=["vxlan", "routes"])
def own(request: pytest.FixtureRequest, make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    made = make_cluster()
    made.kybern(
        "up", "--port", str(made.port), "--node-name", "n", "--nodes", "3", "--node-cpus", "1",
        "--node-memory", "512Mi", "--pod-network", request.param, "--registry-port", str(free_port()),
    )  # fmt: skip
    made.kubectl("apply", "-f", "-", stdin=PODS)
    made.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
    yield made
    made.kybern("reset", check=False)


def pods(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Node → (pod, address)."""
    found = json.loads(cluster.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return {pod["spec"]["nodeName"]: (pod["metadata"]["name"], pod["status"]["podIP"]) for pod in found}


def restarts(cluster: Cluster) -> dict[str, int]:
    """Of the pod on each node, as the API tells them."""
    found = json.loads(cluster.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return {pod["spec"]["nodeName"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in found}


def inside(cluster: Cluster, pod: str, code: str) -> str:
    return cluster.kubectl("exec", pod, "--", "python3", "-c", code).strip()


def addresses(cluster: Cluster) -> dict[str, str]:
    text = cluster.kubectl(
        "get", "nodes", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status.addresses[0].address} {end}"
    ).split()
    return dict(zip(text[::2], text[1::2], strict=True))


def ready(cluster: Cluster, node: str) -> str:
    return cluster.kubectl("get", "node", node, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}")


def test_every_pod_reaches_every_other_with_its_own_address(own: Cluster) -> None:
    found = pods(own)
    assert len(found) == 3
    for pod, address in found.values():
        code = f"""
import socket
for node, target in {[(node, ip) for node, (_, ip) in found.items()]}:
    c = socket.create_connection((target, 8080), 5); c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    print(node == c.makefile().read().split()[-1], c.getsockname()[0] == {address!r})
"""
        assert inside(own, pod, code).split() == ["True"] * 6
    for pod, _ in found.values():  # nobody saw an address that is no pod's, but for the kubelets' probes
        log = own.kubectl("logs", pod)
        assert all(any(line.startswith(f"{ip} ") for line in log.splitlines()) for _, ip in found.values())


def test_a_node_port_answers_on_every_nodes_address_and_a_service_on_every_node(own: Cluster) -> None:
    port = own.kubectl("get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
    for address in addresses(own).values():
        seen = set()
        for _ in range(40):
            with urllib.request.urlopen(f"http://{address}:{port}/", timeout=5) as answer:
                seen.add(answer.read().decode().strip())
        assert seen == {"n", "n-2", "n-3"}
    for pod, _ in pods(own).values():
        for place in ("web", *(f"{address}:{port}" for address in addresses(own).values())):
            code = f"import urllib.request as u; print(*{{u.urlopen('http://{place}/', timeout=5).read().decode() for _ in range(40)}})"
            assert set(inside(own, pod, code).split()) == {"n", "n-2", "n-3"}, place


def test_the_pods_of_a_statefulset_keep_the_addresses_that_they_asked_for(own: Cluster) -> None:
    """On whichever node; one that is taken is said on the pod."""
    network = own.kubectl("get", "node", "n", "-o", "jsonpath={.spec.podCIDR}").rsplit(".", 2)[0]
    wanted = {"network.kybern.io/address": f"{network}.250.10"}
    keeper = {"metadata": {"labels": {"app": "keeper"}, "annotations": wanted}, "spec": sleeping()}
    keeper["spec"]["topologySpreadConstraints"] = [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "keeper"}},
    }]  # fmt: skip
    spec = {"replicas": 2, "serviceName": "keeper", "selector": {"matchLabels": {"app": "keeper"}}, "template": keeper}
    made = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "keeper"}, "spec": spec}
    own.kubectl("apply", "-f", "-", stdin=json.dumps(made))

    def told() -> list[str]:
        path = "jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.spec.nodeName} {end}"
        return own.kubectl("get", "pods", "-l", "app=keeper", "-o", path).split()

    def at_home() -> bool:
        own.kubectl("rollout", "status", "statefulset/keeper", "--timeout=60s")
        found = told()
        return found[0::3] == ["keeper-0", "keeper-1"] and found[1::3] == [f"{network}.250.10", f"{network}.250.11"]

    until(at_home)
    assert len(set(told()[2::3])) == 2, "on two nodes"
    own.kubectl("delete", "pod", "keeper-0", "keeper-1")
    until(at_home)
    everywhere = [pod for pod, _ in pods(own).values()]
    code = f"import socket\ns = socket.socket(); s.settimeout(5)\nprint(s.connect_ex(('{network}.250.10', 9)))"
    for pod in everywhere:
        assert inside(own, pod, code) == "111", "refused by the pod itself, which is reached"
    second = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "second", "annotations": wanted},
        "spec": sleeping(),
    }
    own.kubectl("apply", "-f", "-", stdin=json.dumps(second))
    of_second = "involvedObject.name=second,reason=FailedCreatePodSandBox"
    taken = f"{network}.250.10 is in use by pod default/keeper-0"
    until(lambda: taken in own.kubectl("get", "events", "--field-selector", of_second, "-o", "jsonpath={.items[*].message}"))  # fmt: skip
    own.kubectl("delete", "statefulset/keeper", "pod/second", "--wait=false")


def sleeping() -> dict[str, Any]:
    container = {"name": "c", "image": "kybern.local/host", "command": ["sleep", "10000"]}
    return {"terminationGracePeriodSeconds": 0, "containers": [container]}


def test_a_node_has_what_it_was_given_and_its_pods_cannot_use_more(own: Cluster) -> None:
    capacity = own.kubectl("get", "node", "n-2", "-o", "jsonpath={.status.capacity.cpu} {.status.capacity.memory}")
    assert capacity == "1 512Mi"
    pod, _ = pods(own)["n-2"]
    # Memory that is touched beyond the node's: the kernel ends whoever does it.
    code = "import os\npid = os.fork()\nif pid == 0: x = b'x' * (700 << 20); os._exit(0)\nprint(os.waitpid(pid, 0)[1])"
    assert inside(own, pod, code) == "9"
    # Two processes on one CPU: together they get no more than one.
    code = """
import os, time
def burn():
    end = time.monotonic() + 1.0
    while time.monotonic() < end: pass
    os._exit(0)
for _ in range(2):
    if os.fork() == 0: burn()
for _ in range(2): os.wait()
used = os.times()
print(used.children_user + used.children_system < 1.5)
"""
    assert inside(own, pod, code) == "True"


def test_a_node_is_added_to_the_live_cluster_and_removed_again(own: Cluster) -> None:
    own.kybern("node", "add", "extra", "--memory", "256Mi")
    assert ready(own, "extra") == "True"
    until(lambda: "extra" in pods(own))
    own.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
    pod, _ = pods(own)["n"]
    target = pods(own)["extra"][1]
    assert inside(own, pod, f"import urllib.request as u; print(u.urlopen('http://{target}:8080/').status)") == "200"
    own.kybern("node", "remove", "extra")
    assert "extra" not in addresses(own)
    assert "extra" not in pods(own)
    assert "extra" not in own.kybern("node", "ls").stdout


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="apt-get install -y skopeo")
def test_an_image_that_is_pushed_to_the_registry_runs_on_every_node(own: Cluster, tmp_path: Path) -> None:
    port = json.loads((own.data_dir / "cluster.json").read_text())["registry_port"]
    name = f"localhost:{port}/app:1"
    (tmp_path / "app.tar").write_bytes(oci_archive(busybox(), "app:1"))
    source = f"oci-archive:{tmp_path}/app.tar"
    run(["skopeo", "copy", "--dest-tls-verify=false", source, f"docker://{name}"], own.environment)
    container = {"name": "c", "image": name, "command": ["sleep", "1000"]}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    labels = {"app": "app"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    apps = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "app"}}
    own.kubectl(
        "apply", "-f", "-", stdin=json.dumps({**apps, "spec": {"selector": {"matchLabels": labels}, "template": template}})
    )  # fmt: skip
    own.kubectl("rollout", "status", "daemonset/app", "--timeout=60s")
    own.kubectl("delete", "daemonset", "app", "--wait=false")


def test_a_slowed_link_costs_time_in_both_directions(own: Cluster) -> None:
    pod, _ = pods(own)["n"]
    target = pods(own)["n-3"][1]
    code = f"import socket, time; t = time.monotonic(); socket.create_connection(('{target}', 8080)); print(time.monotonic() - t)"
    own.kybern("node", "delay", "n-3", "--ms", "100")
    assert "slowed by 100 ms" in own.kybern("node", "ls").stdout
    inside(own, pod, code)  # whoever has to be found is found
    assert 0.2 <= float(inside(own, pod, code)) < 2
    own.kybern("node", "heal", "n-3")
    assert float(inside(own, pod, code)) < 0.2


def test_a_partitioned_node_is_reached_by_nobody_and_comes_back(own: Cluster) -> None:
    address = addresses(own)["n-3"]
    own.kybern("node", "partition", "n-3")
    assert "cut off" in own.kybern("node", "ls").stdout
    with pytest.raises(OSError):
        urllib.request.urlopen(f"https://{address}:10250/healthz", timeout=1)
    own.kybern("node", "heal", "n-3")
    pod, _ = pods(own)["n"]
    target = pods(own)["n-3"][1]
    assert inside(own, pod, f"import urllib.request as u; print(u.urlopen('http://{target}:8080/').status)") == "200"


def test_a_killed_node_has_no_process_left_and_heals_to_ready(own: Cluster) -> None:
    pid = own.processes()["node-n-2"]
    own.kybern("node", "kill", "n-2")
    assert not os.path.exists(f"/proc/{pid}")
    assert "node-n-2" not in own.processes()
    own.kybern("node", "heal", "n-2")
    until(lambda: restarts(own)["n-2"] == 1)  # until then all that is told is from before
    assert ready(own, "n-2") == "True"
    own.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
    until(lambda: own.kubectl("get", "pods", "-l", "app=web", "--no-headers").count("1/1") == 3)


def test_a_warden_of_a_further_node_is_started_again_and_no_container_notices(own: Cluster) -> None:
    was = restarts(own)
    pid = own.processes()["warden-n-3"]
    os.kill(pid, 9)
    until(lambda: own.processes()["warden-n-3"] not in (0, pid))
    pod, _ = pods(own)["n-3"]
    until(lambda: own.kubectl("exec", pod, "--", "echo", "here", check=False).strip() == "here")
    assert restarts(own) == was


def test_what_cannot_be_done_is_said_with_the_way_out(own: Cluster) -> None:
    for action, name, said in [
        ("kill", "n", "this machine itself"), ("remove", "nobody", "no node nobody"), ("add", "n-2", "already"),
    ]:  # fmt: skip
        refused = own.kybern("node", action, name, check=False)
        assert refused.returncode == 1 and said in refused.stderr and "Traceback" not in refused.stderr


def test_down_leaves_nothing_of_any_node_and_up_brings_all_back(own: Cluster) -> None:
    names = (*own.names(), *own.pod_links())
    own.kybern("down")
    assert inventory.look().of(*names) == {}
    own.kybern("up")
    assert set(addresses(own)) == {"n", "n-2", "n-3"}
    until(lambda: own.kubectl("get", "pods", "-l", "app=web", "--no-headers").count("1/1") == 3)
