"""Every behaviour of sig-network that upstream's conformance suite asks for, with real packets between real pods on two nodes.

    DNS: services, cluster, partial names, Hostname, Subdomain      test_names_are_answered_to_pods_of_both_nodes...
    DNS: /etc/hosts; pod DNS nameservers                            test_a_pods_files_say_its_names_and_its_nameservers
    DNS: ExternalName; Services: the four changes of type           test_a_service_changes_its_type_and_answers_as_what_it_is
    Granular checks: intra-pod and node-pod, http and udp           test_pods_and_node_pods_reach_every_pod_by_tcp_and_udp
    Services: NodePort works                                        test_nodes.py
    session affinity: work, switch, timeout; ClusterIP, NodePort    test_a_client_is_remembered_until_its_time_is_over...
    basic and multiport endpoints; EndpointSlice of a Service       test_endpoints_follow_pods_and_lead_by_every_port
    EndpointSlice: several addresses, several ports by hand         test_slices_made_by_hand_add_up
    lifecycle of an Endpoint; EndpointSliceMirroring                test_endpoints_made_by_hand_are_mirrored_and_lead...
    secure master service; API Server's Endpoints and slice         test_the_api_server_is_a_service_with_an_endpoint
    Proxy version v1: all three                                     test_the_api_server_leads_to_pods_and_services,
                                                                    test_the_api_server_passes_every_method_on_as_it_is
    Service endpoints latency                                       test_many_services_made_at_once_all_answer
    same port, different protocols                                  test_service_kinds.py
    Services and NetworkPolicies of SCTP                            test_associations_are_led_by_services_and_judged_by_policies

What is about the API alone is tested beside its rules: Ingress, IngressClass, EndpointSlice, ServiceCIDR and IPAddress, a
Service's status, collections, listing over all namespaces, links in pages that are proxied (tests/unit/apiserver, tests/unit/registry).
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from associations import ANSWERING, ASKING
from conftest import Cluster, until
from kubernetes import client, config
from two_nodes import about, apply, get, service, workload

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]

DIG = """
import socket, struct, sys
SERVER = next(line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver'))
KINDS = {'A': 1, 'CNAME': 5, 'PTR': 12, 'SRV': 33}
def name_at(data, at):
    labels, end = [], 0
    while data[at]:
        if data[at] >= 192:
            end, at = end or at + 2, struct.unpack_from('!H', data, at)[0] & 16383
            continue
        labels.append(data[at + 1:at + 1 + data[at]].decode()); at += 1 + data[at]
    return '.'.join(labels), end or at + 1
def ask(name, kind, tcp):
    labels = b''.join(bytes([len(l)]) + l.encode() for l in name.split('.'))
    query = struct.pack('!6H', 7, 256, 1, 0, 0, 0) + labels + b'\\0' + struct.pack('!2H', KINDS[kind], 1)
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM); s.settimeout(5)
    s.connect((SERVER, 53)); s.sendall(len(query).to_bytes(2, 'big') + query if tcp else query)
    data = s.makefile('rb').read(int.from_bytes(s.recv(2, socket.MSG_WAITALL), 'big')) if tcp else s.recv(4096)
    _, _, _, count, _, _ = struct.unpack_from('!6H', data); at = 12; found = []
    at = name_at(data, at)[1] + 4
    for _ in range(count):
        at = name_at(data, at)[1]; what, _, _, length = struct.unpack_from('!HHIH', data, at); at += 10
        if what == 1: found.append(socket.inet_ntoa(data[at:at + 4]))
        elif what == 33: found.append(str(struct.unpack_from('!3H', data, at)[2]) + ' ' + name_at(data, at + 6)[0])
        else: found.append(name_at(data, at)[0])
        at += length
    return sorted(found)
