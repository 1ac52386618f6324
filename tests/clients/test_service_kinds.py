"""Every kind of Service on two nodes, asked for by real pods and from the machine; and a rolling update that nobody notices."""

import base64
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import pytest
from conftest import Cluster, until
from steady_clients import SteadyClients
from two_nodes import about, apply, datagram, get, service, workload

from kybern.web.pki import SERVER, create_ca, issue

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]


ROUNDS = int(os.environ.get("ROLLING_ROUNDS", "3"))
ENDPOINTS = int(os.environ.get("ROLLING_ENDPOINTS", "4"))
ROLLOUT_SECONDS, DRAIN_SECONDS, ANSWER_SECONDS = 600.0, 45, 60.0
KILLS = int(os.environ.get("ROLLING_KILLS", "0"))
"""With some, pods have to drain for longer than an agent needs to come back, which may be killed again as soon as it did (twice
ten seconds, and what it takes to start): meanwhile nobody tells its node of endpoints."""


@pytest.fixture(scope="module")
def own(make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    made = make_cluster()
    made.kybern("up", "--port", str(made.port), "--node-name", "n", "--nodes", "2")
    apply(
        made, workload("all"), workload("one", "Deployment", replicas=1, pod={"nodeName": "n-2"}),
        service("all", "all", type="NodePort"), service("balanced", "all", type="LoadBalancer"),
        service("local", "one", type="LoadBalancer", externalTrafficPolicy="Local"),
    )  # fmt: skip
    for what in ("daemonset/all", "deployment/one"):
        made.kubectl("rollout", "status", what, "--timeout=60s")
    yield made
    made.kybern("reset", check=False)


def test_a_load_balancer_answers_on_the_machine_by_tcp_and_udp(own: Cluster) -> None:
    until(lambda: bool(about(own, "balanced", ".status.loadBalancer.ingress[0].ip")))
    address = about(own, "balanced", ".status.loadBalancer.ingress[0].ip")
    assert {get(f"http://{address}/").split()[0] for _ in range(30)} == {"n", "n-2"}
    assert {datagram(address, 80).split()[0] for _ in range(30)} == {"n", "n-2"}


def test_a_node_port_answers_on_the_machines_loopback(own: Cluster) -> None:
    port = about(own, "all", ".spec.ports[0].nodePort")
    assert {get(f"http://127.0.0.1:{port}/").split()[0] for _ in range(30)} == {"n", "n-2"}


def test_one_port_under_two_protocols_forwards_each_on_its_own(own: Cluster) -> None:
    address = about(own, "all", ".spec.clusterIP")
    assert get(f"http://{address}/") and datagram(address, 80)
    only_udp = [{"op": "remove", "path": "/spec/ports/0"}]
    own.kubectl("patch", "service", "all", "--type=json", "-p", json.dumps(only_udp))
    until(lambda: refused(address))
    assert datagram(address, 80)
    tcp = [{"op": "add", "path": "/spec/ports/0", "value": {"name": "tcp", "port": 80, "targetPort": 8080}}]
    own.kubectl("patch", "service", "all", "--type=json", "-p", json.dumps(tcp))
    until(lambda: not refused(address))


def refused(address: str) -> bool:
    try:
        socket.create_connection((address, 80), 1).close()
    except OSError:
        return True
    return False


def test_a_local_policy_tells_its_node_apart(own: Cluster) -> None:
    """Only n-2 has an endpoint: it answers there, and the health check port says so on both nodes."""
    nodes = own.kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.addresses[0].address}").split()
    check = about(own, "local", ".spec.healthCheckNodePort")
    until(lambda: healthy(nodes[1], check) == (200, 1))
    assert healthy(nodes[0], check) == (503, 0)
    port = about(own, "local", ".spec.ports[0].nodePort")
    node, client = get(f"http://{nodes[1]}:{port}/").split()
    assert (node, client) == ("n-2", nodes[0]), "the client's own address"


def healthy(node: str, port: str) -> tuple[int, int]:
    connection = HTTPConnection(node, int(port), timeout=5)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found["localEndpoints"]


