"""Both address families, and IPv6 alone, on two nodes: real packets between pods, by Services, by names, and dropped ones."""

import json
import os
from collections.abc import Callable, Iterator

import pytest
from conftest import Cluster, until
from every_node import PODS

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]

V6_PODS = PODS.replace("python3 -m http.server -d /tmp/w 8080", "python3 -m http.server --bind :: -d /tmp/w 8080")
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: both}
spec: {type: NodePort, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: preferred}
spec: {ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec: {type: LoadBalancer, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
DENIED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: "10.0.0.0/8"}}]}]}
"""
FETCH = """
import http.client, socket, sys
def ask(address, port):
    found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    c = http.client.HTTPConnection(address, port, timeout=3); c.request('GET', '/'); node = c.getresponse().read().decode().strip()
    return node
"""


def made(make_cluster: Callable[[], Cluster], family: str, network: str) -> Cluster:
    cluster = make_cluster()
    cluster.kybern(
        "up", "--port", str(cluster.port), "--node-name", "n", "--nodes", "2", "--ip-family", family,
        "--pod-network", network,
    )  # fmt: skip
    cluster.kubectl("apply", "-f", "-", stdin=V6_PODS)
    cluster.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
    return cluster


@pytest.fixture(scope="module")
def dual(make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    cluster = made(make_cluster, "dual", "vxlan")
    cluster.kubectl("apply", "-f", "-", stdin=SERVICES)
    yield cluster
    cluster.kybern("reset", check=False)


def pods(cluster: Cluster) -> dict[str, tuple[str, list[str]]]:
    """Node → (pod, its addresses)."""
    found = json.loads(cluster.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return {
        pod["spec"]["nodeName"]: (pod["metadata"]["name"], [each["ip"] for each in pod["status"]["podIPs"]])
        for pod in found
    }


def inside(cluster: Cluster, pod: str, code: str) -> str:
    return cluster.kubectl("exec", pod, "--", "python3", "-c", FETCH + code).strip()


def service(cluster: Cluster, name: str) -> dict[str, list[str]]:
    found = json.loads(cluster.kubectl("get", "service", name, "-o", "json"))
    return {"ips": found["spec"]["clusterIPs"], "families": found["spec"]["ipFamilies"]}


def test_pods_have_an_address_of_each_family_and_reach_each_other_by_both(dual: Cluster) -> None:
    found = pods(dual)
    for pod, own in found.values():
        assert [":" in ip for ip in own] == [False, True]
        code = f"""
for node, ips in {[(node, ips) for node, (_, ips) in found.items()]}:
    for target in ips:
        c = socket.create_connection((target, 8080), 5); c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        seen = c.getsockname()[0]
        print(node == c.makefile().read().split()[-1], seen in {own!r})
"""
        assert inside(dual, pod, code).split() == ["True"] * 8
    for pod, _ in found.values():  # nobody saw an address that is not the sender's own
        log = dual.kubectl("logs", pod).replace("::ffff:", "")
        assert all(
            any(line.startswith(f"{ip} ") for line in log.splitlines()) for _, ips in found.values() for ip in ips
        )


def test_services_of_every_family_policy_answer_on_all_their_addresses(dual: Cluster) -> None:
    assert service(dual, "both")["families"] == service(dual, "preferred")["families"] == ["IPv4", "IPv6"]
    assert service(dual, "six")["families"] == ["IPv6"] and service(dual, "web")["families"] == ["IPv4"]
    ips = [ip for name in ("both", "six", "web", "preferred") for ip in service(dual, name)["ips"]]
    assert len(ips) == 6
    for pod, _ in pods(dual).values():
        code = f"print([sorted({{ask(ip, 80) for _ in range(20)}}) for ip in {ips!r}] == [['n', 'n-2']] * 6)"
        assert inside(dual, pod, code) == "True"


def test_node_ports_and_load_balancers_answer_in_both_families(dual: Cluster) -> None:
    port = dual.kubectl("get", "service", "both", "-o", "jsonpath={.spec.ports[0].nodePort}")
    nodes = dual.kubectl(
        "get", "nodes", "-o", "jsonpath={.items[*].status.addresses[?(@.type=='InternalIP')].address}"
    ).split()
    assert len(nodes) == 4
    until(
        lambda: dual.kubectl("get", "service", "balanced", "-o", "jsonpath={.status.loadBalancer.ingress[1].ip}") != ""
    )
    balanced = dual.kubectl("get", "service", "balanced", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}").split()
    code = f"print([ask(ip, {port}) in ('n', 'n-2') for ip in {nodes}] == [True] * 4)"
    code += f"\nprint([ask(ip, 80) in ('n', 'n-2') for ip in {balanced}] == [True] * 2)"
    pod, _ = pods(dual)["n-2"]
    assert inside(dual, pod, code).split() == ["True", "True"]


def test_names_have_addresses_of_both_families_and_lead_back(dual: Cluster) -> None:
    pod, _ = pods(dual)["n-2"]
    code = """
def all_of(name): return sorted({entry[4][0] for entry in socket.getaddrinfo(name, 80)})
print(all_of('both'), all_of('six'), len(all_of('headless')))
print(*{socket.gethostbyaddr(ip)[0] for ip in all_of('both')})
"""
    found = inside(dual, pod, code).splitlines()
    both, six = sorted(service(dual, "both")["ips"]), service(dual, "six")["ips"]
    assert found == [f"{both} {six} 4", "both.default.svc.cluster.local"]


def test_each_family_has_slices_of_its_own(dual: Cluster) -> None:
    found = json.loads(dual.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=both", "-o", "json"))[
        "items"
    ]
    assert sorted((piece["addressType"], len(piece["endpoints"])) for piece in found) == [("IPv4", 2), ("IPv6", 2)]


def test_a_policy_drops_what_it_does_not_allow_in_either_family(dual: Cluster) -> None:
    (_, target), (pod, _) = pods(dual)["n"], pods(dual)["n-2"]
    dual.kubectl("apply", "-f", "-", stdin=DENIED)
    try:
        code = f"""
def reached(ip):
    try: return ask(ip, 8080)
    except OSError: return 'dropped'
print(*(reached(ip) for ip in {target}))
"""
        until(lambda: inside(dual, pod, code) == "n dropped")
    finally:
        dual.kubectl("delete", "networkpolicy", "deny")
    until(lambda: inside(dual, pod, code) == "n n")


def test_a_cluster_of_ipv6_alone_serves_pods_names_and_the_api(make_cluster: Callable[[], Cluster]) -> None:
    cluster = made(make_cluster, "ipv6", "routes")
    found = pods(cluster)
    assert all(len(ips) == 1 and ":" in ips[0] for _, ips in found.values())
    for pod, _ in found.values():
        code = f"""
import ssl, urllib.request as u
print([ask(ip, 8080) for ip in {[ips[0] for _, ips in found.values()]}] == {list(found)}, {{ask('web', 80) for _ in range(20)}} == {set(found)})
t = ssl.create_default_context(cafile='/var/run/secrets/kubernetes.io/serviceaccount/ca.crt')
print(u.urlopen('https://kubernetes.default/readyz', context=t).status)
"""
        assert inside(cluster, pod, code).split() == ["True", "True", "200"]
    cluster.kybern("reset")
