"""A cluster keeps the addresses it was given first, and no two clusters of a machine share any."""

import itertools
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest

from kybern.cmd.config import CLUSTERS_MAX, choose, overlapping, save, saved
from kybern.cmd.server import fixed_services


def test_a_cluster_keeps_its_addresses(tmp_path: Path) -> None:
    first = choose(tmp_path, [0])
    save(first)
    assert choose(tmp_path, []).ranges == first.ranges
    assert saved(tmp_path) == first


def test_two_clusters_share_no_address(tmp_path: Path) -> None:
    a, b = choose(tmp_path / "a", [], ip_family="dual"), choose(tmp_path / "b", [0], ip_family="dual")
    for ours, theirs in zip(a.ranges, b.ranges, strict=True):
        mine = (ours.pods, ours.services, ours.nodes, ours.balancers)
        others = (theirs.pods, theirs.services, theirs.nodes, theirs.balancers)
        for one, other in itertools.combinations((*mine, *others), 2):
            assert not one.overlaps(other)  # type: ignore[arg-type]
    assert {a.bridge, a.table, a.cgroup, a.run_dir}.isdisjoint({b.bridge, b.table, b.cgroup, b.run_dir})


def test_a_route_into_a_range_of_either_family_takes_its_index() -> None:
    routes = [ip_network("10.245.7.0/24"), ip_network("fd00:10:99::/64"), ip_network("::/0"), ip_network("0.0.0.0/0")]
    assert overlapping(routes) == {1, 3}


def test_the_family_that_is_chosen_first_is_ipv4_where_there_are_both(tmp_path: Path) -> None:
    versions = {
        family: [cidr.version for cidr in choose(tmp_path, [], ip_family=family).pod_cidrs]
        for family in ("ipv4", "ipv6", "dual")
    }
    assert versions == {"ipv4": [4], "ipv6": [6], "dual": [4, 6]}


def test_a_link_name_fits_the_kernel(tmp_path: Path) -> None:
    assert len(choose(tmp_path, []).bridge) <= 15


def test_what_is_asked_for_now_wins_over_what_was_saved(tmp_path: Path) -> None:
    save(choose(tmp_path, [], port=7000))
    assert choose(tmp_path, [], port=None).port == 7000
    assert choose(tmp_path, [], port=8000).port == 8000


def test_one_cluster_too_many_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kybern down"):
        choose(tmp_path, range(CLUSTERS_MAX))


@pytest.mark.parametrize("simulated", [False, True])
def test_the_service_of_the_api_has_an_endpoint_that_is_one(tmp_path: Path, simulated: bool) -> None:
    service = fixed_services(choose(tmp_path, [], simulated=simulated))[0]
    assert not any(IPv4Address(address).is_loopback for address in service.addresses)
