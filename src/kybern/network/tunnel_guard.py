"""Who may send into a node's tunnel: the other nodes, by their addresses. VXLAN itself asks nobody who he is.

Only packets of our own number are looked at: others' tunnels may use the same port. An address can be forged where the link
lets it be, so this is a fence for a shared network, not a lock: strangers who can forge could still send.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from kybern.network.routes import VXLAN_PORT, Tunnel
from kybern.network.rules import FAMILIES

NUMBER_AT = "@th,96,24"  # behind UDP's header and the flags of VXLAN's


def guard(table: str, tunnel: Tunnel, nodes: Iterable[str]) -> str:
    """The whole table, for `nft -f -`: what it held before is replaced in the same transaction."""
    version = ip_address(tunnel.local).version
    family, kind = FAMILIES[version]
    senders = sorted(node for node in nodes if ip_address(node).version == version)
    elements = f"elements = {{ {', '.join(senders)} }};" if senders else ""
    return f"""\
table {family} {table}
delete table {family} {table}
table {family} {table} {{
    set nodes {{ type {kind}; {elements} }}
    chain input {{
        type filter hook input priority raw; policy accept;
        udp dport {VXLAN_PORT} {NUMBER_AT} {tunnel.number} {family} saddr != @nodes drop
    }}
}}
"""
