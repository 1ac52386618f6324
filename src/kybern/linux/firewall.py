"""What other programs' nftables rules would do to a cluster's packets: base chains that drop what they do not know."""

import re
from collections.abc import Iterator

from kybern.linux import nft

TABLE = re.compile(r"^table (\w+) (\S+) \{")
CHAIN = re.compile(r"^\s+chain (\S+) \{")
HOOK = re.compile(r"type filter hook (input|forward) priority .*policy drop")


def in_the_way(listed: str, ours: str) -> Iterator[str]:
    """The base chains of others that drop by default, by `nft list chains`; `ours`: what our tables' names begin with."""
    table = chain = ""
    for line in listed.splitlines():
        if (found := TABLE.match(line)) is not None:
            table = f"{found[1]} {found[2]}"
        elif (found := CHAIN.match(line)) is not None:
            chain = found[1]
        elif (hook := HOOK.search(line)) is not None and not table.split()[1].startswith(ours):
            yield f"the firewall's chain `{table} {chain}` drops what it does not know ({hook[1]})"


def foreign(ours: str) -> list[str]:
    """On this machine, now."""
    return list(in_the_way(nft.chains(), ours))
