"""Which ways lead to other nodes' pods, as values."""

from kybern.api.core_v1 import Node, NodeAddress, NodeSpec, NodeStatus
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.clusterdns import endpoints
from kybern.network.peers import NETWORKED, Peer, node_addresses, peers
from kybern.network.routes import Tunnel, Way, tunnel_mac, wanted_routes
from kybern.network.tunnel_guard import guard


def node(name: str, address: str, *cidrs: str, networked: bool = True) -> Node:
    return Node(
        metadata=ObjectMeta(name=name, labels={NETWORKED: "true"} if networked else {}),
        spec=NodeSpec(pod_cidr=cidrs[0] if cidrs else None, pod_cidrs=cidrs or None),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )


A, B = node("a", "10.106.0.1", "10.244.0.0/24"), node("b", "10.106.0.2", "10.244.7.0/24")


def test_a_tunnel_ends_at_the_first_address_of_its_nodes_pods() -> None:
    assert wanted_routes(peers([A, B], "a"), {}, tunnelled=True) == {Way("10.244.7.0/24", "10.244.7.0")}
    assert tunnel_mac("10.244.7.0/24") == "0a:58:0a:f4:07:00"


def test_without_tunnels_the_way_is_the_nodes_own_address() -> None:
    assert wanted_routes(peers([A, B], "a"), {}, tunnelled=False) == {Way("10.244.7.0/24", "10.106.0.2")}


def test_a_node_without_pods_or_of_another_network_is_no_peer() -> None:
    assert peers([A, node("c", "10.106.0.3"), node("d", "1.2.3.4", "10.244.9.0/24", networked=False)], "a") == []
    assert node_addresses([A, B, node("d", "1.2.3.4", networked=False)]) == {"10.106.0.1", "10.106.0.2"}


def test_a_node_with_one_address_carries_both_families_of_pods() -> None:
    both = node("b", "10.106.0.2", "10.244.7.0/24", "fd00:10:244:7::/64")
    assert peers([both], "a") == [
        Peer("b", ("10.106.0.2",), "10.244.7.0/24"), Peer("b", ("10.106.0.2",), "fd00:10:244:7::/64"),
    ]  # fmt: skip


def test_every_node_of_the_network_answers_for_the_cluster_and_first_for_itself() -> None:
    found = endpoints([B, A, node("d", "1.2.3.4", networked=False)])
    assert [endpoint.addresses for endpoint in found] == [("10.106.0.1",), ("10.106.0.2",)]
    assert [hint.name for e in found if e.hints for hint in e.hints.for_nodes or ()] == ["a", "b"]


def test_a_pod_that_keeps_its_address_is_reached_on_whichever_node_it_is() -> None:
    found = wanted_routes(peers([A, B], "a"), {"10.244.250.9": "b", "10.244.250.8": "a"}, tunnelled=True)
    assert found == {Way("10.244.7.0/24", "10.244.7.0"), Way("10.244.250.9/32", "10.244.7.0")}


def test_ends_of_tunnels_of_ipv6_have_hardware_addresses_of_their_own() -> None:
    assert tunnel_mac("fd00:10:244:1::/64") != tunnel_mac("fd00:10:244:2::/64")


def test_without_tunnels_each_family_goes_by_the_nodes_address_of_that_family() -> None:
    both = Peer("b", ("10.106.0.2", "fd00:10:106::2"), "fd00:10:244:7::/64")
    assert wanted_routes([both], {}, tunnelled=False) == {Way("fd00:10:244:7::/64", "fd00:10:106::2")}


def test_the_tunnels_guard_knows_nodes_of_its_own_family_only() -> None:
    tunnel = Tunnel("vx", 4099, "10.106.0.1", 1450)
    text = guard("t-tunnel", tunnel, ["10.106.0.2", "fd00:10:106::2", "10.106.0.1"])
    assert "elements = { 10.106.0.1, 10.106.0.2 };" in text and "4099" in text
    assert "elements" not in guard("t-tunnel", tunnel, [])
