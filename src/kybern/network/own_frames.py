"""What a pod may send: frames from its own hardware address with its own IP address in them, and to the node alone.

NET_RAW, which every container has by default, lets a pod write whole frames. With a neighbour's IP address it would be
let in where policies let the neighbour in; with a neighbour's hardware address the bridge would bring it what is the
neighbour's; and what goes past the node's IP layer, straight to a neighbour or to all of them, no policy sees. So no
broadcasts and no multicasts leave a pod, but questions for hardware addresses.
"""

from collections.abc import Iterable, Iterator

from kybern.linux import bpf
from kybern.linux.frame_filter import DROP, PASS
from kybern.network.ipam import Address

KINDS = {4: 0x0800, 6: 0x86DD}
ARP = 0x0806
# Where in a frame.
TO, FROM, KIND = 0, 6, 12
SENDER = {4: 26, 6: 22}
ARP_SENDER_MAC, ARP_SENDER_IP = 22, 28
KIND_END, ARP_SENDER_END = 14, 32


def own_frames(mac: str, node_mac: str, addresses: Iterable[Address]) -> list[bpf.Instruction]:
    """For `frame_filter`. `mac` and `addresses` are the pod's, one of a family; `node_mac` is the bridge's."""
    own = packed(mac)
    program = [*unless_as_long_as(KIND_END), *unless_held(FROM, own)]
    by_version = {address.version: address.packed for address in addresses}
    if 4 in by_version:
        asks = [*unless_held(ARP_SENDER_MAC, own), *unless_held(ARP_SENDER_IP, by_version[4])]
        program += of_kind(ARP, [*unless_as_long_as(ARP_SENDER_END), *asks])
    program += unless_held(TO, packed(node_mac))
    for version, address in by_version.items():
        sent = unless_held(SENDER[version], address)
        program += of_kind(KINDS[version], [*unless_as_long_as(SENDER[version] + len(address)), *sent])
    return [*program, bpf.give(DROP)]


def of_kind(kind: int, block: list[bpf.Instruction]) -> list[bpf.Instruction]:
    """Such frames are judged by the block alone, and pass at its end."""
    return [bpf.load_half(KIND), *bpf.when(bpf.EQUAL, kind, [*block, bpf.give(PASS)])]


def unless_as_long_as(length: int) -> Iterator[bpf.Instruction]:
    """Drops what ends before."""
    yield bpf.load_length()
    yield from bpf.unless(bpf.AT_LEAST, length, [bpf.give(DROP)])


def unless_held(offset: int, wanted: bytes) -> Iterator[bpf.Instruction]:
    """Drops what has anything else there."""
    for at in range(0, len(wanted), 4):
        part = wanted[at : at + 4]
        yield bpf.load(offset + at) if len(part) == 4 else bpf.load_half(offset + at)
        yield from bpf.unless(bpf.EQUAL, int.from_bytes(part, "big"), [bpf.give(DROP)])


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