def seen_by(cluster: Cluster, pod: str, place: str, times: int = 30) -> set[str]:
    """The nodes that answer there by TCP, asked from a pod."""
    code = f"import urllib.request as u; print(*{{u.urlopen('http://{place}/', timeout=5).read().decode().split()[0] for _ in range({times})}})"
    return set(cluster.kubectl("exec", pod, "--", "python3", "-c", code, check=False).split())


def pod_on(cluster: Cluster, node: str) -> str:
    chosen = ("-l", "app=all", "--field-selector", f"spec.nodeName={node}", "-o", "jsonpath={.items[0].metadata.name}")
    return cluster.kubectl("get", "pods", *chosen)


def test_an_external_address_leads_pods_of_both_nodes_to_the_service(own: Cluster) -> None:
    apply(own, service("external", "all", externalIPs=["198.51.100.7"]))
    for node in ("n", "n-2"):
        until(lambda node=node: seen_by(own, pod_on(own, node), "198.51.100.7") == {"n", "n-2"})  # type: ignore[misc]


def test_clients_are_led_to_the_endpoints_of_their_node_or_zone_where_the_service_says_so(own: Cluster) -> None:
    """A zone is told of an endpoint when its Service is looked at, as upstream: the nodes have theirs before."""
    for node in ("n", "n-2"):
        own.kubectl("label", "node", node, f"topology.kubernetes.io/zone=zone-{node}")
    apply(
        own,
        service("near", "all", trafficDistribution="PreferSameNode"),
        service("zonal", "all", trafficDistribution="PreferSameZone"),
        service("far", "all"),
    )
    for node in ("n", "n-2"):
        for name, wanted in (("near", {node}), ("zonal", {node}), ("far", {"n", "n-2"})):
            until(lambda node=node, name=name, wanted=wanted: seen_by(own, pod_on(own, node), name) == wanted)  # type: ignore[misc]
    for node in ("n", "n-2"):
        own.kubectl("label", "node", node, "topology.kubernetes.io/zone-")


def test_a_datagram_client_that_never_pauses_is_led_to_the_pod_that_took_over(own: Cluster) -> None:
    apply(own, workload("moving", "Deployment", replicas=1, pod={"nodeName": "n"}), service("moving", "moving"))
    own.kubectl("rollout", "status", "deployment/moving", "--timeout=60s")
    code = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.1); s.connect((socket.gethostbyname('moving'), 80))
seen, end = [], time.monotonic() + 60
while 'n-2' not in seen and time.monotonic() < end:
    try:
        s.send(b'?'); found = s.recv(99).decode().split()[0]
    except OSError:
        continue
    if found not in seen: seen.append(found); print(found, flush=True)
"""
    client = ["kubectl", "exec", pod_on(own, "n-2"), "--", "python3", "-c", code]
    with subprocess.Popen(client, env=own.environment, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None and asking.stdout.readline().strip() == "n"
        moved = {"spec": {"template": {"spec": {"nodeName": "n-2"}}}}
        own.kubectl("patch", "deployment", "moving", "-p", json.dumps(moved))
        assert asking.stdout.readline().strip() == "n-2"
    own.kubectl("delete", "deployment", "moving", "--wait=false")


def test_a_pod_is_no_faster_than_its_annotation_lets_it_be(own: Cluster) -> None:
    """At least: a busy machine only makes it slower."""
    slow = workload("slow", "Deployment", replicas=1)
    limits = {"kubernetes.io/ingress-bandwidth": "16M", "kubernetes.io/egress-bandwidth": "16M"}
    slow["spec"]["template"]["metadata"]["annotations"] = limits
    apply(own, slow)
    own.kubectl("rollout", "status", "deployment/slow", "--timeout=60s")
    code = """
