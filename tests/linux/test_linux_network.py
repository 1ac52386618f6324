"""rtnetlink, network namespaces and nftables against this kernel, in namespaces of the test's own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kybern.linux import netns, nft
from kybern.linux.netlink import Netlink

pytestmark = pytest.mark.linux


@pytest.fixture
def space(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "netns")
    netns.create(path)
    yield path
    netns.remove(path)


def test_a_namespace_lives_as_long_as_its_file(space: str) -> None:
    netns.create(space)  # again: nothing happens
    assert netns.exists(space)
    mine = os.readlink("/proc/thread-self/ns/net")
    with netns.inside(space):
        assert os.readlink("/proc/thread-self/ns/net") != mine
    assert os.readlink("/proc/thread-self/ns/net") == mine
    netns.remove(space)
    assert not netns.exists(space) and not os.path.exists(space)
    netns.remove(space)


def test_the_way_back_is_taken_also_after_an_error(space: str) -> None:
    mine = os.readlink("/proc/thread-self/ns/net")
    with pytest.raises(ZeroDivisionError), netns.inside(space):
        raise ZeroDivisionError
    assert os.readlink("/proc/thread-self/ns/net") == mine


def test_links_addresses_and_routes_are_made_and_read_back(space: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    netns.create(other)
    try:
        with Netlink(space) as here, Netlink(other) as there:
            bridge = here.ensure_bridge("br0", "02:00:00:00:00:01")
            assert here.ensure_bridge("br0") == bridge
            here.add_veth("veth0", "eth0", other, mtu=1400)
            here.set_master(here.index("veth0"), bridge)
            here.set_hairpin(here.index("veth0"))
            for index in (bridge, here.index("veth0")):
                here.set_up(index)
            here.ensure_address(bridge, "10.9.0.1/24")
            here.ensure_address(bridge, "10.9.0.1/24")
            there.set_up(there.index("eth0"))
            there.ensure_address(there.index("eth0"), "10.9.0.2/24")
            there.ensure_route("0.0.0.0/0", gateway="10.9.0.1")
            assert there.link("eth0").mtu == 1400  # type: ignore[union-attr]
            assert "10.9.0.2/24" in [each.address for each in there.addresses()]
            assert ("0.0.0.0/0", "10.9.0.1") in [(each.destination, each.gateway) for each in there.routes()]
            assert here.link("veth0").master == bridge  # type: ignore[union-attr]
        assert reaches(space, other)
    finally:
        netns.remove(other)


def reaches(server: str, client: str) -> bool:
    with netns.inside(server):
        listener = socket.create_server(("10.9.0.1", 0))
    with netns.inside(client):
        sending = socket.socket()
    with listener, sending:
        sending.settimeout(5)
        sending.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            return connection.getpeername()[0] == "10.9.0.2"


def test_deleting_what_is_gone_is_no_error_and_making_what_is_there_is_one(space: str) -> None:
    with Netlink(space) as links:
        links.delete_link("nothing")
        links.delete_route("10.1.0.0/16", gateway="10.9.0.1")
        assert links.link("nothing") is None
        links.add_veth("a", "b")
        with pytest.raises(FileExistsError, match="File exists"):
            links.add_veth("a", "c")
        with pytest.raises(OSError, match="no bridge"):
            links.ensure_bridge("a")


def test_vxlan_links_are_told_who_is_where(space: str) -> None:
    with Netlink(space) as links:
        index = links.ensure_vxlan("vx0", 7, "127.0.0.1", 4789)
        links.set_forwarding(index, "02:00:00:00:00:09", "10.0.0.9")
        links.set_neighbour(index, "02:00:00:00:00:09", "10.9.9.9")
        assert links.link("vx0").kind == "vxlan"  # type: ignore[union-attr]


def test_rules_are_all_loaded_or_none(space: str) -> None:
    nft.apply("add table inet t\nadd chain inet t c\n", space)
    assert "chain c" in nft.listing("inet", "t", space)
    with pytest.raises(nft.RulesRefused, match="syntax error"):
        nft.apply("add table inet other\nthis is nothing\n", space)
    assert nft.listing("inet", "other", space) == ""
    nft.delete_table("inet", "t", space)
    nft.delete_table("inet", "t", space)
    assert nft.listing("inet", "t", space) == ""
