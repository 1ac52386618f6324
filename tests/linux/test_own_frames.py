"""E35: frames that a pod writes by hand, as NET_RAW allows, in the names of others, or past the node's IP layer.

Pods are namespaces of a machine that is a namespace itself. What arrives at a neighbour is read from its link; each forged
frame is followed by an honest one, so that it is known when to stop waiting.
"""

import asyncio
import errno
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest

from kybern.linux import bpf, netns, nft
from kybern.linux.netlink import Netlink
from kybern.network import bridge
from kybern.network.bridge import POD_LINK, BridgeNetwork, hardware_address
from kybern.runtime.cri import PodSandboxConfig, SandboxMetadata

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

CONFIG = PodSandboxConfig(metadata=SandboxMetadata(name="p", namespace="d", uid="u"))
ETH_P_ALL = 0x0003
NODE, EVERYBODY = hardware_address(ip_address("10.199.0.1")), "ff:ff:ff:ff:ff:ff"
ALL_NODES_MAC, ALL_NODES = "33:33:00:00:00:01", "ff02::1"
SENT_AGAIN = 10


@dataclass(frozen=True)
class Pod:
    namespace: Path
    ip: str
    ip6: str

    @property
    def mac(self) -> str:
        return hardware_address(ip_address(self.ip))


Pods = tuple[Pod, Pod, Pod]


@pytest.fixture
def pods(machine: Path) -> Iterator[Pods]:
    """Evil, another, and who gets the frames."""
    network = BridgeNetwork("kyb-test", machine / "addresses", (IPv4Network("10.198.0.0/16"),))
    network.configure(("10.199.0.0/24", "fd99::/64"))
    names = ("evil", "other", "target")
    made = []
    for name in names:
        netns.create(str(machine / name))
        ip, ip6 = asyncio.run(network.attach(name, str(machine / name), CONFIG))
        made.append(Pod(machine / name, ip, ip6))
    yield made[0], made[1], made[2]
    for name in names:
        asyncio.run(network.detach(name, str(machine / name)))
        netns.remove(str(machine / name))


def frame(to: str, sender: str, kind: int, payload: bytes) -> bytes:
    return bytes.fromhex((to + sender).replace(":", "")) + struct.pack("!H", kind) + payload


