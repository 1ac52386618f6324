"""The ways to pods on other nodes: VXLAN tunnels, or plain routes where the nodes share a link.

    vxlan    pod CIDR → via the peer's tunnel end, whose hardware address and node are said, never learned
    routes   pod CIDR → via the peer's own address

`wanted_routes` is a pure function of the peers; `NodeRoutes.sync` makes the kernel equal to it, and removes only what
it knows to be its own: routes into the cluster's pod network.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from kybern.linux.netlink import Netlink
from kybern.network.bridge import hardware_address, lead_loopback_out
from kybern.network.ipam import Network
from kybern.network.peers import Peer

VXLAN_PORT = 8472
VXLAN_BYTES = {4: 50, 6: 70}  # what a tunnel adds to each packet, by the family of the nodes' addresses


@dataclass(frozen=True, slots=True)
class Tunnel:
    """This node's end."""

    link: str
    number: int
    """The same on all nodes of a cluster, and another for every cluster."""
    local: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Way:
    destination: str
    gateway: str


def tunnel_end(pod_cidr: str) -> str:
    """The address of a tunnel's end: the first of its node's pods' network, which no pod has."""
    return str(ip_network(pod_cidr).network_address)


def tunnel_mac(pod_cidr: str) -> str:
    return hardware_address(ip_network(pod_cidr).network_address)


def wanted_routes(peers: Iterable[Peer], moved: Mapping[str, str], *, tunnelled: bool) -> set[Way]:
    """`moved`: addresses of pods that keep them on whichever node they are, and that node."""
    gateways: dict[tuple[str, int], str] = {}
    found = set()
    for peer in peers:
        version = ip_network(peer.pod_cidr).version
        gateway = tunnel_end(peer.pod_cidr) if tunnelled else peer.address(version)
        gateways[peer.name, version] = gateway
        found.add(Way(peer.pod_cidr, gateway))
    for text, node in moved.items():
        address = ip_address(text)
        if (way := gateways.get((node, address.version))) is not None:
            found.add(Way(f"{address}/{address.max_prefixlen}", way))
    return found


class NodeRoutes:
    """Works in the network namespace of the thread that calls it."""

    def __init__(self, cluster_cidrs: Sequence[Network], tunnel: Tunnel | None) -> None:
        """Without a tunnel, nodes reach each other's pods by their own addresses."""
        self.cluster_cidrs, self.tunnel = cluster_cidrs, tunnel
        self.told: set[Peer] = set()

    def sync(self, own_cidrs: Sequence[str], peers: Sequence[Peer], moved: Mapping[str, str]) -> None:
        with Netlink() as here:
            index = self._tunnel(here, own_cidrs) if self.tunnel is not None else 0
            if index:
                self._tell_ends(here, index, peers)
            wanted = wanted_routes(peers, moved, tunnelled=bool(index))
            known = {Way(r.destination, r.gateway) for r in here.routes() if r.gateway and self._is_ours(r.destination)}
            for way in known - wanted:
                here.delete_route(way.destination, gateway=way.gateway)
            for way in wanted - known:
                here.ensure_route(way.destination, index=index, gateway=way.gateway, onlink=bool(index))

    def _is_ours(self, destination: str) -> bool:
        network = ip_network(destination)
        return any(network.version == cidr.version and network.subnet_of(cidr) for cidr in self.cluster_cidrs)  # type: ignore[arg-type]

    def _tunnel(self, here: Netlink, own_cidrs: Sequence[str]) -> int:
        assert self.tunnel is not None
        tunnel, mac = self.tunnel, tunnel_mac(own_cidrs[0])
        found = here.link(tunnel.link)
        if found is not None and found.address != mac:
            here.delete_link(tunnel.link)  # from before this node was given other pods
        index = here.ensure_vxlan(tunnel.link, tunnel.number, tunnel.local, VXLAN_PORT, mac=mac, mtu=tunnel.mtu)
        here.set_up(index)
        lead_loopback_out(tunnel.link)
        for cidr in own_cidrs:
            end = ip_network(cidr)
            here.ensure_address(index, f"{end.network_address}/{end.max_prefixlen}")
        return index

    def _tell_ends(self, here: Netlink, index: int, peers: Sequence[Peer]) -> None:
        """Who answers for a tunnel's end, and which node has it: by addresses of the family that our own end has."""
        assert self.tunnel is not None
        outer = ip_address(self.tunnel.local).version
        by_name: dict[str, str] = {}
        for peer in peers:
            # Of one node, all ends have one hardware address: that of its first network.
            mac = by_name.setdefault(peer.name, tunnel_mac(peer.pod_cidr))
            here.set_neighbour(index, mac, tunnel_end(peer.pod_cidr))
            here.set_forwarding(index, mac, peer.address(outer))
        for gone in self.told - set(peers):
            here.delete_neighbour(index, tunnel_end(gone.pod_cidr))
        self.told = set(peers)
