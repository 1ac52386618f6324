"""The node network of this machine: one bridge, with a link to every node that is a namespace.

Everything is made where it is missing, so it may be done again at any time: by `kybern up`, by `kybern node add`, and by
the first node when it starts.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from kybern.cmd.config import Address, Cluster
from kybern.cmd.limits import limits_of
from kybern.cmd.place import Place
from kybern.linux import cgroup_detect, netns
from kybern.linux.netlink import Netlink

UPLINK = "eth0"  # the node's end
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def ensure_node_bridge(cluster: Cluster) -> None:
    with Netlink() as here:
        index = here.ensure_bridge(cluster.node_bridge)
        here.set_up(index)
        for cidr, gateway in zip(cluster.node_cidrs, cluster.gateways, strict=True):
            here.ensure_address(index, f"{gateway}/{cidr.prefixlen}")


def ensure_place(place: Place) -> None:
    """The namespace, link and cgroup that a node's processes are to live in."""
    place.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if place.cluster.simulated:
        return
    ensure_cgroup(place)
    if place.cluster.joined:
        ensure_way_to_nodes(place.cluster)
    if place.netns is not None:
        netns.create(place.netns)
        ensure_uplink(place, place.netns)


def ensure_uplink(place: Place, namespace: str) -> None:
    cluster = place.cluster
    with Netlink() as here, Netlink(namespace) as there:
        if there.link(UPLINK) is None:
            here.delete_link(place.uplink)  # of a namespace that is gone
            here.add_veth(place.uplink, UPLINK, namespace)
        port = here.index(place.uplink)
        if not place.delay_ms:
            here.delete_link(place.slow_ends[0])
            plug(here, port, cluster)
        here.set_up(port)
        there.set_up(there.index("lo"))
        link = there.index(UPLINK)
        there.set_up(link)
        for address, cidr, gateway in zip(place.addresses, cluster.node_cidrs, cluster.gateways, strict=True):
            there.ensure_address(link, f"{address}/{cidr.prefixlen}")
            there.ensure_route(EVERYWHERE[cidr.version], index=link, gateway=str(gateway))


def ensure_way_to_nodes(cluster: Cluster) -> None:
    """To those that are namespaces of the machine whose cluster this one has joined."""
    with Netlink() as here:
        for cidr, gateway in ways_to_nodes(cluster):
            here.ensure_route(cidr, gateway=gateway)


def forget_way_to_nodes(cluster: Cluster) -> None:
    with Netlink() as here:
        for cidr, gateway in ways_to_nodes(cluster):
            here.delete_route(cidr, gateway=gateway)


def ways_to_nodes(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Of the family that the server is reached by: the nodes' addresses of another are not used between machines."""
    gateway = server_address(cluster)
    for cidr in cluster.node_cidrs:
        if gateway is not None and gateway.version == cidr.version:
            yield str(cidr), str(gateway)


def server_address(cluster: Cluster) -> Address | None:
    """None where the server is known by a name: what is behind it may be many machines."""
    try:
        return ip_address(urlsplit(cluster.joined).hostname or "")
    except ValueError:
        return None


def plug(here: Netlink, port: int, cluster: Cluster) -> None:
    """Where br_netfilter is on, a pod's way to itself by a node port of another node stays on the bridge."""
    here.set_master(port, here.index(cluster.node_bridge))
    here.set_hairpin(port)


def insert_slow_ends(place: Place) -> None:
    """The link leaves the bridge, and one more pair of links takes its place there."""
    on_bridge, beside = place.slow_ends
    with Netlink() as here:
        if here.link(on_bridge) is None:
            here.add_veth(on_bridge, beside)
        here.set_master(here.index(place.uplink), 0)
        plug(here, here.index(on_bridge), place.cluster)
        for name in place.slow_ends:
            here.set_up(here.index(name))


def ensure_cgroup(place: Place) -> None:
    """Its limits hold for the node's own processes and its pods together."""
    groups = cgroup_detect.detect()
    groups.create(place.cgroup)
    groups.limit(place.cgroup, limits_of(place))


def remove_place(place: Place) -> None:
    """What keeps a node's namespace alive; the cgroup and what is in it must have ended."""
    if place.netns is not None:
        netns.remove(place.netns)
    with Netlink() as here:
        for link in (place.uplink, place.slow_ends[0]):
            here.delete_link(link)


def underlay_mtu(place: Place) -> int:
    """Of the link that has the node's address; the bridge is made where it is missing."""
    if place.is_machine and not place.cluster.joined:
        ensure_node_bridge(place.cluster)
    with Netlink() as here:
        own = {found.index for found in here.addresses() if found.address.partition("/")[0] == str(place.address)}
        return min((link.mtu for link in here.links() if link.index in own), default=1500)
