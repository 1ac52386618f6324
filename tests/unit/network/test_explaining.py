"""Planted faults: for each, the first step that fails names the cause."""

from collections.abc import Callable
from typing import Any

import pytest

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.api.networking_v1 import NetworkPolicy
from kybern.network.explaining.steps import Known, Step
from kybern.network.explaining.way import explain_pod, explain_service
from kybern.network.policy.model import World, endpoint_of

World_ = dict[str, list[dict[str, Any]]]


class Machine:
    """Nothing is wrong, but for what a test says."""

    def __init__(self, **wrong: str | None) -> None:
        self.wrong = wrong

    def rules(self, address: str, protocol: str, port: int) -> str | None:
        return self.wrong.get("rules", "")

    def route(self, pod: Pod) -> str | None:
        return self.wrong.get("route", "")

    def firewall(self) -> str | None:
        return self.wrong.get("firewall", "")

    def has_dropped(self, at: str, source: str, target: str, protocol: str, port: int) -> bool:
        return "dropped" in self.wrong

    def listening(self, pod: Pod, protocol: str, port: int) -> str | None:
        return self.wrong.get("socket", "")


def healthy() -> World_:
    def pod(name: str, ip: str) -> dict[str, Any]:
        ports = [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
        return {
            "metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": name}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "ports": ports}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                       "containerStatuses": [{"name": "c", "ready": True, "image": "i", "imageID": "", "restartCount": 0}]},
        }  # fmt: skip

    ports = [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]
    return {
        "pods": [pod("web", "10.244.0.2"), pod("client", "10.244.0.3")],
        "services": [{"metadata": {"name": "web", "namespace": "d"},
                      "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": ports}}],
        "slices": [{"metadata": {"name": "web-1", "namespace": "d", "labels": {"kubernetes.io/service-name": "web"}},
                    "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                    "endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": True}}]}],
        "nodes": [{"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}],
        "policies": [],
    }  # fmt: skip


def known(made: World_) -> Known:
    pods = [from_builtins(Pod, each) for each in made["pods"]]
    policies = [from_builtins(NetworkPolicy, each) for each in made["policies"]]
    endpoints = [found for pod in pods if (found := endpoint_of(pod)) is not None]
    return Known(
        [from_builtins(Service, each) for each in made["services"]],
        [from_builtins(EndpointSlice, each) for each in made["slices"]],
        pods,
        [from_builtins(Node, each) for each in made["nodes"]],
        World(policies, endpoints, {"d": {"name": "d"}}),
    )


def no_endpoints(made: World_) -> None:
    made["slices"][0]["endpoints"] = []


def renamed_service(made: World_) -> None:
    made["services"][0]["metadata"]["name"] = "wed"


def elsewhere(made: World_) -> None:
    made["services"][0]["metadata"]["namespace"] = "other"


def wrong_selector(made: World_) -> None:
    no_endpoints(made)
    made["services"][0]["spec"]["selector"] = {"app": "wep"}


def no_selector(made: World_) -> None:
    made["slices"] = []
    made["services"][0]["spec"]["selector"] = None


def wrong_target_port(made: World_) -> None:
    no_endpoints(made)
    made["services"][0]["spec"]["ports"][0]["targetPort"] = "htpp"


def not_ready(made: World_) -> None:
    no_endpoints(made)
    made["pods"][0]["status"]["containerStatuses"][0]["ready"] = False


def no_image(made: World_) -> None:
    no_endpoints(made)
    status = made["pods"][0]["status"]["containerStatuses"][0]
    status |= {"ready": False, "state": {"waiting": {"reason": "ImagePullBackOff"}}}


def node_down(made: World_) -> None:
    condition = {"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}
    made["nodes"][0]["status"]["conditions"] = [condition]


def node_gone(made: World_) -> None:
    made["nodes"] = []


def deny_ingress(made: World_) -> None:
    made["policies"] = [policy("deny", "web", "Ingress")]


def deny_egress(made: World_) -> None:
    made["policies"] = [policy("shut", "client", "Egress")]


def other_port(made: World_) -> None:
    rule = {"from": [{"podSelector": {}}], "ports": [{"port": 9090}]}
    made["policies"] = [policy("narrow", "web", "Ingress") | {}]
    made["policies"][0]["spec"]["ingress"] = [rule]


def policy(name: str, app: str, kind: str) -> dict[str, Any]:
    selector = {"matchLabels": {"app": app}}
    return {"metadata": {"name": name, "namespace": "d"}, "spec": {"podSelector": selector, "policyTypes": [kind]}}


def nothing(made: World_) -> None:
    return


def waits_for(reason: str) -> Callable[[World_], None]:
    def plant(made: World_) -> None:
        no_endpoints(made)
        made["pods"][0]["status"]["containerStatuses"][0] |= {"ready": False, "state": {"waiting": {"reason": reason}}}

    return plant


def not_started(made: World_) -> None:
    no_endpoints(made)
    made["pods"][0]["status"]["containerStatuses"][0] |= {"ready": False, "started": False}


def gate_is_shut(made: World_) -> None:
    no_endpoints(made)
    made["pods"][0]["spec"]["readinessGates"] = [{"conditionType": "example.com/lb"}]


def unplaced(made: World_) -> None:
    no_endpoints(made)
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    made["pods"][0]["status"] = {"phase": "Pending", "conditions": [condition]}


def ending(made: World_) -> None:
    no_endpoints(made)
    made["pods"][0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


def over(phase: str) -> Callable[[World_], None]:
    def plant(made: World_) -> None:
        no_endpoints(made)
        ended = {"terminated": {"exitCode": 0 if phase == "Succeeded" else 1}}
        made["pods"][0]["status"]["phase"] = phase
        made["pods"][0]["status"]["containerStatuses"][0] |= {"ready": False, "started": False, "state": ended}

    return plant


def init_runs(made: World_) -> None:
    init(made, started=True)


def sidecar_starts(made: World_) -> None:
    init(made, started=False, restartPolicy="Always")


def init(made: World_, *, started: bool, **of: str) -> None:
    no_endpoints(made)
    about = {"name": "first", "image": "i", "imageID": "", "restartCount": 0, "ready": False, "started": started}
    made["pods"][0]["spec"]["initContainers"] = [{"name": "first", "image": "i", **of}]
    made["pods"][0]["status"]["initContainerStatuses"] = [{**about, "state": {"running": {}}}]


def other_protocol(made: World_) -> None:
    no_endpoints(made)
    made["pods"][0]["spec"]["containers"][0]["ports"][0]["protocol"] = "UDP"


def by_hand(**port: Any) -> Callable[[World_], None]:
    def plant(made: World_) -> None:
        made["services"][0]["spec"]["selector"] = None
        made["slices"][0]["ports"] = [port]

    return plant


def unlabelled_slice(made: World_) -> None:
    made["services"][0]["spec"]["selector"] = None
    made["slices"][0]["metadata"]["labels"] = {}


def stale_endpoint(made: World_) -> None:
    made["slices"][0]["endpoints"][0]["addresses"] = ["10.244.0.77"]


def alias_of_nothing(made: World_) -> None:
    made["services"][0]["spec"] = {"type": "ExternalName", "externalName": "gone.d.svc.cluster.local"}


def others_proxy(made: World_) -> None:
    made["services"][0]["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "mesh"}


def only_on_other_nodes(made: World_) -> None:
    made["services"][0]["spec"]["internalTrafficPolicy"] = "Local"
    made["slices"][0]["endpoints"][0]["nodeName"] = "n2"


def no_network(made: World_) -> None:
    made["nodes"][0]["status"]["conditions"].append(
        {"type": "NetworkUnavailable", "status": "True", "message": "no route was made"}
    )


def plugin_fails(made: World_) -> None:
    message = 'container runtime network not ready: plugin type="bridge" failed'
    made["nodes"][0]["status"]["conditions"] = [{"type": "Ready", "status": "False", "message": message}]


def silent_node(made: World_) -> None:
    made["nodes"][0]["status"]["conditions"] = []


def client_unplaced(made: World_) -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    made["pods"][1]["status"] = {"phase": "Pending", "conditions": [condition]}


def allows(kind: str, app: str, *rules: dict[str, Any]) -> Callable[[World_], None]:
    """A policy that allows something else."""

    def plant(made: World_) -> None:
        made["policies"] = [policy("p", app, kind)]
        made["policies"][0]["spec"][kind.lower()] = list(rules)

    return plant


def two_policies(made: World_) -> None:
    made["policies"] = [policy("first", "web", "Ingress"), policy("second", "web", "Ingress")]


def no_ports(made: World_) -> None:
    made["services"][0]["spec"]["ports"] = []


FAULTS: list[tuple[Callable[[World_], None], Machine, int, str, str]] = [
    (renamed_service, Machine(), 80, "service", "there is no service web in namespace d"),
    (elsewhere, Machine(), 80, "service", "there is no service web"),
    (nothing, Machine(), 81, "port", "the service has no port 81, only 80/TCP"),
    (wrong_selector, Machine(), 80, "endpoints", "no pod has the labels app=wep"),
    (no_selector, Machine(), 80, "endpoints", "has no selector and no EndpointSlice"),
    (wrong_target_port, Machine(), 80, "endpoints", "no port named 'htpp' (they have http)"),
    (not_ready, Machine(), 80, "endpoints", "its readiness probe fails"),
    (no_image, Machine(), 80, "endpoints", "ImagePullBackOff"),
    (nothing, Machine(rules="the service proxy has no rule"), 80, "rules", "no rule"),
    (node_down, Machine(), 80, "node", "Kubelet stopped posting node status"),
    (node_gone, Machine(), 80, "node", "is not there any more"),
    (nothing, Machine(route="the link of node n1 is down"), 80, "route", "link of node n1 is down"),
    (deny_ingress, Machine(), 80, "policy", "NetworkPolicy d/deny does not let TCP 8080 enter d/web"),
    (deny_egress, Machine(), 80, "policy", "NetworkPolicy d/shut does not let TCP 8080 leave d/client"),
    (deny_ingress, Machine(dropped=""), 80, "policy", "enter d/web, and has dropped such packets just now"),
    (other_port, Machine(), 80, "policy", "NetworkPolicy d/narrow"),
    (nothing, Machine(socket="web listens on port 8080 of 127.0.0.1 only"), 80, "socket", "127.0.0.1 only"),
    (nothing, Machine(socket="nothing in web listens on port 8080/tcp"), 80, "socket", "nothing in web listens"),
    (nothing, Machine(socket="web listens on port 8080 of ::1 only"), 80, "socket", "::1 only"),
    (
        nothing,
        Machine(rules="the service proxy's table kybern-x is not there"),
        80,
        "rules",
        "table kybern-x is not there",
    ),
    (nothing, Machine(route="node n1 is off: it was killed"), 80, "route", "is off"),
    (
        nothing,
        Machine(firewall="the firewall's rule `ip saddr 10.244.0.0/16 drop`"),
        80,
        "firewall",
        "10.244.0.0/16 drop",
    ),
    (waits_for("CrashLoopBackOff"), Machine(), 80, "endpoints", "CrashLoopBackOff"),
    (waits_for("CreateContainerConfigError"), Machine(), 80, "endpoints", "CreateContainerConfigError"),
    (waits_for("ErrImagePull"), Machine(), 80, "endpoints", "ErrImagePull"),
    (not_started, Machine(), 80, "endpoints", "its startup probe has not passed yet"),
    (gate_is_shut, Machine(), 80, "endpoints", "the readiness gate example.com/lb of web is not True"),
    (unplaced, Machine(), 80, "endpoints", "web has no node: 0/1 nodes are available"),
    (ending, Machine(), 80, "endpoints", "web is ending"),
    (over("Succeeded"), Machine(), 80, "endpoints", "web is Succeeded"),
    (over("Failed"), Machine(), 80, "endpoints", "web is Failed"),
    (init_runs, Machine(), 80, "endpoints", "init container first of web has not ended"),
    (sidecar_starts, Machine(), 80, "endpoints", "init container first of web has not started"),
    (other_protocol, Machine(), 80, "endpoints", "is UDP, and the service asks for TCP"),
    (
        by_hand(name="web", port=8080, protocol="TCP"),
        Machine(),
        80,
        "endpoints",
        "no EndpointSlice of the service has a port 'http'",
    ),
    (by_hand(name="http", port=8080, protocol="UDP"), Machine(), 80, "endpoints", "has a port 'http' of TCP"),
    (unlabelled_slice, Machine(), 80, "endpoints", "has no selector and no EndpointSlice"),
    (stale_endpoint, Machine(), 80, "endpoints", "the endpoint 10.244.0.77 is no pod's any more"),
    (alias_of_nothing, Machine(), 80, "name", "there is no service gone in namespace d"),
    (others_proxy, Machine(), 80, "service", "is left to another proxy, 'mesh'"),
    (only_on_other_nodes, Machine(), 80, "endpoints", "internalTrafficPolicy is Local, and node n1 has none"),
    (no_network, Machine(), 80, "node", "no route was made"),
    (plugin_fails, Machine(), 80, "node", 'plugin type="bridge" failed'),
    (silent_node, Machine(), 80, "node", "it has not said a word yet"),
    (client_unplaced, Machine(), 80, "pod", "client has no address yet: client has no node"),
    (no_ports, Machine(), 80, "port", "the service has no port 80, only none"),
    (two_policies, Machine(), 80, "policy", "NetworkPolicy d/first, d/second"),
    (
        allows("Ingress", "web", {"ports": [{"port": 8080, "protocol": "UDP"}]}),
        Machine(),
        80,
        "policy",
        "TCP 8080 enter",
    ),
    (allows("Ingress", "web", {"ports": [{"port": 9000, "endPort": 9010}]}), Machine(), 80, "policy", "TCP 8080 enter"),
    (allows("Ingress", "web", {"ports": [{"port": "metrics"}]}), Machine(), 80, "policy", "TCP 8080 enter"),
    (
        allows("Ingress", "web", {"from": [{"podSelector": {"matchLabels": {"app": "other"}}}]}),
        Machine(),
        80,
        "policy",
        "enter d/web",
    ),
    (
        allows("Ingress", "web", {"from": [{"namespaceSelector": {"matchLabels": {"name": "x"}}}]}),
        Machine(),
        80,
        "policy",
        "enter d/web",
    ),
    (
        allows("Ingress", "web", {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.244.0.3/32"]}}]}),
        Machine(),
        80,
        "policy",
        "enter d/web",
    ),
    (
        allows("Egress", "client", {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}),
        Machine(),
        80,
        "policy",
        "leave d/client",
    ),
    (
        allows("Egress", "client", {"to": [{"podSelector": {}}], "ports": [{"port": 80}]}),
        Machine(),
        80,
        "policy",
        "TCP 8080 leave",
    ),
]


@pytest.mark.parametrize(("plant", "machine", "port", "about", "said"), FAULTS)
def test_the_first_step_that_fails_names_the_cause(
    plant: Callable[[World_], None], machine: Machine, port: int, about: str, said: str
) -> None:
    made = healthy()
    plant(made)
    found = known(made)
    source = next(pod for pod in found.pods if pod.metadata.name == "client")
    steps = list(explain_service(found, machine, "d", "web", port, source))
    assert [step.ok for step in steps[:-1]] == [True] * (len(steps) - 1)
    assert (steps[-1].ok, steps[-1].about) == (False, about)
    assert said in steps[-1].said and steps[-1].fix


def test_where_nothing_is_wrong_every_step_says_so() -> None:
    steps = list(explain_service(known(healthy()), Machine(), "d", "web"))
    assert {step.ok for step in steps} == {True}
    assert [step.about for step in steps] == [
        "service",
        "port",
        "endpoints",
        "rules",
        "pod",
        "node",
        "route",
        "firewall",
        "socket",
    ]


def test_what_cannot_be_looked_at_is_passed_over_and_said() -> None:
    found = known(healthy())
    steps = list(explain_pod(found, Machine(route=None, socket=None), None, found.pods[0], 8080, "tcp"))
    assert Step("socket", None, "not looked at: that takes root on the node's machine") in steps


def test_a_near_name_or_label_is_offered() -> None:
    made = healthy()
    renamed_service(made)
    assert list(explain_service(known(made), Machine(), "d", "web"))[-1].fix == "is it wed?"
    made = healthy()
    wrong_selector(made)
    assert "app=web" in list(explain_service(known(made), Machine(), "d", "web"))[-1].fix
