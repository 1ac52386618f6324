"""node IPAM: every node gets its own part of the cluster's pod network, of each address family that the cluster has.

Where all parts are taken, nodes wait, thousands perhaps: what is asked for each of them is about the few that have a part,
and what changes about them is no news to tell.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec.structs import replace

from kybern.api.core_v1 import Node
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller, Key

RETRY_SECONDS = 60.0
TOLD_AGAIN_SECONDS = 1000.0  # upstream's longest back-off
NODE_PREFIX = 24
NODE_PREFIX_V6 = 64
ADDRESSES_MAX = 1 << 15  # twice the nodes of the largest clusters, of both families
WITH_PARTS = "with a part of the pod network"

Network = IPv4Network | IPv6Network


def node_ipam(cluster_cidr: str, node_prefix: int = NODE_PREFIX) -> Controller[Node]:
    """`cluster_cidr` is one network or, with a comma, one of each family; the first is the nodes' own.

    One worker: two nodes must not be given the same part."""
    networks = [ip_network(cidr.strip()) for cidr in cluster_cidr.split(",")]
    told_at: dict[str, float] = {}  # of nodes that wait

    async def reconcile(node: Node, view: View, client: Client, context: Context) -> After | None:
        name = node.metadata.name or ""
        if not lacks_parts(node):
            told_at.pop(name, None)
            return None
        view.add_index(Node, WITH_PARTS, with_parts)
        used = taken(view.by_index(Node, WITH_PARTS, ""))
        found = [first_free(network, prefix_of(network, node_prefix), used) for network in networks]
        cidrs = tuple(cidr for cidr in found if cidr is not None)
        if len(cidrs) < len(networks):
            if context.monotonic - told_at.get(name, -TOLD_AGAIN_SECONDS) >= TOLD_AGAIN_SECONDS:
                told_at[name] = context.monotonic
                context.events.event(node, "Normal", "CIDRNotAvailable", f"Node {name} status is now: CIDRNotAvailable")
            return After(RETRY_SECONDS)
        await client.update(replace(node, spec=replace(node.spec, pod_cidr=cidrs[0], pod_cidrs=cidrs)))
        return None

    async def forget(key: Key, view: View, client: Client, context: Context) -> None:
        told_at.pop(key.name, None)

    return Controller(
        name="node-ipam", component="cidrAllocator", reconciles=Node, by=reconcile, concerns=lacks_parts, gone=forget,
        workers=1,
    )  # fmt: skip


def lacks_parts(node: Node) -> bool:
    return not node.spec.pod_cidr and node.metadata.deletion_timestamp is None


def with_parts(node: Node) -> Iterable[str]:
    """Of all nodes, those that have a part: an index of one entry."""
    return ("",) if node.spec.pod_cidr or node.spec.pod_cidrs else ()


def prefix_of(network: Network, prefix: int) -> int:
    """A node's part of the network, upstream's sizes; of a small network, all of it."""
    return max(prefix if network.version == 4 else NODE_PREFIX_V6, network.prefixlen)


def taken(nodes: Iterable[Node]) -> list[str]:
    """In the order in which they were given out, nearly: so they are sorted in no time."""
    return [cidr for node in nodes for cidr in node.spec.pod_cidrs or (node.spec.pod_cidr,) if cidr]


def first_free(network: Network, prefix: int, used: Iterable[str]) -> str | None:
    """The first part that none of these has any address of: nodes may have kept parts of another size, or of a network
    that the cluster had before."""
    size = 1 << (network.max_prefixlen - prefix)
    start, end = int(network.network_address), int(network.broadcast_address)
    of_family = (last_first[1:] for cidr in used if (last_first := addresses_of(cidr))[0] == network.version)
    for first, last in sorted(of_family):
        if last >= start:
            if first >= start + size:
                break
            start = last + 1 + (-(last + 1) % size)
    return str(type(network)((start, prefix))) if start <= end else None


@lru_cache(ADDRESSES_MAX)
def addresses_of(cidr: str) -> tuple[int, int, int]:
    """Of which family, the first and the last: asked for every node that has a part, each time that one wants one."""
    network = ip_network(cidr, strict=False)
    return network.version, int(network.network_address), int(network.broadcast_address)
