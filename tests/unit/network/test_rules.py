"""Services to nftables: the ports that services add up to, and the transactions between two rulesets."""

from kybern.api.core_v1 import Service, ServiceSpec
from kybern.api.core_v1 import ServicePort as Port
from kybern.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kybern.api.meta_v1 import ObjectMeta
from kybern.network.nftables import Ruleset, transaction
from kybern.network.rules import NodeNetwork, frame, ruleset
from kybern.network.services import Backend, ServicePort, service_ports


def service(**spec: object) -> Service:
    given = {"cluster_ip": "10.96.0.9", "ports": (Port(port=80, node_port=30080),), **spec}
    return Service(metadata=ObjectMeta(name="web", namespace="default"), spec=ServiceSpec(**given))  # type: ignore[arg-type]


def endpoints(*found: Endpoint, port: int = 8080) -> dict[tuple[str, str], list[EndpointSlice]]:
    piece = EndpointSlice(
        address_type="IPv4", ports=(EndpointPort(name="", port=port, protocol="TCP"),), endpoints=found
    )
    return {("default", "web"): [piece]}


def at(
    address: str, *, ready: bool = True, serving: bool = True, terminating: bool = False, node: str = ""
) -> Endpoint:
    conditions = EndpointConditions(ready=ready, serving=serving, terminating=terminating)
    return Endpoint(addresses=(address,), conditions=conditions, node_name=node or None)


def backends(svc: Service, *found: Endpoint, node: str = "n1") -> tuple[Backend, ...]:
    (port,) = service_ports([svc], endpoints(*found), node)
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
    assert service_ports([service(cluster_ip="None"), alias], {}, "n1") == []


def test_a_service_without_endpoints_is_refused_at_once() -> None:
    rules = ruleset(service_ports([service()], {}, "n1"))
    assert rules.elements["no-endpoints"] == {"10.96.0.9 . tcp . 80": ""}
    assert rules.elements["no-endpoint-nodeports"] == {"tcp . 30080": ""}
    assert rules.chains == {}


def test_nothing_changed_is_no_transaction() -> None:
    rules = ruleset(service_ports([service()], endpoints(at("10.244.0.2")), "n1"))
    assert transaction("ip", "t", rules, rules) == ""


def test_one_more_backend_rewrites_one_chain_and_touches_no_map_of_services() -> None:
    before = ruleset(service_ports([service()], endpoints(at("10.244.0.2")), "n1"))
    after = ruleset(service_ports([service()], endpoints(at("10.244.0.2"), at("10.244.0.3")), "n1"))
    text = transaction("ip", "t", before, after)
    assert text.count("flush chain") == 1
    assert "service-ips" not in text
    assert "numgen random mod 2" in text


def test_a_chain_is_deleted_after_the_element_that_leads_to_it() -> None:
    before = ruleset(service_ports([service()], endpoints(at("10.244.0.2")), "n1"))
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
    rules = ruleset([port])
    assert len(rules.sets) == 2
    assert all("timeout 15s" in kind for kind in rules.sets.values())
    assert len(rules.chains) == 3


def test_the_frame_replaces_only_its_own_table() -> None:
    network = NodeNetwork(
        table="kybern-1",
        node_addresses=("10.244.0.1",),
        node_pod_cidr="10.244.0.0/24",
        cluster_pod_cidr="10.244.0.0/16",
    )
    assert frame(network).startswith("table ip kybern-1\ndelete table ip kybern-1\n")
    assert "flush ruleset" not in frame(network)
