"""IP addresses and CIDR blocks. IPv4 in IPv6, zones and leading zeros are refused, as upstream refuses them."""

import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil
from typing import Any

from kybern.cel import costs
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.types import BOOL, INT, STRING, opaque
from kybern.cel.values import Opaque

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

TEXTS_REMEMBERED = 1024
"""Reading an address takes ten times as long as upstream's costs count with."""
IP_TYPE, CIDR_TYPE = opaque("net.IP"), opaque("net.CIDR")


class Ip(Opaque):
    __slots__ = ("address",)
    cel_type = IP_TYPE

    def __init__(self, address: Address) -> None:
        self.address = address

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Ip) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __len__(self) -> int:
        return len(self.address.packed)


class Cidr(Opaque):
    __slots__ = ("block",)
    cel_type = CIDR_TYPE

    def __init__(self, block: Interface) -> None:
        self.block = block

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Cidr) and self.block == other.block

    def __hash__(self) -> int:
        return hash(self.block)

    def __len__(self) -> int:
        return len(self.block.ip.packed)


@lru_cache(maxsize=TEXTS_REMEMBERED)
def address(text: str) -> Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise EvaluationError(f'IP Address "{text[:64]}" parse error during conversion from string') from None
    if "%" in text:
        raise EvaluationError(f'IP address "{text[:64]}" with zone value is not allowed')
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text[:64]}" is not allowed')
    return found


def ip(text: str) -> Ip:
    return Ip(address(text))


def is_ip(text: str) -> bool:
    try:
        address(text)
    except EvaluationError:
        return False
    return True


def is_canonical(text: str) -> bool:
    return str(address(text)) == text


@lru_cache(maxsize=TEXTS_REMEMBERED)
def cidr(text: str) -> Cidr:
    host, slash, bits = text.partition("/")
    if not slash or not bits.isascii() or not bits.isdigit() or (len(bits) > 1 and bits[0] == "0"):
        raise EvaluationError(
            f'network address parse error during conversion from string: netip.ParsePrefix("{text[:64]}")'
        )
    address(host)
    try:
        return Cidr(ipaddress.ip_interface(text))
    except ValueError:
        told = f'network address parse error during conversion from string: netip.ParsePrefix("{text[:64]}")'
        raise EvaluationError(told) from None


def is_cidr(text: str) -> bool:
    try:
        cidr(text)
    except EvaluationError:
        return False
    return True


def contains_ip(block: Cidr, found: Ip) -> bool:
    return found.address.version == block.block.version and starts_as(block.block, int(found.address))


def starts_as(block: Interface, number: int) -> bool:
    """Whether an address is one of the block's."""
    return (number ^ int(block)) >> (block.max_prefixlen - block.network.prefixlen) == 0


def contains_cidr(block: Cidr, other: Cidr) -> bool:
    if block.block.version != other.block.version:
        return False
    inner, outer = other.block.network, block.block.network
    return inner.prefixlen >= outer.prefixlen and starts_as(block.block, int(inner.network_address))


def masked(found: Cidr) -> Cidr:
    network = found.block.network
    return Cidr(ipaddress.ip_interface(f"{network.network_address}/{network.prefixlen}"))


def is_global_unicast(found: Ip) -> bool:
    """Go's notion: neither unspecified, loopback, multicast, link-local nor the broadcast address."""
    at = found.address
    return not (
        at.is_unspecified or at.is_loopback or at.is_multicast or at.is_link_local or str(at) == "255.255.255.255"
    )


def is_link_local_multicast(found: Ip) -> bool:
    at = found.address
    if isinstance(at, ipaddress.IPv6Address):
        return at.packed[0] == 0xFF and at.packed[1] & 0x0F == 2
    return at in ipaddress.ip_network("224.0.0.0/24")


def is_link_local_unicast(found: Ip) -> bool:
    return found.address.is_link_local


ADDRESS_BYTES = costs.Span(4, 16)


def prefix_bytes(block: Cidr) -> int:
    return ceil(block.block.network.prefixlen / 8)


def comparing(steps: Callable[[int], int], least_and_most: costs.Span, *, text: bool) -> costs.Cost:
    """Of the bytes of a block with as many others, and of reading those where they come as text."""

    def actual(args: Sequence[Any], result: Any) -> int:
        return steps(prefix_bytes(args[0])) + (ceil(len(args[1]) * costs.TRAVERSAL) if text else 0)

    def estimate(sizes: Sequence[costs.Span]) -> tuple[costs.Span, costs.Span | None]:
        return least_and_most.plus(sizes[1].scaled(costs.TRAVERSAL)) if text else least_and_most, None

    return costs.Cost(actual, estimate)


def address_steps(size: int) -> int:
    return ceil(2 * size * costs.TRAVERSAL)


def block_steps(size: int) -> int:
    return address_steps(size) + ceil(size * costs.TRAVERSAL) + 1


BOTH = ADDRESS_BYTES.plus(ADDRESS_BYTES).scaled(costs.TRAVERSAL)
BOTH_MASKED = BOTH.plus(ADDRESS_BYTES.scaled(costs.TRAVERSAL)).plus(costs.exactly(1))
IN_BLOCK = {text: comparing(address_steps, BOTH, text=text) for text in (True, False)}
BLOCK_IN_BLOCK = {text: comparing(block_steps, BOTH_MASKED, text=text) for text in (True, False)}

IP: Library = (
    function("ip", (STRING,), IP_TYPE, ip, costs.traversal()),
    function("isIP", (STRING,), BOOL, is_ip, costs.traversal()),
    function("ip.isCanonical", (STRING,), BOOL, is_canonical, costs.traversal(factor=2 * costs.TRAVERSAL)),
    function("string", (IP_TYPE,), STRING, lambda found: str(found.address)),
    member("family", (IP_TYPE,), INT, lambda found: found.address.version),
    member("isUnspecified", (IP_TYPE,), BOOL, lambda found: found.address.is_unspecified),
    member("isLoopback", (IP_TYPE,), BOOL, lambda found: found.address.is_loopback),
    member("isLinkLocalMulticast", (IP_TYPE,), BOOL, is_link_local_multicast),
    member("isLinkLocalUnicast", (IP_TYPE,), BOOL, is_link_local_unicast),
    member("isGlobalUnicast", (IP_TYPE,), BOOL, is_global_unicast),
    function("cidr", (STRING,), CIDR_TYPE, cidr, costs.traversal()),
    function("isCIDR", (STRING,), BOOL, is_cidr, costs.traversal()),
    function("string", (CIDR_TYPE,), STRING, lambda found: str(found.block)),
    member("ip", (CIDR_TYPE,), IP_TYPE, lambda found: Ip(found.block.ip)),
    member("prefixLength", (CIDR_TYPE,), INT, lambda found: found.block.network.prefixlen),
    member("masked", (CIDR_TYPE,), CIDR_TYPE, masked),
    member("containsIP", (CIDR_TYPE, IP_TYPE), BOOL, contains_ip, IN_BLOCK[False]),
    member("containsIP", (CIDR_TYPE, STRING), BOOL, lambda block, text: contains_ip(block, ip(text)), IN_BLOCK[True]),
    member("containsCIDR", (CIDR_TYPE, CIDR_TYPE), BOOL, contains_cidr, BLOCK_IN_BLOCK[False]),
    member(
        "containsCIDR",
        (CIDR_TYPE, STRING),
        BOOL,
        lambda block, text: contains_cidr(block, cidr(text)),
        BLOCK_IN_BLOCK[True],
    ),
)
