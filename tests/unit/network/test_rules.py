"""Services to nftables: the ports that services add up to, and the transactions between two rulesets."""

from dataclasses import replace

from msgspec.structs import replace as structs_replace

from kybern.api.core_v1 import Service, ServiceSpec
from kybern.api.core_v1 import ServicePort as Port
from kybern.api.discovery_v1 import (  # fmt: skip
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForNode,
    ForZone,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.linux.conntrack import Flow
from kybern.network.flows import stale
from kybern.network.health_checks import Answer
from kybern.network.health_checks import wanted as wanted_checks
from kybern.network.nftables import Ruleset, transaction
from kybern.network.rules import HostPort, NodeNetwork, frame, host_port_rules, service_rules
from kybern.network.services import Backend, Here, ServicePort, ports_of


def service(**spec: object) -> Service:
    given = {"cluster_ip": "10.96.0.9", "ports": (Port(port=80, node_port=30080),), **spec}
    return Service(metadata=ObjectMeta(name="web", namespace="default"), spec=ServiceSpec(**given))  # type: ignore[arg-type]


NODE = NodeNetwork(
    table="t", node_addresses=("10.106.0.1",), node_pod_cidr="10.244.0.0/24", cluster_pod_cidr="10.244.0.0/16"
)


def pieces(*found: Endpoint, port: int = 8080) -> list[EndpointSlice]:
    offered = (EndpointPort(name="", port=port, protocol="TCP"),)
    return [EndpointSlice(address_type="IPv4", ports=offered, endpoints=found)]


def rules_of(svc: Service, *found: Endpoint) -> Ruleset:
    return service_rules(ports_of(svc, pieces(*found), Here("n1")), NODE)


def at(
    address: str, *, ready: bool = True, serving: bool = True, terminating: bool = False, node: str = ""
) -> Endpoint:
    conditions = EndpointConditions(ready=ready, serving=serving, terminating=terminating)
    return Endpoint(addresses=(address,), conditions=conditions, node_name=node or None)


def backends(svc: Service, *found: Endpoint, node: str = "n1") -> tuple[Backend, ...]:
    (port,) = ports_of(svc, pieces(*found), Here(node))
    return port.backends


def test_only_ready_endpoints_are_backends() -> None:
    assert backends(service(), at("10.244.0.2"), at("10.244.0.3", ready=False)) == (Backend("10.244.0.2", 8080),)


def test_terminating_endpoints_serve_when_no_other_is_ready() -> None:
    last = at("10.244.0.2", ready=False, terminating=True)
    assert backends(service(), last) == (Backend("10.244.0.2", 8080),)
    assert backends(service(), last, at("10.244.0.3")) == (Backend("10.244.0.3", 8080),)


def test_a_local_internal_traffic_policy_keeps_to_the_node() -> None:
    svc = service(internal_traffic_policy="Local")
    found = (at("10.244.0.2", node="n1"), at("10.244.1.2", node="n2"))
    assert backends(svc, *found) == (Backend("10.244.0.2", 8080),)


def test_headless_and_external_name_services_are_not_proxied() -> None:
    alias = service(type="ExternalName", external_name="example.com", cluster_ip=None)
    assert [ports_of(svc, (), Here("n1")) for svc in (service(cluster_ip="None"), alias)] == [[], []]


def test_a_service_without_endpoints_is_refused_at_once() -> None:
    rules = rules_of(service())
    assert rules.elements["no-endpoints"] == {"10.96.0.9 . tcp . 80": ""}
    assert rules.elements["no-endpoint-nodeports"] == {"tcp . 30080": ""}
    assert rules.chains == {}


def test_nothing_changed_is_no_transaction() -> None:
    rules = rules_of(service(), at("10.244.0.2"))
    assert transaction("ip", "t", rules, rules) == ""


def test_one_more_backend_rewrites_one_chain_and_touches_no_map_of_services() -> None:
    before = rules_of(service(), at("10.244.0.2"))
    after = rules_of(service(), at("10.244.0.2"), at("10.244.0.3"))
    text = transaction("ip", "t", before, after)
    assert text.count("flush chain") == 1
    assert "service-ips" not in text
    assert "numgen random mod 2" in text


def test_a_chain_is_deleted_after_the_element_that_leads_to_it() -> None:
    before = rules_of(service(), at("10.244.0.2"))
    lines = transaction("ip", "t", before, Ruleset()).splitlines()
    assert [line.split()[0:2] for line in lines if "service-" in line or "chain" in line] == [
        ["delete", "element"],
        ["delete", "element"],
        ["flush", "chain"],
        ["delete", "chain"],
    ]


def test_client_affinity_remembers_a_client_per_backend() -> None:
    port = ServicePort(
        namespace="d", service="s", name="", protocol="tcp", port=80, cluster_ips=("10.96.0.1",),
        backends=(Backend("10.244.0.2", 80), Backend("10.244.0.3", 80)), affinity_seconds=15,
    )  # fmt: skip
    rules = service_rules([port], NODE)
    assert len(rules.sets) == 2
    assert all("timeout 15s" in kind for kind in rules.sets.values())
    assert len(rules.chains) == 3
    other = service_rules([replace(port, affinity_seconds=16)], NODE)
    assert not other.sets.keys() & rules.sets.keys(), "a set that stays keeps its timeout"


def test_the_frame_replaces_only_its_own_table() -> None:
    network = NodeNetwork(
        table="kybern-1",
        node_addresses=("10.244.0.1",),
        node_pod_cidr="10.244.0.0/24",
        cluster_pod_cidr="10.244.0.0/16",
    )
    assert frame(network).startswith("table ip kybern-1\ndelete table ip kybern-1\n")
    assert "flush ruleset" not in frame(network)


def hinted(address: str, *, node: str = "", zone: str = "", on: str = "") -> Endpoint:
    hints = EndpointHints(
        for_nodes=(ForNode(name=node),) if node else None, for_zones=(ForZone(name=zone),) if zone else None
    )
    return Endpoint(addresses=(address,), conditions=EndpointConditions(ready=True), node_name=on or None, hints=hints)


def reached(*found: Endpoint, here: Here) -> list[str]:
    (port,) = ports_of(service(), pieces(*found), here)
    return [backend.address for backend in port.backends]


def test_hints_keep_to_the_node_then_to_the_zone_and_count_only_when_every_endpoint_has_some() -> None:
    a, b = hinted("10.0.0.1", node="n1", zone="z1"), hinted("10.0.0.2", node="n2", zone="z2")
    assert reached(a, b, here=Here("n1")) == ["10.0.0.1"]
    assert reached(a, b, here=Here("n3", "z2")) == ["10.0.0.2"]
    assert reached(a, b, here=Here("n3", "z3")) == ["10.0.0.1", "10.0.0.2"]
    assert reached(a, b, at("10.0.0.3"), here=Here("n1", "z1")) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_outside_a_local_policy_knows_only_the_nodes_own_endpoints() -> None:
    found = (at("10.244.0.2", node="n1"), at("10.244.1.2", node="n2"))
    svc = service(external_traffic_policy="Local")
    (port,) = ports_of(svc, pieces(*found), Here("n1"))
    assert len(port.backends) == 2 and port.outside_backends == (Backend("10.244.0.2", 8080),)
    (port,) = ports_of(svc, pieces(found[1]), Here("n1"))
    rules = service_rules([port], NODE)
    assert rules.elements["no-local-nodeports"] == {"tcp . 30080": ""}
    assert "no-endpoints" not in rules.elements


def test_each_family_of_a_dual_stack_service_has_its_own_endpoints() -> None:
    svc = service(cluster_ips=("10.96.0.9", "fd00::9"))
    six = EndpointSlice(address_type="IPv6", ports=(EndpointPort(name="", port=8080),), endpoints=(at("fd00:1::2"),))
    four, other = ports_of(svc, [*pieces(at("10.244.0.2")), six], Here("n1"))
    assert (four.version, four.backends) == (4, (Backend("10.244.0.2", 8080),))
    assert (other.version, other.backends) == (6, (Backend("fd00:1::2", 8080),))
    assert service_rules([four, other], NODE).elements["cluster-ips"] == {"10.96.0.9": ""}


def test_one_number_under_two_protocols_is_two_ports() -> None:
    svc = service(ports=(Port(name="t", port=53, protocol="TCP"), Port(name="u", port=53, protocol="UDP")))
    offered = (EndpointPort(name="t", port=53, protocol="TCP"), EndpointPort(name="u", port=54, protocol="UDP"))
    piece = EndpointSlice(address_type="IPv4", ports=offered, endpoints=(at("10.244.0.2"),))
    elements = service_rules(ports_of(svc, [piece], Here("n1")), NODE).elements["service-ips"]
    assert set(elements) == {"10.96.0.9 . tcp . 53", "10.96.0.9 . udp . 53"}
    only_tcp = service_rules(ports_of(svc, [structs_replace(piece, ports=offered[:1])], Here("n1")), NODE)
    assert set(only_tcp.elements["service-ips"]) == {"10.96.0.9 . tcp . 53"}


def test_hand_made_slices_add_up_port_by_port() -> None:
    svc = service(selector=None)
    one, two = pieces(at("10.1.1.1"), port=3000), pieces(at("10.1.1.1"), at("10.1.1.2"), port=3001)
    (port,) = ports_of(svc, [*one, *two], Here("n1"))
    assert port.backends == (Backend("10.1.1.1", 3000), Backend("10.1.1.1", 3001), Backend("10.1.1.2", 3001))


def test_two_pods_that_ask_for_one_host_port_do_not_break_the_table() -> None:
    wanted = [HostPort(host_ip="", protocol="tcp", host_port=80, address=f"10.244.0.{i}", port=1) for i in (2, 3)]
    assert list(host_port_rules(wanted, 4).elements["host-ports-any"]) == ["tcp . 80"]


def test_a_health_check_port_tells_of_the_nodes_own_endpoints() -> None:
    svc = service(type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=31000)
    found = {("default", "web"): pieces(at("10.244.0.2", node="n1"), at("10.244.1.2", node="n2"))}
    assert wanted_checks([svc], found, "n1") == {31000: Answer("default", "web", 1)}
    assert wanted_checks([svc], found, "n3") == {31000: Answer("default", "web", 0)}


def udp(*backends: Backend) -> ServicePort:
    return ServicePort(
        namespace="d", service="s", name="", protocol="udp", port=53, node_port=30053,
        cluster_ips=("10.96.0.1",), backends=backends,
    )  # fmt: skip


def test_flows_to_a_backend_that_is_gone_are_stale_and_those_to_others_are_not() -> None:
    old, new = Backend("10.244.0.2", 53), Backend("10.244.0.3", 53)
    found = stale({("d", "s"): [udp(old, new)]}, {("d", "s"): [udp(new)]})

    def flow(asked: str, port: int, backend: str) -> Flow:
        return Flow(asked, port, backend, 53, b"", 2)

    assert found.is_stale(flow("10.96.0.1", 53, "10.244.0.2"))
    assert found.is_stale(flow("192.0.2.1", 30053, "10.244.0.2"))
    assert not found.is_stale(flow("10.96.0.1", 53, "10.244.0.3"))
    assert not found.is_stale(flow("10.96.0.7", 53, "10.244.0.2"))
