"""What other programs' nftables rules would do to a cluster's packets: base chains that drop what they do not know, and
rules that drop what is the cluster's by name or address. They are told, never touched.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from kybern.linux import nft

Network = IPv4Network | IPv6Network

TABLE = re.compile(r"^table (\w+) (\S+) \{")
CHAIN = re.compile(r"^\s+chain (\S+) \{")
HOOK = re.compile(r"type filter hook (input|forward) priority .*policy drop")
DROPS = re.compile(r"\b(drop|reject)\b")
ADDRESS = re.compile(r"\b(?:saddr|daddr) (?!!=)\{?\s*([0-9a-fA-F.:]+(?:/\d+)?)")


def in_the_way(listed: str, ours: str, links: Sequence[str] = (), cidrs: Sequence[Network] = ()) -> Iterator[str]:
    """By `nft list ruleset`. `ours`: what our tables' names begin with; `links` and `cidrs`: the cluster's."""
    table = chain = ""
    for line in listed.splitlines():
        if (found := TABLE.match(line)) is not None:
            table = f"{found[1]} {found[2]}"
        elif (found := CHAIN.match(line)) is not None:
            chain = found[1]
        elif table.partition(" ")[2].startswith(ours):
            continue
        elif (hook := HOOK.search(line)) is not None:
            yield f"the firewall's chain `{table} {chain}` drops what it does not know ({hook[1]})"
        elif DROPS.search(line) and hits(line, links, cidrs):
            yield f"the firewall's rule `{' '.join(line.split())}` in `{table} {chain}` is about the cluster's packets"


def hits(rule: str, links: Sequence[str], cidrs: Sequence[Network]) -> bool:
    return any(f'"{link}"' in rule for link in links) or any(
        network.version == cidr.version and network.overlaps(cidr)
        for text in ADDRESS.findall(rule)
        for network in parsed(text)
        for cidr in cidrs
    )


def parsed(text: str) -> Iterator[Network]:
    try:
        yield ip_network(text, strict=False)
    except ValueError:
        return  # no address, a set's name say


def foreign(ours: str, links: Sequence[str] = (), cidrs: Sequence[Network] = ()) -> list[str]:
    """On this machine, now."""
    return list(in_the_way(nft.everything(), ours, links, cidrs))
