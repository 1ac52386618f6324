"""What is put into nftables in this network namespace, as the kernel tells it once a transaction holds (nfnetlink, the group
that `nft monitor` listens to): raw messages, in which addresses are found as the bytes that they are."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

NETLINK_NETFILTER = 12
GROUP_NFTABLES = 7
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 64 << 20  # a thousand services at once must not overflow it
RECEIVE_BYTES = 1 << 20


@contextmanager
def news() -> Iterator[socket.socket]:
    """To be read with `packed_addresses`; from now on."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as kernel:
        kernel.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        kernel.bind((0, 1 << (GROUP_NFTABLES - 1)))
        yield kernel


def packed_addresses(kernel: socket.socket, pattern: re.Pattern[bytes]) -> set[bytes]:
    """Of the next message that comes, what in it looks like one of the addresses."""
    return set(pattern.findall(kernel.recv(RECEIVE_BYTES)))
