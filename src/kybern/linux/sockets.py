"""Who listens, in a network namespace: read from the tables in /proc/net."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from kybern.linux import netns

LISTENING = {"tcp": "0A", "udp": "07"}


def listening(netns_path: str, protocol: str, port: int) -> set[str]:
    """The addresses on which somebody listens on a port; the unspecified one for all of them."""
    found = set()
    with netns.inside(netns_path):
        for name in (protocol, f"{protocol}6"):
            for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]:
                words = line.split()
                address, _, number = words[1].partition(":")
                if words[3] == LISTENING[protocol] and int(number, 16) == port:
                    found.add(address_of(address))
    return found


def address_of(text: str) -> str:
    """Each group of four bytes is a number in the machine's own order."""
    packed = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    return str(IPv4Address(packed)) if len(packed) == 4 else str(IPv6Address(packed))
