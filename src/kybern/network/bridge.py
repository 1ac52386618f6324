"""The pod network of a node: one bridge, a veth pair per sandbox, every packet routed by the node.

A pod's address is a /32 whose gateway is the bridge (docs/decisions/0002): what pods send each other passes the node's IP
layer too, so translated connections are always seen both ways, and policies see everything.
"""

import hashlib
import logging
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from kybern.linux.netlink import Netlink
from kybern.network.ipam import Addresses
from kybern.runtime.cri import PodSandboxConfig

POD_LINK = "eth0"
SYSCTL = Path("/proc/sys/net/ipv4")

log = logging.getLogger(__name__)


class BridgeNetwork:
    """The `PodNetwork` of a node."""

    def __init__(self, bridge: str, addresses: Addresses, service_cidr: IPv4Network, mtu: int = 0) -> None:
        self.bridge, self.addresses, self.service_cidr, self.mtu = bridge, addresses, service_cidr, mtu

    def prepare(self) -> None:
        """The bridge with its address, and the machine as a router. Does nothing twice."""
        gateway = self.addresses.gateway
        with Netlink() as here:
            # A fixed hardware address: a bridge would otherwise take one of its ports', and change it with them.
            index = here.ensure_bridge(self.bridge, mac=hardware_address(gateway))
            here.set_up(index)
            here.ensure_address(index, f"{gateway}/{self.addresses.cidr.prefixlen}")
            # Service addresses need a route to be translated on their way out, also on a machine that is offline.
            here.ensure_route(str(self.service_cidr), index=index)
        (SYSCTL / "ip_forward").write_text("1")
        for scope in ("all", self.bridge):  # either would be enough to tell pods not to go on through us
            (SYSCTL / "conf" / scope / "send_redirects").write_text("0")
        (SYSCTL / "conf" / self.bridge / "rp_filter").write_text("0")  # /32 neighbours are reached by routes

    def remove(self) -> None:
        with Netlink() as here:
            here.delete_link(self.bridge)

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        address = self.addresses.take(sandbox_id)
        try:
            self._wire(sandbox_id, netns_path, address)
        except OSError:
            await self.detach(sandbox_id, netns_path)
            raise
        return (str(address),)

    def _wire(self, sandbox_id: str, namespace: str, address: IPv4Address) -> None:
        name = link_name(sandbox_id)
        with Netlink() as here, Netlink(namespace) as there:
            if there.link(POD_LINK) is None:
                here.delete_link(name)  # half of an attempt that was cut short
                here.add_veth(name, POD_LINK, namespace, mtu=self.mtu)
            port = here.index(name)
            here.set_master(port, here.index(self.bridge))
            here.set_hairpin(port)  # where br_netfilter is on, a pod's way to itself stays on the bridge
            here.set_up(port)
            self._address(there, address)

    def _address(self, there: Netlink, address: IPv4Address) -> None:
        gateway = str(self.addresses.gateway)
        there.set_up(there.index("lo"))
        link = there.index(POD_LINK)
        there.set_up(link)
        there.ensure_address(link, f"{address}/32")
        there.ensure_route(f"{gateway}/32", index=link)
        there.ensure_route("0.0.0.0/0", index=link, gateway=gateway)

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        try:
            with Netlink() as here:
                here.delete_link(link_name(sandbox_id))
        except OSError as error:
            log.warning("the link of sandbox %s could not be removed: %s", sandbox_id, error)
        self.addresses.give_back(sandbox_id)


def link_name(sandbox_id: str) -> str:
    """15 bytes at most; the sandbox' id decides it, so a restart finds the link again."""
    return "veth" + hashlib.sha256(sandbox_id.encode()).hexdigest()[:10]


def hardware_address(address: IPv4Address) -> str:
    """Locally administered, made from the IP address: the same one after every restart."""
    return (b"\x0a\x58" + address.packed).hex(":")