import socket, time
server = socket.create_server(('0.0.0.0', 9000)); print('ready', flush=True)
peer, _ = server.accept(); began = time.monotonic(); left = 4_000_000
while left > 0: left -= len(peer.recv(65536))
print(time.monotonic() - began, flush=True)
"""
    target = own.kubectl("get", "pods", "-l", "app=slow", "-o", "jsonpath={.items[0].status.podIP}")
    receiving = ["kubectl", "exec", "deploy/slow", "--", "python3", "-c", code]
    with subprocess.Popen(receiving, env=own.environment, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None and receiver.stdout.readline().strip() == "ready"
        with socket.create_connection((target, 9000), 10) as sender:
            sender.settimeout(30)
            sender.sendall(bytes(4_000_000))
            assert float(receiver.stdout.readline()) > 1.2, (
                "32 million bits at 16 million a second, but for what is let through at once"
            )


def test_three_pods_share_a_host_port_on_other_addresses_or_protocols(own: Cluster) -> None:
    node = own.kubectl("get", "node", "n-2", "-o", "jsonpath={.status.addresses[0].address}")
    places = [("127.0.0.1", "TCP", 8080), (node, "TCP", 8080), (node, "UDP", 8081)]
    for number, (host_ip, protocol, target) in enumerate(places):
        ports = [{"containerPort": target, "hostPort": 54321, "hostIP": host_ip, "protocol": protocol}]
        apply(own, workload(f"host{number}", "Deployment", replicas=1, ports=ports, pod={"nodeName": "n-2"}))
    curl = workload("curl", "Deployment", replicas=1, pod={"nodeName": "n-2", "hostNetwork": True})
    curl["spec"]["template"]["spec"]["containers"][0] |= {"command": ["sleep", "1000"], "readinessProbe": None}
    apply(own, curl)
    for name in ("host0", "host1", "host2", "curl"):
        own.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    code = f"""
import socket, http.client
for host in ('127.0.0.1', {node!r}):
    c = http.client.HTTPConnection(host, 54321, timeout=5, source_address=({node!r}, 0)); c.request('GET', '/')
    print(c.getresponse().status)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b'?', ({node!r}, 54321)); print(s.recv(99) != b'')
