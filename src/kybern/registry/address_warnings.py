"""Addresses and blocks that are written in another than their usual form, and taken all the same: upstream's warnings.

They are asked of what has been found to be an address or a block. What is none says nothing here.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
MAPPED_BITS = 96


def ip_warnings(at: str, text: str) -> Iterator[str]:
    try:
        address = ip_address(text)
    except ValueError:
        return
    if usual(address) is not address:
        yield f'{at}: non-standard IP address "{text}" will be considered invalid in a future Kubernetes release: use "{usual(address)}"'
    elif str(address) != text:
        yield f'{at}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{address}")'


def cidr_warnings(at: str, text: str) -> Iterator[str]:
    try:
        address, network = ip_address(text.partition("/")[0]), ip_network(text, strict=False)
    except ValueError:
        return
    whole, odd = block_text(network), usual(address) is not address or text.partition("/")[2] != str(network.prefixlen)
    ambiguous = address != network.network_address
    if ambiguous:
        single = f"{usual(address)}/{address.max_prefixlen}"
        yield f'{at}: CIDR value "{text}" is ambiguous in this context (should be "{whole}" or "{single}"?)'
    if odd:
        yield f'{at}: non-standard CIDR value "{text}" will be considered invalid in a future Kubernetes release: use "{whole}"'
    elif not ambiguous and whole != text:
        yield f'{at}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{whole}")'


def all_ip_warnings(at: str, texts: Iterable[str] | None) -> Iterator[str]:
    for index, text in enumerate(texts or ()):
        yield from ip_warnings(f"{at}[{index}]", text)


def all_cidr_warnings(at: str, texts: Iterable[str] | None) -> Iterator[str]:
    for index, text in enumerate(texts or ()):
        yield from cidr_warnings(f"{at}[{index}]", text)


def usual(address: Address) -> Address:
    """An IPv4 address that was told as an IPv6 one is an IPv4 address."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def block_text(network: Network) -> str:
    found = usual(network.network_address)
    bits = network.prefixlen if found is network.network_address else max(network.prefixlen - MAPPED_BITS, 0)
    return f"{found}/{bits}"