"""


@pytest.fixture(scope="module")
def own(make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    made = make_cluster()
    made.kybern("up", "--port", str(made.port), "--node-name", "n", "--nodes", "2")
    on_node = workload("host", pod={"hostNetwork": True})
    on_node["spec"]["template"]["spec"]["containers"][0] |= {"command": ["sleep", "10000"], "readinessProbe": None}
    apply(
        made, workload("all", label="all"), on_node, service("all", "all", type="NodePort"), service("headless", "all", clusterIP="None"),
        service("sticky", "all", type="NodePort"), named_pod(),
    )  # fmt: skip
    for what in ("daemonset/all", "daemonset/host"):
        made.kubectl("rollout", "status", what, "--timeout=90s")
    made.kubectl("wait", "--for=condition=Ready", "pod/named", "--timeout=60s")
    yield made
    made.kybern("reset", check=False)


def named_pod() -> dict[str, Any]:
    """Of the headless service, with a name of its own in it, and with other nameservers."""
    spec = workload("x")["spec"]["template"]["spec"]
    names = {"hostname": "mine", "subdomain": "headless", "terminationGracePeriodSeconds": 0}
    dns = {"nameservers": ["192.0.2.53"], "searches": ["example.test"], "options": [{"name": "ndots", "value": "2"}]}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "named", "labels": {"app": "all"}},
        "spec": {**spec, **names, "dnsPolicy": "None", "dnsConfig": dns},
    }  # fmt: skip


def pods(cluster: Cluster, app: str) -> dict[str, str]:
    """Pod → address, of one on each node."""
    found = json.loads(cluster.kubectl("get", "pods", "-l", f"app={app}", "-o", "json"))["items"]
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in found if pod["metadata"]["name"] != "named"}


def inside(cluster: Cluster, pod: str, code: str) -> Any:
    """The JSON that it prints."""
    return json.loads(cluster.kubectl("exec", pod, "--", "python3", "-c", code))


def test_pods_and_node_pods_reach_every_pod_by_tcp_and_udp(own: Cluster) -> None:
    targets = sorted(pods(own, "all").values())
    code = f"""
import json, socket, urllib.request
found = []
for target in {targets}:
    tcp = urllib.request.urlopen(f'http://{{target}}:8080/', timeout=5).read().decode().split()[0]
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b'?', (target, 8081))
    found.append([tcp, s.recv(99).decode().split()[0]])
print(json.dumps(sorted(found)))
"""
    senders = [*pods(own, "all"), *pods(own, "host")]
    assert len(senders) == 4
    for pod in senders:
        assert inside(own, pod, code) == [["n", "n"], ["n-2", "n-2"]], pod


def test_names_are_answered_to_pods_of_both_nodes_by_udp_and_tcp(own: Cluster) -> None:
    zone, one = "cluster.local", about(own, "all", ".spec.clusterIP")
    everyone = sorted(
        [*pods(own, "all").values(), own.kubectl("get", "pod", "named", "-o", "jsonpath={.status.podIP}")]
    )
    mine = own.kubectl("get", "pod", "named", "-o", "jsonpath={.status.podIP}")
    api = own.kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    dashed, reverse = mine.replace(".", "-"), ".".join(reversed(one.split(".")))
    wanted = {
        f"kubernetes.default.svc.{zone} A": [api],
        f"all.default.svc.{zone} A": [one],
        f"headless.default.svc.{zone} A": everyone,
        f"_tcp._tcp.all.default.svc.{zone} SRV": [f"80 all.default.svc.{zone}"],
        f"mine.headless.default.svc.{zone} A": [mine],
        f"{dashed}.default.pod.{zone} A": [mine],
        f"{reverse}.in-addr.arpa PTR": [f"all.default.svc.{zone}"],
    }
    code = f"""{DIG}
import json
print(json.dumps([
    {{wanted: ask(*wanted.split(), tcp) for wanted in {list(wanted)}}} for tcp in (False, True)
] + [sorted({{a[4][0] for a in socket.getaddrinfo(name, 80, socket.AF_INET)}}) for name in ('all', 'all.default', 'all.default.svc')]
  + [sorted(line.partition(' ')[0] for line in ask('_tcp._tcp.headless.default.svc.{zone}', 'SRV', True))]))
