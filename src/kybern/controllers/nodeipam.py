"""node IPAM: every node gets its own part of the cluster's pod network, of each address family that the cluster has."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec.structs import replace

from kybern.api.core_v1 import Node
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller

RETRY_SECONDS = 60.0
NODE_PREFIX = 24
NODE_PREFIX_V6 = 64

Network = IPv4Network | IPv6Network


def node_ipam(cluster_cidr: str, node_prefix: int = NODE_PREFIX) -> Controller[Node]:
    """`cluster_cidr` is one network or, with a comma, one of each family; the first is the nodes' own.

    One worker: two nodes must not be given the same part."""
    networks = [ip_network(cidr.strip()) for cidr in cluster_cidr.split(",")]

    async def reconcile(node: Node, view: View, client: Client, context: Context) -> After | None:
        if node.spec.pod_cidr or node.metadata.deletion_timestamp is not None:
            return None
        used = taken(view.list(Node))
        found = [first_free(network, prefix_of(network, node_prefix), used) for network in networks]
        cidrs = tuple(cidr for cidr in found if cidr is not None)
        if len(cidrs) < len(networks):
            message = f"Node {node.metadata.name} status is now: CIDRNotAvailable"
            context.events.event(node, "Normal", "CIDRNotAvailable", message)
            return After(RETRY_SECONDS)
        await client.update(replace(node, spec=replace(node.spec, pod_cidr=cidrs[0], pod_cidrs=cidrs)))
        return None

    return Controller(name="node-ipam", component="cidrAllocator", reconciles=Node, by=reconcile, workers=1)


def prefix_of(network: Network, prefix: int) -> int:
    """A node's part of the network, upstream's sizes; of a small network, all of it."""
    return max(prefix if network.version == 4 else NODE_PREFIX_V6, network.prefixlen)


def taken(nodes: Iterable[Node]) -> set[str]:
    return {cidr for node in nodes for cidr in (node.spec.pod_cidr, *(node.spec.pod_cidrs or ())) if cidr}


def first_free(network: Network, prefix: int, used: set[str]) -> str | None:
    if len(used) >= 1 << max(prefix - network.prefixlen, 0):
        return None  # nearly always: looking through all parts for every node would take a large cluster minutes
    return next((str(part) for part in network.subnets(new_prefix=prefix) if str(part) not in used), None)
