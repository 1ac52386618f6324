"""What is done in nftables in a network namespace, as the kernel tells it once a transaction holds (nfnetlink, the group that
`nft monitor` listens to): messages about single things, and one at the end of each transaction."""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kybern.linux import netns
from kybern.linux.netlink_messages import attributes

NETLINK_NETFILTER = 12
GROUP_NFTABLES = 7
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
NEWGEN, GETGEN = 15, 16  # NFT_MSG_NEWGEN, NFT_MSG_GETGEN
TABLE = 1  # of tables, chains, rules, sets and elements alike, the attribute that names the table
GENERATION = 1  # NFTA_GEN_ID
HEADER_BYTES, FAMILY_BYTES = 16, 4
F_REQUEST = 1
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 64 << 20  # a thousand services at once must not overflow it
RECEIVE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Told:
    sender: int
    """The netlink port of who did it: of a program like nft, the id of its process."""
    payload: bytes
    is_end: bool
    """Of a transaction."""

    @property
    def table(self) -> str:
        """The one that this is about."""
        named = dict(attributes(self.payload)).get(TABLE, b"")
        return named.rstrip(b"\0").decode(errors="replace")

    @property
    def generation(self) -> int:
        """Of the end of a transaction: how many there were with it."""
        return int.from_bytes(dict(attributes(self.payload)).get(GENERATION, b""))


@contextmanager
def news(netns_path: str | None = None) -> Iterator[socket.socket]:
    """To be received from, up to RECEIVE_BYTES at a time; from now on."""
    with _kernel(netns_path) as kernel:
        enlarge(kernel)
        kernel.bind((0, 1 << (GROUP_NFTABLES - 1)))
        yield kernel


def generation(netns_path: str | None = None) -> int:
    """How many transactions there were."""
    with _kernel(netns_path) as kernel:
        length = HEADER_BYTES + FAMILY_BYTES
        kernel.sendto(struct.pack("=IHHIIBBH", length, SUBSYSTEM << 8 | GETGEN, F_REQUEST, 0, 0, 0, 0, 0), (0, 0))
        [answer] = told(kernel.recv(RECEIVE_BYTES))
        return answer.generation


def _kernel(netns_path: str | None) -> socket.socket:
    with netns.inside(netns_path):
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)


def enlarge(kernel: socket.socket) -> None:
    """In a user namespace, only as far as the machine lets everybody."""
    try:
        kernel.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    except PermissionError:
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


def told(data: bytes) -> Iterator[Told]:
    """What one reception holds."""
    at = 0
    while at + HEADER_BYTES <= len(data):
        length, kind, _, _, sender = struct.unpack_from("=IHHII", data, at)
        if length < HEADER_BYTES:
            return
        if kind >> 8 == SUBSYSTEM:
            yield Told(sender, data[at + HEADER_BYTES + FAMILY_BYTES : at + length], kind & 0xFF == NEWGEN)
        at += (length + 3) & ~3


def packed_addresses(kernel: socket.socket, pattern: re.Pattern[bytes]) -> set[bytes]:
    """Of the next message that comes, what in it looks like one of the addresses."""
    return set(pattern.findall(kernel.recv(RECEIVE_BYTES)))
