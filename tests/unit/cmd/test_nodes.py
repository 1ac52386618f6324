"""What `kybern node` makes of a cluster's note, and what follows for the programs that run."""

from pathlib import Path

import pytest

from kybern.cmd.cluster import programs
from kybern.cmd.config import Cluster, choose, save, saved
from kybern.cmd.nodes import Refused, further, with_another, with_changed
from kybern.cmd.place import places


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return choose(tmp_path, [], node_name="n")


def test_further_nodes_have_the_lowest_free_number_and_are_named_after_the_first(cluster: Cluster) -> None:
    grown = with_another(with_another(cluster, None), "other")
    assert [(place.name, str(place.address)) for place in places(grown)] == [
        ("n", "10.106.0.1"), ("n-2", "10.106.0.2"), ("other", "10.106.0.3"),
    ]  # fmt: skip
    with pytest.raises(Refused, match="already"):
        with_another(grown, "other")


def test_the_note_brings_every_node_back_as_it_was(cluster: Cluster) -> None:
    grown = with_changed(with_another(cluster, None, "2", "1Gi"), "n-2", off=True)
    save(grown)
    assert saved(Path(cluster.data_dir)) == grown


def test_a_node_that_is_off_has_no_program_and_a_slowed_one_has_one_more(cluster: Cluster) -> None:
    grown = with_another(cluster, None)
    usual = ["warden", "server", "node", "control", "ingress"]
    assert [p.name for p in programs(grown)] == [*usual, "warden-n-2", "node-n-2"]
    assert [p.name for p in programs(with_changed(grown, "n-2", off=True))] == usual
    slowed = [p.name for p in programs(with_changed(grown, "n-2", delay_ms=5, loss_percent=1))]
    assert slowed == [*usual, "warden-n-2", "node-n-2", "link-n-2-5ms-1"]


def test_no_two_nodes_share_a_directory_a_link_or_a_cgroup(cluster: Cluster) -> None:
    found = list(places(with_another(with_another(cluster, None), None)))
    for attribute in ("data", "run", "runtime", "uplink", "slow_ends", "cgroup", "keeper_socket", "serving_pair"):
        assert len({getattr(place, attribute) for place in found}) == 3, attribute
    assert all(len(name) <= 15 for place in found for name in (place.uplink, *place.slow_ends))


def test_the_first_node_is_the_machine_and_cannot_be_treated_like_the_others(cluster: Cluster) -> None:
    with pytest.raises(Refused, match="this machine itself"):
        further(cluster, "n")
