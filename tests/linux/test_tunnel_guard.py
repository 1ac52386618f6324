"""The tunnel's guard with real packets: what a socket on VXLAN's port is still given, by who sends and for which number."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kybern.linux import netns, nft
from kybern.linux.netlink import Netlink
from kybern.network.routes import VXLAN_PORT, Tunnel
from kybern.network.tunnel_guard import guard

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

NODE, PEER, STRANGER = "10.199.9.1", "10.199.9.2", "10.199.9.9"
OURS, OTHERS = 4242, 7


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "machine")
    netns.create(path)
    with Netlink(path) as links:
        links.set_up(links.index("lo"))
        for address in (NODE, PEER, STRANGER):
            links.ensure_address(links.index("lo"), f"{address}/32")
    yield path
    netns.remove(path)


def datagrams(machine: str, address: str) -> socket.socket:
    with netns.inside(machine):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, VXLAN_PORT))
    made.settimeout(1)
    return made


def test_only_nodes_send_into_the_tunnel_and_others_tunnels_are_left_alone(machine: str) -> None:
    node = datagrams(machine, NODE)
    senders = {address: datagrams(machine, address) for address in (PEER, STRANGER)}

    def given() -> set[tuple[str, int]]:
        for number in (OURS, OTHERS):
            for sender in senders.values():
                sender.sendto(b"\x08\0\0\0" + number.to_bytes(3) + b"\0" + b"frame", (NODE, VXLAN_PORT))
        senders[PEER].sendto(b"the last one", (NODE, VXLAN_PORT))  # on the loopback nothing overtakes
        found = set()
        while (packet := node.recvfrom(99))[0] != b"the last one":
            found.add((packet[1][0], int.from_bytes(packet[0][4:7])))
        return found

    everybody = {(who, number) for who in (PEER, STRANGER) for number in (OURS, OTHERS)}
    assert given() == everybody, "without a guard VXLAN asks nobody who he is"
    tunnel = Tunnel("vx", OURS, NODE, 1450)
    nft.apply(guard("kybern-test-tunnel", tunnel, [NODE, PEER]), machine)
    assert given() == everybody - {(STRANGER, OURS)}
    nft.apply(guard("kybern-test-tunnel", tunnel, [NODE]), machine)
    assert given() == everybody - {(STRANGER, OURS), (PEER, OURS)}, "a node that is gone is a stranger"
    for each in (node, *senders.values()):
        each.close()