"""
    assert own.kubectl("exec", "deploy/curl", "--", "python3", "-c", code).split() == ["200", "200", "True"]


def test_a_rolling_update_under_load_loses_no_request(own: Cluster) -> None:
    """Also where the nodes' agents are killed meanwhile, by turns."""
    rolling = workload("rolling", "Deployment", replicas=ENDPOINTS)
    pod = rolling["spec"]["template"]["spec"]
    pod["containers"][0]["readinessProbe"] |= {"timeoutSeconds": 30, "failureThreshold": 10}  # on a busy machine too
    pod["containers"][0]["env"].append({"name": "IDLE", "value": str(ANSWER_SECONDS)})
    if KILLS:
        pod["terminationGracePeriodSeconds"] = 2 * DRAIN_SECONDS
        pod["containers"][0]["env"].append({"name": "DRAIN", "value": str(DRAIN_SECONDS)})
    apply(own, rolling, service("rolling", "rolling"))
    until(lambda: rolled_out(own, "rolling"), ROLLOUT_SECONDS)
    address = about(own, "rolling", ".spec.clusterIP")
    until(lambda: not refused(address))
    with SteadyClients(address, 80, ANSWER_SECONDS) as clients:
        for number in range(1, ROUNDS + 1):
            own.kubectl("set", "env", "deployment/rolling", f"ROUND={number}")
            for kill in range(KILLS * (number - 1) // ROUNDS, KILLS * number // ROUNDS):
                own.kill("node" if kill % 2 else "node-n-2")
                time.sleep(0.5)
            until(lambda: rolled_out(own, "rolling"), ROLLOUT_SECONDS)
            print(f"round {number}: {clients.told}", *clients.failures[:1], *clients.failures[-1:], flush=True)
    print(f"{ROUNDS} rounds of {ENDPOINTS} endpoints, {KILLS} kills: {clients.told}")
    assert not clients.failures, f"{clients.told}: {clients.failures[:3]}"
    assert min(clients.counts) > 50 * ROUNDS
    own.kubectl("delete", "deployment", "rolling")


def rolled_out(cluster: Cluster, name: str) -> bool:
    wait = ("rollout", "status", f"deployment/{name}", "--timeout=60s")
    return "successfully rolled out" in cluster.kubectl(*wait, check=False)


def test_an_ingress_leads_hosts_and_paths_to_services_with_their_certificates(own: Cluster) -> None:
    backend = {"service": {"name": "all", "port": {"name": "tcp"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    pair = certificate("shop.example")
    encoded = {name: base64.b64encode(pem).decode() for name, pem in pair.items()}
    apply(
        own,
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "shop"}, "data": encoded},
        {
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"},
            "spec": {"tls": [{"hosts": ["shop.example"], "secretName": "shop"}],
                     "rules": [{"host": host, "http": {"paths": paths}} for host in ("shop.example", "plain.example")]},
        },
    )  # fmt: skip
    address = ""

    def told() -> bool:
        nonlocal address
        address = own.kubectl("get", "ingress", "shop", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
        return bool(address)

    until(told)
    assert own.kubectl("get", "ingress", "shop", "-o", "jsonpath={.spec.ingressClassName}") == "kybern"
    until(lambda: ask(address, "plain.example")[0] == 200)
    assert {ask(address, "plain.example")[1].split()[0] for _ in range(20)} == {"n", "n-2"}
    assert ask(address, "shop.example") == (308, "")
    assert ask(address, "nobody.example")[0] == 404
    trusting = ssl.create_default_context(cadata=pair["tls.crt"].decode())
    trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with socket.create_connection((address, 443), 5) as plain:
        with trusting.wrap_socket(plain, server_hostname="shop.example") as secured:
            secured.sendall(b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n")
            assert secured.recv(99).startswith(b"HTTP/1.1 200")


def ask(address: str, host: str) -> tuple[int, str]:
    connection = HTTPConnection(address, 80, timeout=5)
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def certificate(name: str) -> dict[str, bytes]:
    ca = create_ca("test", time.time())
    pair = issue(ca, name, now=time.time(), dns_names=[name], ips=[], usages=(SERVER,))
    return {"tls.crt": pair.certificate + ca.certificate, "tls.key": pair.key}


def why(cluster: Cluster, *args: str) -> tuple[int, str]:
    done = cluster.kybern("why", *args, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.partition("\n")[0] + done.stderr


def test_why_names_the_first_thing_that_is_wrong_on_the_way(own: Cluster) -> None:
    assert why(own, "service/all") == (0, "every step that could be looked at is as it should be")
    deaf = service("deaf", "all")
    deaf["spec"]["ports"] = [{"name": "tcp", "port": 80, "targetPort": 9999}]
    apply(own, deaf, service("nobody", "nobody"))
    until(lambda: "listens on port 9999/tcp" in why(own, "service/deaf")[1])
    assert why(own, "service/nobody") == (1, "no pod has the labels app=nobody")
    assert why(own, "service/nothing")[1].startswith("there is no service nothing in namespace default")
    names = own.kubectl("get", "pods", "-l", "app=all", "-o", "jsonpath={.items[*].metadata.name}").split()
    reach = (f"pod/{names[0]}", "--to", f"pod/{names[1]}:8080")
    assert why(own, *reach)[0] == 0
    spec = {"podSelector": {"matchLabels": {"app": "all"}}, "policyTypes": ["Ingress"]}
    apply(
        own, {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"}, "spec": spec}
    )
    assert "NetworkPolicy default/deny does not let TCP 8080 enter" in why(own, *reach)[1]
    code = f"import socket; socket.create_connection(({address_of(own, names[1])!r}, 8080), 2)"
    until(lambda: "imed out" in run_in(own, names[0], code))
    assert "has dropped such packets just now" in why(own, *reach)[1]
    own.kubectl("delete", "networkpolicy", "deny")
    until(lambda: run_in(own, names[0], code) == "")
    own.kybern("node", "partition", "n-2")
    assert "n-2" in why(own, "service/all")[1]
    own.kybern("node", "heal", "n-2")
    assert why(own, "service/all")[0] == 0


def address_of(cluster: Cluster, pod: str) -> str:
    return cluster.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}")


def run_in(cluster: Cluster, pod: str, code: str) -> str:
    """What it says when it fails; nothing when it does not."""
    command = f"try:\n  {code}\nexcept OSError as error: print(error)"
    return cluster.kubectl("exec", pod, "--", "python3", "-c", command).strip()
