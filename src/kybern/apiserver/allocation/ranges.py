"""The ranges that Services get their addresses and node ports from, in the order in which they are tried.

Values that are chosen for somebody come from the upper part, in random order; the lower part is left to those who ask
for a value by name, and used when nothing else is free (KEP-3070, KEP-3668).
"""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from random import Random

Network = IPv4Network | IPv6Network

NODE_PORTS = range(30000, 32768)
RANDOM_TRIES = 64  # beyond these, the range is nearly full and is walked through


def reserved_for_names(size: int, least: int, most: int) -> int:
    """How many values at the lower end are not chosen at random."""
    return 0 if size < least else min(max(least, size // 16), most)


def shuffled(low: int, high: int, offset: int, rng: Random) -> Iterator[int]:
    """Every number of [low, high) at least once: some of the upper part at random, then all, the upper part first."""
    start = min(low + offset, high)
    for _ in range(RANDOM_TRIES if start < high else 0):
        yield rng.randrange(start, high)
    yield from range(start, high)
    yield from range(low, start)


def bounds(network: Network) -> tuple[int, int]:
    """The first address that may be given, and the one after the last: the network's own is not, nor is a broadcast."""
    first, last = int(network.network_address) + 1, int(network.broadcast_address)
    return first, last if network.version == 4 else last + 1


def addresses(network: Network, rng: Random) -> Iterator[str]:
    first, end = bounds(network)
    offset = reserved_for_names(end - first, 16, 256)
    return (str(ip_address(number)) for number in shuffled(first, end, offset, rng))


def node_ports(ports: range, rng: Random) -> Iterator[int]:
    offset = reserved_for_names(len(ports), 16, 128)
    return shuffled(ports.start, ports.stop, offset, rng)
