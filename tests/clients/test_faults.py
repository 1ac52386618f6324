"""Faults planted in a live cluster of two nodes, on a machine of its own: the first line of `kybern why` names each cause, and
`kybern status` what is wrong with the machine. What somebody else has in nftables is never touched."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from typing import Any

import pytest
from conftest import PROJECT, until
from machines import Part, two_machines

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]

Object = dict[str, Any]
SERVER = "import http.server; http.server.HTTPServer((%r, 8080), http.server.SimpleHTTPRequestHandler).serve_forever()"
LOOPBACK6 = "import socket; s = socket.create_server(('::1', 8080), family=socket.AF_INET6); s.accept()"
FOREIGN = "add table inet foreign\nadd chain inet foreign forward {{ type filter hook forward priority 0; {policy} }}\n"


def pod(name: str, *command: str, node: str = "n", **spec: Any) -> Object:
    container = {
        "name": "c", "image": "kybern.local/host", "command": list(command) or ["sleep", "1000"], **spec.pop("container", {})
    }  # fmt: skip
    placed = {"nodeName": node} if node else {}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, **placed, "containers": [container], **spec},
    }  # fmt: skip


def service(name: str, app: str = "", labels: Object | None = None, ports: Any = None, **spec: Any) -> Object:
    ports = [{"port": 80, "targetPort": 8080}] if ports is None else ports
    selector = {"selector": {"app": app}} if app else {}
    meta = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": ports, **selector, **spec}}


def slice_of(name: str, port: Object) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": [port],
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "endpoints": [{"addresses": ["192.0.2.7"]}],
    }  # fmt: skip


WEB = {"containerPort": 8080, "name": "http"}
NEVER = {"restartPolicy": "Never"}
UNREADY = {"readinessProbe": {"exec": {"command": ["false"]}}}
UNSTARTED = {"startupProbe": {"exec": {"command": ["false"]}, "failureThreshold": 1000}}
MISSING = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "nothing", "key": "a"}}}]}

STATE = "{.status.containerStatuses[0].state}"

PODS = [
    pod("web", "python3", "-c", SERVER % "", container={"ports": [WEB]}),
    pod("client", node="n-2"),
    pod("loopback", "python3", "-c", SERVER % "127.0.0.1"),
    pod("loopback6", "python3", "-c", LOOPBACK6),
    pod("deaf"),
    pod("unready", container=UNREADY),
    pod("unstarted", container=UNSTARTED),
    pod("gated", readinessGates=[{"conditionType": "example.com/lb"}]),
    pod("imageless", container={"image": "127.0.0.1:1/nothing:1"}),
    pod("secretless", container=MISSING),
    pod("crashing", "false"),
    pod("unplaced", node="", nodeSelector={"no": "such"}),
    pod("starting", initContainers=[{"name": "first", "image": "kybern.local/host", "command": ["sleep", "1000"]}]),
    pod("succeeded", "true", **NEVER),
    pod("failed", "false", **NEVER),
    pod("datagrams", container={"ports": [{**WEB, "protocol": "UDP"}]}),
    pod("ending", "python3", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)",
        terminationGracePeriodSeconds=1000, container=UNREADY),
]  # fmt: skip

OWN_SLICES = [
    slice_of("otherport", {"name": "other", "port": 8080}), slice_of("otherprotocol", {"port": 8080, "protocol": "UDP"})
]  # fmt: skip

NAMED = [{"port": 80, "targetPort": "http"}]
SERVICES = [
    *(service(each["metadata"]["name"], each["metadata"]["name"]) for each in PODS if each["metadata"]["name"] != "datagrams"),
    service("datagrams", "datagrams", ports=NAMED),
    service("misnamed", "web", ports=[{"port": 80, "targetPort": "htpp"}]),
    service("mislabelled", "wep"),
    service("nobody"),
    service("spare", "web"),
    service("otherport", ports=[{"name": "http", "port": 80}]),
    service("otherprotocol"),
    service("alias", type="ExternalName", externalName="gone.default.svc.cluster.local", ports=[]),
    service("mesh", "web", labels={"service.kubernetes.io/service-proxy-name": "mesh"}),
    service("near", "web", internalTrafficPolicy="Local"),
    service("portless", "web", clusterIP="None", ports=[]),
]  # fmt: skip

FROM = ("pod/client", "--to")
FAULTS: list[tuple[tuple[str, ...], str]] = [
    (("service/wed",), "there is no service wed in namespace default"),
    (("service/web", "-n", "kube-system"), "there is no service web in namespace kube-system"),
    (("service/web", "--port", "81"), "the service has no port 81, only 80/TCP"),
    (("service/portless", "--port", "80"), "the service has no port 80, only none"),
    (("service/mislabelled",), "no pod has the labels app=wep"),
    (("service/nobody",), "has no selector and no EndpointSlice"),
    (("service/otherport",), "no EndpointSlice of the service has a port 'http'"),
    (("service/otherprotocol",), "no EndpointSlice of the service has a port"),
    (("service/misnamed",), "no port named 'htpp' (they have http)"),
    (("service/datagrams",), "is UDP, and the service asks for TCP"),
    (("service/alias",), "there is no service gone in namespace default"),
    (("service/mesh",), "is left to another proxy, 'mesh'"),
    ((*FROM, "service/near"), "internalTrafficPolicy is Local, and node n-2 has none"),
    (("service/unready",), "its readiness probe fails"),
    (("service/unstarted",), "its startup probe has not passed yet"),
    (("service/gated",), "the readiness gate example.com/lb of gated is not True"),
    (("service/imageless",), "container c of imageless is waiting: "),
    (("service/secretless",), "CreateContainerConfigError"),
    (("service/crashing",), "container c of crashing is waiting: CrashLoopBackOff"),
    (("service/unplaced",), "unplaced has no node: "),
    (("service/starting",), "init container first of starting has not ended"),
    (("service/succeeded",), "succeeded is Succeeded"),
    (("service/failed",), "failed is Failed"),
    (("service/ending",), "ending is ending"),
    (("service/deaf",), "nothing in deaf listens on port 8080/tcp"),
    (("service/loopback",), "loopback listens on port 8080 of 127.0.0.1 only"),
    (("service/loopback6",), "loopback6 listens on port 8080 of ::1 only"),
    (("pod/unplaced", "--to", "pod/web:8080"), "unplaced has no address yet: unplaced has no node"),
    ((*FROM, "pod/unplaced:8080"), "unplaced has no address yet"),
    ((*FROM, "pod/deaf:8080"), "nothing in deaf listens on port 8080/tcp"),
]

Rules = list[tuple[str, str, list[Object], str]]
POLICIES: Rules = [
    ("web", "Ingress", [], "enter default/web"),
    ("client", "Egress", [], "leave default/client"),
    ("web", "Ingress", [{"ports": [{"port": 9090}]}], "TCP 8080 enter default/web"),
    ("web", "Ingress", [{"ports": [{"port": 8080, "protocol": "UDP"}]}], "TCP 8080 enter default/web"),
    ("web", "Ingress", [{"ports": [{"port": 9000, "endPort": 9010}]}], "TCP 8080 enter default/web"),
    ("web", "Ingress", [{"ports": [{"port": "metrics"}]}], "TCP 8080 enter default/web"),
    ("web", "Ingress", [{"from": [{"podSelector": {"matchLabels": {"app": "other"}}}]}], "enter default/web"),
    ("web", "Ingress", [{"from": [{"namespaceSelector": {"matchLabels": {"no": "such"}}}]}], "enter default/web"),
    ("web", "Ingress", [{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}], "enter default/web"),
    ("client", "Egress", [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}], "leave default/client"),
    ("client", "Egress", [{"ports": [{"port": 80}]}], "TCP 8080 leave default/client"),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    place = tmp_path_factory.mktemp("faults")
    with two_machines() as (machine, _):
        made = Part(machine, place / "data", place / "kubeconfig")
        try:
            made.kybern("up", "--port", "6443", "--node-name", "n", "--nodes", "2")
            apply(made, *SERVICES, *OWN_SLICES, *PODS)
            made.kubectl("wait", "--for=condition=Ready", "pod/web", "pod/client", "--timeout=60s")
            until(lambda: "running" in made.kubectl("get", "pod", "ending", "-o", f"jsonpath={STATE}"))
            made.kubectl("delete", "pod", "ending", "--wait=false")
            yield made
        finally:
            made.kybern("reset", check=False)


def apply(part: Part, *objects: Object) -> None:
    part.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


ASKED = """
import contextlib, io, json, sys
from kybern.cmd.main import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(["why", *json.loads(line)])
    print(json.dumps(out.getvalue().partition("\\n")[0] + err.getvalue()), flush=True)
