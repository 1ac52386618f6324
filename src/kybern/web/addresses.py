"""Addresses that mean this machine, or its link, to every reader: where nobody may send a request of ours.

An address has many spellings (`127.1`, `2130706433`, `0x7f000001`, `::ffff:127.0.0.1`), and the resolver takes them all.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """What the kernel would connect to; None for a name."""
    try:
        found = ip_address(text)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(text)) if text.isascii() and not text[-1:].isspace() else None
        except OSError:
            return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536


def is_own(address: IPv4Address | IPv6Address) -> bool:
    """Loopback, link-local (with a cloud's metadata service), or no address of anybody."""
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def names_own(host: str) -> bool:
    """Whether a host, as a URL has it, is this machine or its link."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = address_of(host)
    return address is not None and is_own(address)