"""
    for pod in pods(own, "all"):
        until(lambda pod=pod: inside(own, pod, code)[0] == wanted)  # type: ignore[misc]
        assert inside(own, pod, code) == [wanted, wanted, [one], [one], [one], ["8080"] * 3], pod


def test_a_pods_files_say_its_names_and_its_nameservers(own: Cluster) -> None:
    hosts, resolver = (own.kubectl("exec", "named", "--", "cat", f"/etc/{name}") for name in ("hosts", "resolv.conf"))
    mine = own.kubectl("get", "pod", "named", "-o", "jsonpath={.status.podIP}")
    assert [mine, "mine.headless.default.svc.cluster.local", "mine"] in [line.split() for line in hosts.splitlines()]
    assert set(resolver.splitlines()) == {"nameserver 192.0.2.53", "search example.test", "options ndots:2"}


def test_a_service_changes_its_type_and_answers_as_what_it_is(own: Cluster) -> None:
    """ExternalName, another one, ClusterIP, ExternalName, NodePort, ExternalName."""
    [pod, *_] = pods(own, "all")
    zone, name = "cluster.local", "changing.default.svc.cluster.local"
    ports = service("changing", "all")["spec"]["ports"]

    def become(**spec: Any) -> None:
        own.kubectl("patch", "service", "changing", "--type=merge", "-p", json.dumps({"spec": spec}))

    def aliased(target: str) -> bool:
        return bool(
            inside(own, pod, f"{DIG}\nimport json; print(json.dumps(ask({name!r}, 'CNAME', False)))") == [target]
        )

    def answered(place: str) -> bool:
        code = f"import json, urllib.request as u\ntry: print(json.dumps(u.urlopen('http://{place}/', timeout=3).status))\nexcept OSError: print(0)"
        return bool(inside(own, pod, code) == 200)

    made = {"type": "ExternalName", "externalName": "foo.example.com"}
    apply(own, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "changing"}, "spec": made})
    until(lambda: aliased("foo.example.com"))
    become(externalName="bar.example.com")
    until(lambda: aliased("bar.example.com"))
    become(type="ClusterIP", externalName=None, ports=ports, selector={"app": "all"})
    until(lambda: answered(name))
    before = about(own, "changing", ".spec.clusterIP")
    outside = {"type": "ExternalName", "clusterIP": None, "clusterIPs": None, "ports": None, "selector": None}
    become(**outside, externalName=f"all.default.svc.{zone}")
    until(lambda: aliased(f"all.default.svc.{zone}") and not answered(before))
    assert answered("changing"), "an alias of a service of the cluster leads there"
    become(type="NodePort", externalName=None, ports=ports, selector={"app": "all"})
    node = own.kubectl("get", "node", "n-2", "-o", "jsonpath={.status.addresses[0].address}")
    port = about(own, "changing", ".spec.ports[0].nodePort")
    until(lambda: answered(f"{node}:{port}") and answered(name))
    become(**outside, externalName="foo.example.com")
    until(lambda: aliased("foo.example.com") and not answered(f"{node}:{port}"))


def test_a_client_is_remembered_until_its_time_is_over_by_cluster_ip_and_node_port(own: Cluster) -> None:
    [pod, *_] = pods(own, "all")
    node = own.kubectl("get", "node", "n-2", "-o", "jsonpath={.status.addresses[0].address}")
    places = (about(own, "sticky", ".spec.clusterIP"), f"{node}:{about(own, 'sticky', '.spec.ports[0].nodePort')}")

    def seen(place: str, times: int, pause: float = 0) -> set[str]:
        code = f"import json, time, urllib.request as u\nprint(json.dumps([(time.sleep({pause}), u.urlopen('http://{place}/', timeout=5).read().decode().split()[0])[1] for _ in range({times})]))"
        return set(inside(own, pod, code))

    def affinity(**spec: Any) -> None:
        own.kubectl("patch", "service", "sticky", "--type=merge", "-p", json.dumps({"spec": spec}))

    def remembering(seconds: int) -> dict[str, Any]:
        return {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}}

    for place in places:
        assert seen(place, 40) == {"n", "n-2"}
        affinity(**remembering(10800))
        until(lambda place=place: len(seen(place, 40)) == 1)  # type: ignore[misc]
        assert len(seen(place, 40)) == 1
        affinity(**remembering(1))
        until(lambda place=place: len(seen(place, 5, 1.2)) == 2)  # type: ignore[misc]
        affinity(sessionAffinity="None", sessionAffinityConfig=None)
        until(lambda place=place: len(seen(place, 40)) == 2)  # type: ignore[misc]


FEW = "kubernetes.io/service-name=few"


def test_endpoints_follow_pods_and_lead_by_every_port(own: Cluster) -> None:
    apply(own, service("few", "few"))
    until(lambda: addresses(own, "few") == [] and bool(own.kubectl("get", "endpointslices", "-l", FEW, "-o", "name")))
    place = about(own, "few", ".spec.clusterIP")
    for node in ("n", "n-2"):
        apply(own, workload(f"few-{node}", "Deployment", replicas=1, pod={"nodeName": node}, label="few"))
    for node in ("n", "n-2"):
        own.kubectl("rollout", "status", f"deployment/few-{node}", "--timeout=60s")
    until(lambda: addresses(own, "few") == sorted(pods(own, "few").values()))
    assert slices(own, "few") == {(ip, True) for ip in pods(own, "few").values()}
    until(lambda: {get(f"http://{place}/").split()[0] for _ in range(40)} == {"n", "n-2"})
    own.kubectl("scale", "deployment/few-n", "--replicas=0")
    until(lambda: len(addresses(own, "few")) == 1)
    until(lambda: {get(f"http://{place}/").split()[0] for _ in range(20)} == {"n-2"})
    own.kubectl("delete", "service", "few")
    until(lambda: addresses(own, "few") is None and not own.kubectl("get", "endpointslices", "-l", FEW, "-o", "name"))


def addresses(cluster: Cluster, name: str) -> list[str] | None:
    """Of an Endpoints object, which has two ports for each; None where there is none."""
    text = cluster.kubectl("get", "endpoints", name, "-o", "json", "--ignore-not-found")
    if not text:
        return None
    subsets = json.loads(text).get("subsets", [])
    assert all({port["port"] for port in subset["ports"]} == {8080, 8081} for subset in subsets)
    return sorted(each["ip"] for subset in subsets for each in subset.get("addresses", []))


def slices(cluster: Cluster, name: str) -> set[tuple[str, bool]]:
    label = f"kubernetes.io/service-name={name}"
    found = json.loads(cluster.kubectl("get", "endpointslices", "-l", label, "-o", "json"))["items"]
    return {
        (ip, each["conditions"]["ready"])
        for piece in found
        for each in piece.get("endpoints") or ()
        for ip in each["addresses"]
    }


def by_hand(name: str, port: int, *ips: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": f"{name}-{port}-{len(ips)}-{ips[0]}", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "a" if port == 8080 else "b", "port": port}], "endpoints": [{"addresses": [ip]} for ip in ips],
    }  # fmt: skip


def without_selector(name: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": list(ports)}}


def test_slices_made_by_hand_add_up(own: Cluster) -> None:
    one, other = sorted(pods(own, "all").values())
    apply(
        own, without_selector("hand", {"name": "a", "port": 80}, {"name": "b", "port": 81}),
        by_hand("hand", 8080, one), by_hand("hand", 8080, one, other)
    )  # fmt: skip
    place = about(own, "hand", ".spec.clusterIP")
    until(lambda: answers(place) == {"n", "n-2"})
    assert answers(f"{place}:81") == set()
    second = by_hand("hand", 8081, other)
    second["ports"][0]["port"] = 8080  # the port `b` of the same pod
    apply(own, second)
    until(lambda: len(answers(f"{place}:81")) == 1)


def answers(place: str) -> set[str]:
    try:
        return {get(f"http://{place}/", 2).split()[0] for _ in range(30)}
    except OSError:
        return set()


def test_endpoints_made_by_hand_are_mirrored_and_lead_where_they_say(own: Cluster) -> None:
    one, other = sorted(pods(own, "all").values())
    endpoints = {
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "mirrored"},
        "subsets": [{"addresses": [{"ip": one}], "ports": [{"port": 8080}]}],
    }  # fmt: skip
    apply(own, without_selector("mirrored", {"port": 80}), endpoints)
    place = about(own, "mirrored", ".spec.clusterIP")
    until(lambda: len(answers(place)) == 1)
    assert slices(own, "mirrored") == {(one, True)}
    [before] = answers(place)
    own.kubectl("patch", "endpoints", "mirrored", "--type=json", "-p",
                json.dumps([{"op": "replace", "path": "/subsets/0/addresses/0/ip", "value": other}]))  # fmt: skip
    until(lambda: answers(place) not in (set(), {before}))
    assert slices(own, "mirrored") == {(other, True)}
    own.kubectl("delete", "endpoints", "mirrored")
    until(lambda: not slices(own, "mirrored") and not answers(place))


def test_the_api_server_is_a_service_with_an_endpoint(own: Cluster) -> None:
    assert (
        about(own, "kubernetes", ".spec.ports[0].name") + about(own, "kubernetes", ".spec.ports[0].port") == "https443"
    )
    found = json.loads(own.kubectl("get", "endpoints", "kubernetes", "-o", "json"))["subsets"]
    told = {(each["ip"], True) for subset in found for each in subset["addresses"]}
    assert told and slices(own, "kubernetes") == told
    code = "import json, ssl, urllib.request as u; c = ssl.create_default_context(cafile='/var/run/secrets/kubernetes.io/serviceaccount/ca.crt'); print(json.dumps(u.urlopen('https://kubernetes.default.svc/healthz', context=c).status))"
    assert [inside(own, pod, code) for pod in pods(own, "all")] == [200, 200]


def test_the_api_server_leads_to_pods_and_services(own: Cluster) -> None:
    base = "/api/v1/namespaces/default"
    for pod in pods(own, "all"):
        for path in (f"pods/{pod}:8080/proxy/", f"pods/http:{pod}:8080/proxy/some/path?a=b", "nodes/n-2/proxy/healthz"):
            raw = f"/api/v1/{path}" if path.startswith("nodes") else f"{base}/{path}"
            assert own.kubectl("get", "--raw", raw)
    for named in ("all:tcp", "http:all:tcp", "all:80"):
        seen = {own.kubectl("get", "--raw", f"{base}/services/{named}/proxy/").split()[0] for _ in range(12)}
        assert seen <= {"n", "n-2"} and seen


METHODS = ("get", "head", "post", "put", "patch", "delete", "options")


def test_the_api_server_passes_every_method_on_as_it_is(own: Cluster) -> None:
    """By the official client, which has a call for each."""
    asking = client.CoreV1Api(config.new_client_from_config(str(own.kubeconfig)))
    for method in METHODS:
        for kind, name in (("pod", f"{next(iter(pods(own, 'all')))}:8080"), ("service", "all:tcp")):
            call = getattr(asking, f"connect_{method}_namespaced_{kind}_proxy_with_path_with_http_info")
            _, status, headers = call(name, "default", "some/path")
            assert (status, headers["X-Asked"]) == (200, f"{method.upper()} /some/path")
            short = getattr(asking, f"connect_{method}_namespaced_{kind}_proxy_with_http_info")
            _, status, headers = short(name, "default")  # a GET is led to the one with a slash
            assert (status, headers["X-Asked"]) == (200, f"{method.upper()} /")


def test_many_services_made_at_once_all_answer(own: Cluster) -> None:
    names = [f"many-{number}" for number in range(30)]
    apply(own, *(service(name, "all") for name in names))
    made = json.loads(own.kubectl("get", "services", *names, "-o", "json"))["items"]
    left = {each["spec"]["clusterIP"] for each in made}
    assert len(left) == len(names)

    def all_answer() -> bool:
        left.difference_update([address for address in left if answers(address)])
        return not left

    until(all_answer, 50)  # what upstream allows the slowest of them


def test_associations_are_led_by_services_and_judged_by_policies(own: Cluster) -> None:
    """From a pod and from the machine; what a policy does not let in is answered by nobody."""
    answering = workload("sctp")
    container = answering["spec"]["template"]["spec"]["containers"][0]
    container |= {"command": ["python3", "-c", ANSWERING], "readinessProbe": None}
    led = service("sctp", "sctp", type="NodePort")
    led["spec"]["ports"] = [{"name": "sctp", "port": 90, "targetPort": 9090, "protocol": "SCTP"}]
    apply(own, answering, led)
    own.kubectl("rollout", "status", "daemonset/sctp", "--timeout=60s")
    asker, place, port = (
        next(iter(pods(own, "all"))),
        about(own, "sctp", ".spec.clusterIP"),
        about(own, "sctp", ".spec.ports[0].nodePort"),
    )
    node = own.kubectl("get", "node", "n-2", "-o", "jsonpath={.status.addresses[0].address}")

    def answers(host: str, at: str, times: int) -> list[str]:
        return [f"import json; print(json.dumps([ask({host!r}, {at}) for _ in range({times})]))"]

    def from_pod(host: str, at: str, times: int = 12) -> set[str]:
        return set(inside(own, asker, "\n".join([ASKING, *answers(host, at, times)])))

    def from_machine(host: str, at: str) -> set[str]:
        code = "\n".join([ASKING, *answers(host, at, 12)])
        return set(json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout))

    until(lambda: from_pod(place, "90") == {"n", "n-2"})
    until(lambda: from_machine(node, port) == {"n", "n-2"})
    assert {from_pod(address, "9090", 1).pop() for address in pods(own, "sctp").values()} == {"n", "n-2"}
    for allowed, wanted in ((9091, {"nobody"}), (9090, {"n", "n-2"})):
        ports = [{"protocol": "SCTP", "port": allowed}]
        spec = {"podSelector": {"matchLabels": {"app": "sctp"}}, "ingress": [{"ports": ports}]}
        meta = {"name": "sctp"}
        apply(own, {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec})
        until(lambda wanted=wanted: from_pod(place, "90", 4) <= wanted)  # type: ignore[misc]
    own.kubectl("delete", "daemonset/sctp", "service/sctp", "networkpolicy/sctp", "--wait=false")