def ipv4(sender: str, to: str, text: bytes) -> bytes:
    def header(checksum: int) -> bytes:
        packed = socket.inet_aton(sender) + socket.inet_aton(to)
        return struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(text), 0, 0, 9, socket.IPPROTO_UDP, checksum) + packed

    total = sum(struct.unpack("!10H", header(0)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header(~total & 0xFFFF) + udp(text)


def ipv6(sender: str, to: str, text: bytes) -> bytes:
    packed = socket.inet_pton(socket.AF_INET6, sender) + socket.inet_pton(socket.AF_INET6, to)
    return struct.pack("!IHBB", 6 << 28, 8 + len(text), socket.IPPROTO_UDP, 9) + packed + udp(text)


def udp(text: bytes) -> bytes:
    return struct.pack("!HHHH", 9, 9, 8 + len(text), 0) + text


def arp(mac: str, ip: str, text: bytes) -> bytes:
    """A question that tells who asks."""
    sender = bytes.fromhex(mac.replace(":", "")) + socket.inet_aton(ip)
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + bytes(10) + text


Written = Callable[[Pod, Pod, Pod, bytes], bytes]

HONEST: dict[str, Written] = {
    "IPv4": lambda evil, other, target, text: frame(NODE, evil.mac, 0x0800, ipv4(evil.ip, target.ip, text)),
    "IPv6": lambda evil, other, target, text: frame(NODE, evil.mac, 0x86DD, ipv6(evil.ip6, target.ip6, text)),
    "ARP": lambda evil, other, target, text: frame(EVERYBODY, evil.mac, 0x0806, arp(evil.mac, evil.ip, text)),
}
FORGED: dict[str, Written] = {
    "another's IPv4 address": lambda evil, other, target, text: frame(
        NODE, evil.mac, 0x0800, ipv4(other.ip, target.ip, text)
    ),
    "another's IPv6 address": lambda evil, other, target, text: frame(
        NODE, evil.mac, 0x86DD, ipv6(other.ip6, target.ip6, text)
    ),
    "nobody's address": lambda evil, other, target, text: frame(
        NODE, evil.mac, 0x0800, ipv4("192.0.2.1", target.ip, text)
    ),
    "another's hardware address": lambda evil, other, target, text: frame(
        NODE, other.mac, 0x0800, ipv4(evil.ip, target.ip, text)
    ),
    "past the node": lambda evil, other, target, text: frame(
        target.mac, evil.mac, 0x0800, ipv4(evil.ip, target.ip, text)
    ),
    "past the node, IPv6": lambda evil, other, target, text: frame(
        target.mac, evil.mac, 0x86DD, ipv6(evil.ip6, target.ip6, text)
    ),
    "to all": lambda evil, other, target, text: frame(EVERYBODY, evil.mac, 0x0800, ipv4(evil.ip, target.ip, text)),
    "to all, IPv6": lambda evil, other, target, text: frame(
        ALL_NODES_MAC, evil.mac, 0x86DD, ipv6(evil.ip6, ALL_NODES, text)
    ),
    "another kind": lambda evil, other, target, text: frame(target.mac, evil.mac, 0x88B5, bytes(46) + text),
    "ARP for another's address": lambda evil, other, target, text: frame(
        EVERYBODY, evil.mac, 0x0806, arp(evil.mac, other.ip, text)
    ),
    "ARP that ends before it says who asks": lambda evil, other, target, text: frame(EVERYBODY, evil.mac, 0x0806, text),
    "ARP for another's hardware address": lambda evil, other, target, text: frame(
        EVERYBODY, evil.mac, 0x0806, arp(other.mac, evil.ip, text)
    ),
}


def arrived(pods: Pods, written: Sequence[Written], last: bytes) -> list[bytes]:
    """The texts `0`, `1`.. of the frames that came to the third pod, up to `last`, in any order before it.

    The frame that is written last is written again each second: a bridge that has its first link has no IPv6 route before
    the kernel has looked at its carrier, which it does at most once a second."""
    evil, _, target = pods
    with netns.inside(str(target.namespace)):
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with netns.inside(str(evil.namespace)):
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with link, out:
        link.bind((POD_LINK, ETH_P_ALL))
        link.settimeout(1)
        out.bind((POD_LINK, 0))
        frames = [write(*pods, b"forged? %d" % number) for number, write in enumerate(written)]
        for forged in frames[:-1]:
            out.send(forged)
        found: list[bytes] = []
        for _ in range(SENT_AGAIN):
            out.send(frames[-1])
            with suppress(TimeoutError):
                while last not in found:
                    _, is_ours, text = link.recv(2048).partition(b"forged? ")
                    if is_ours:
                        found.append(text)
                return found
        raise TimeoutError(f"{last!r} did not arrive")


@pytest.mark.parametrize("name", HONEST)
def test_what_a_pod_sends_in_its_own_name_arrives(pods: Pods, name: str) -> None:
    assert arrived(pods, [HONEST[name]], b"0") == [b"0"]


@pytest.mark.parametrize("name", FORGED)
def test_what_a_pod_sends_in_anothers_name_or_past_the_node_does_not_arrive(pods: Pods, name: str) -> None:
    nft.apply("flush ruleset\n")  # a firewall that is loaded again
    assert arrived(pods, [FORGED[name], HONEST["IPv4"]], b"1") == [b"1"]


@pytest.mark.parametrize("name", FORGED)
def test_without_the_defence_it_arrives(
    machine: Path, request: pytest.FixtureRequest, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "filter_frames", lambda links, index, program: None)
    assert arrived(request.getfixturevalue("pods"), [FORGED[name]], b"0") == [b"0"]


def test_a_kernel_without_such_filters_is_told_of_once_and_pods_run_all_the_same(
    machine: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lacking(links: Netlink, index: int, program: list[bpf.Instruction]) -> None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(bridge, "filter_frames", lacking)
    with caplog.at_level(logging.WARNING):
        assert arrived(request.getfixturevalue("pods"), [HONEST["IPv4"]], b"0") == [b"0"]
    [told] = [record.message for record in caplog.records if "cls_bpf" in record.message]
    assert "NET_RAW" in told
