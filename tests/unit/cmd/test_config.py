"""A cluster keeps the addresses it was given first, and no two clusters of a machine share any."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from kybern.cmd.config import CLUSTERS_MAX, choose, save, saved
from kybern.cmd.server import fixed_services


def test_a_cluster_keeps_its_addresses(tmp_path: Path) -> None:
    first = choose(tmp_path, [0])
    save(first)
    assert choose(tmp_path, []).pod_cidr == first.pod_cidr
    assert saved(tmp_path) == first


def test_two_clusters_share_no_address(tmp_path: Path) -> None:
    a, b = choose(tmp_path / "a", []), choose(tmp_path / "b", [0])
    assert not a.pod_cidr.overlaps(b.pod_cidr)
    assert not a.service_cidr.overlaps(b.service_cidr)
    assert {a.bridge, a.table, a.cgroup, a.run_dir}.isdisjoint({b.bridge, b.table, b.cgroup, b.run_dir})


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
