"""Where this machine sends packets already: whoever chooses addresses keeps clear of those."""

import sys
from ipaddress import ip_network

from kybern.cmd.config import Network


def routed_networks(but_by: tuple[str, ...] = ()) -> list[Network]:
    """What this machine has routes to, except by these links; empty where it cannot be asked (no Linux)."""
    if sys.platform != "linux":
        return []
    from kybern.linux.netlink import Netlink

    with Netlink() as here:
        skipped = {link.index for name in but_by if (link := here.link(name)) is not None}
        routes = [route for route in here.routes() if route.index not in skipped]
    return [ip_network(route.destination) for route in routes]