"""


@pytest.fixture(scope="module")
def why(own: Part) -> Iterator[Callable[..., str]]:
    """The first line that `kybern why` prints: one process for all the questions, since it takes longer to start than to answer."""
    environment = {**os.environ, "KUBECONFIG": str(own.kubeconfig)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        own.machine.inside(sys.executable, "-c", ASKED),
        env=environment,
        stdin=pipe,
        stdout=pipe,
        text=True,
        cwd=PROJECT,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def ask(*words: str) -> str:
            asked.write(json.dumps(["--data-dir", str(own.data), *words]) + "\n")
            asked.flush()
            return str(json.loads(answers.readline()))

        yield ask
        asked.close()


def test_the_first_line_names_what_is_wrong_with_an_object(own: Part, why: Callable[..., str]) -> None:
    left = dict(FAULTS)

    def all_named() -> bool:
        for words, cause in list(left.items()):
            if cause in why(*words):
                del left[words]
        return not left

    try:
        until(all_named, 60)
    except AssertionError:
        pytest.fail("\n".join(f"{words}: {cause!r} is not in {why(*words)!r}" for words, cause in left.items()))


def test_the_first_line_names_the_policy_that_does_not_let_a_packet_pass(own: Part, why: Callable[..., str]) -> None:
    reach = (*FROM, "pod/web:8080")
    assert why(*reach) == "every step that could be looked at is as it should be"
    for app, kind, rules, cause in POLICIES:
        spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": [kind], kind.lower(): rules}
        apply(
            own,
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec},
        )
        said = why(*reach)
        assert said.startswith("NetworkPolicy default/p does not let ") and cause in said, (rules, said)
        own.kubectl("delete", "networkpolicy", "p")


def nft(part: Part, text: str) -> None:
    subprocess.run(part.machine.inside("nft", "-f", "-"), input=text, text=True, check=True, capture_output=True)


def listed(part: Part, *table: str) -> str:
    return part.command("nft", "list", "table", *table).stdout


def complaints(part: Part) -> list[str]:
    found: list[str] = json.loads(part.kybern("status", "-o", "json", check=False).stdout)["complaints"]
    return found


def test_rules_and_routes_of_others_are_told_and_never_touched(own: Part, why: Callable[..., str]) -> None:
    assert complaints(own) == [] and why("service/web") == "every step that could be looked at is as it should be"
    pods = own.kubectl("get", "nodes", "-o", "jsonpath={.items[0].spec.podCIDR}")
    for policy, rule, told in (
        ("policy drop;", "", "the firewall's chain `inet foreign forward` drops what it does not know (forward)"),
        ("", f"add rule inet foreign forward ip saddr {pods} drop\n", "the firewall's rule `ip saddr"),
    ):
        nft(own, FOREIGN.format(policy=policy) + rule)
        before = listed(own, "inet", "foreign")
        assert any(told in one for one in complaints(own)), complaints(own)
        assert told in why(*FROM, "pod/web:8080")
        own.kubectl("annotate", "service", "web", "a=b", "--overwrite")
        own.kubectl("delete", "service", "spare", "--ignore-not-found")  # the proxy writes its own meanwhile
        assert listed(own, "inet", "foreign") == before
        nft(own, "delete table inet foreign\n")
    spare = f"{IPv4Network(pods).supernet(new_prefix=16).network_address + 256 * 200}/24"
    own.command("ip", "route", "add", spare, "dev", "lan")
    assert any("another link of this machine has routes into" in one for one in complaints(own))
    own.command("ip", "route", "del", spare, "dev", "lan")
    assert complaints(own) == []


def test_a_range_that_is_used_up_is_told_and_on_the_service_too(own: Part) -> None:
    many = [service(f"balanced-{number}", type="LoadBalancer") for number in range(260)]
    own.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": many}))
    until(lambda: any("the addresses of load balancers are used up" in one for one in complaints(own)), 60)
    of_service = ("get", "events", "--field-selector", "reason=AllocationFailed", "-o", "jsonpath={.items[*].message}")
    until(lambda: "no addresses available in the load balancer pool" in own.kubectl(*of_service))
    own.kubectl("delete", "services", *(f"balanced-{number}" for number in range(260)), "--wait=false")


def tables(part: Part) -> list[str]:
    return sorted(part.command("nft", "list", "tables").stdout.splitlines())


def test_rules_that_somebody_takes_away_are_missed_and_written_again(own: Part, why: Callable[..., str]) -> None:
    name = f"kybern-{json.loads((own.data / 'cluster.json').read_text())['id']}"
    address = own.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    before = tables(own)
    assert before == [f"table ip {name}", f"table ip {name}-policy", f"table ip {name}-tunnel"]
    agent = json.loads(own.kybern("status", "-o", "json").stdout)["programs"]
    pid = next(program["pid"] for program in agent if program["name"] == "node")
    os.kill(pid, signal.SIGSTOP)
    try:
        nft(own, f"delete element ip {name} service-ips {{ {address} . tcp . 80 }}\n")
        assert f"the service proxy has no rule for {address} port 80/tcp" in why("service/web")
        nft(own, "flush ruleset\n")
        assert f"the service proxy's table {name} is not there" in why("service/web")
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: tables(own) == before)
    until(lambda: why("service/web") == "every step that could be looked at is as it should be")


def test_the_first_line_names_what_is_wrong_with_the_machine(own: Part, why: Callable[..., str]) -> None:
    toward = ("pod/web", "--to", "pod/client:8080")
    own.kybern("node", "partition", "n-2")
    assert "the link of node n-2 is down: it is cut off" in why(*toward)
    own.kybern("node", "heal", "n-2")
    own.kybern("node", "kill", "n-2")
    assert "node n-2 is off: it was killed" in why(*toward)
    own.kubectl("delete", "node", "n-2")  # which cannot register again
    assert "node n-2 is not there any more" in why(*toward)
