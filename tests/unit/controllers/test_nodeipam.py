"""Goal: a cluster of more nodes than its pod network has parts is a quiet one. Method: one network of two parts, five nodes."""

from ipaddress import ip_network

from msgspec.structs import replace

from kybern.api.core_v1 import Event, Node, NodeSpec
from kybern.controllers.nodeipam import first_free, node_ipam, prefix_of, taken, with_parts
from kybern.testing import virtual
from kybern.testing.builders import node
from kybern.testing.cluster import Cluster, running

NODES = tuple(f"n{number}" for number in range(5))


def with_cidrs(*cidrs: str) -> Node:
    spec = NodeSpec(pod_cidr=cidrs[0] if cidrs else None, pod_cidrs=cidrs or None)
    return replace(node("n"), spec=spec)


async def parts(cluster: Cluster) -> dict[str, str]:
    nodes = await cluster.client.list(Node)
    return {one.metadata.name or "": one.spec.pod_cidr for one in nodes if one.spec.pod_cidr}


def test_a_node_gets_the_first_free_part_of_the_network() -> None:
    network = ip_network("10.244.0.0/16")
    assert first_free(network, 24, {"10.244.0.0/24"}) == "10.244.1.0/24"
    assert first_free(ip_network("10.0.0.0/24"), 24, {"10.0.0.0/24"}) is None


def test_a_node_gets_a_part_of_each_family_that_the_cluster_has() -> None:
    assert prefix_of(ip_network("10.244.0.0/16"), 24) == 24
    assert prefix_of(ip_network("fd00::/48"), 24) == 64
    assert first_free(ip_network("fd00::/48"), 64, {"fd00::/64"}) == "fd00:0:0:1::/64"


def test_parts_of_one_family_do_not_use_up_the_other() -> None:
    used = taken([with_cidrs("10.0.0.0/24", "fd00::/64")])
    assert first_free(ip_network("10.0.0.0/23"), 24, used) == "10.0.1.0/24"
    assert first_free(ip_network("fd00::/63"), 64, used) == "fd00:0:0:1::/64"
    assert first_free(ip_network("fd00::/64"), 64, used) is None


def test_parts_of_another_network_do_not_use_up_this_one() -> None:
    former = {"10.9.0.0/24", "10.9.1.0/24", "9.0.0.0/8", "10.0.2.0/24"}
    assert first_free(ip_network("10.0.0.0/23"), 24, former) == "10.0.0.0/24"


def test_parts_of_another_size_are_not_given_in_part() -> None:
    network = ip_network("10.0.0.0/16")
    assert first_free(network, 24, {"10.0.0.0/22", "10.0.1.0/24"}) == "10.0.4.0/24"
    assert first_free(network, 24, {"10.0.0.128/26", "10.0.1.7/32"}) == "10.0.2.0/24"
    assert first_free(network, 24, {"10.0.0.0/8"}) is None


def test_the_part_between_two_that_are_taken_is_found() -> None:
    assert first_free(ip_network("10.0.0.0/16"), 24, {"10.0.2.0/24", "10.0.0.0/24"}) == "10.0.1.0/24"


def test_only_nodes_that_have_a_part_are_asked_which() -> None:
    assert [tuple(with_parts(one)) for one in (with_cidrs(), with_cidrs("10.0.0.0/24"))] == [(), ("",)]


def test_nodes_for_which_no_part_is_left_are_told_of_once_however_much_else_changes() -> None:
    told: list[tuple[str, int]] = []

    async def main() -> None:
        async with running(NODES, loops=(node_ipam("10.0.0.0/23"),)) as cluster:
            await cluster.settle()
            assert len(await parts(cluster)) == 2
            for name in NODES:
                await cluster.client.patch(Node, name, "", {"metadata": {"labels": {"colour": "red"}}})
            await cluster.advance(300)
            found = await cluster.client.list(Event)
            told.extend((event.involved_object.name or "", event.count or 0) for event in found)
            waiting = set(NODES) - (await parts(cluster)).keys()
            assert sorted(told) == [(name, 1) for name in sorted(waiting)]

    virtual.run(main())
    assert len(told) == 3


def test_the_part_of_a_node_that_goes_is_given_to_one_that_waits() -> None:
    async def main() -> None:
        async with running(NODES, loops=(node_ipam("10.0.0.0/23"),)) as cluster:
            await cluster.settle()
            before = await parts(cluster)
            gone = sorted(before)[0]
            cluster.nodes.silence(gone)
            await cluster.client.delete(Node, gone, "")
            await cluster.advance(61)
            after = await parts(cluster)
            assert sorted(after.values()) == sorted(before.values()) == ["10.0.0.0/24", "10.0.1.0/24"]
            assert gone not in after

    virtual.run(main())
