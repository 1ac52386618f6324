"""node IPAM: every node gets its own part of the cluster's pod network."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec.structs import replace

from kybern.api.core_v1 import Node
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller

RETRY_SECONDS = 60.0

Network = IPv4Network | IPv6Network


def node_ipam(cluster_cidr: str, node_prefix: int = 24) -> Controller[Node]:
    """One worker: two nodes must not be given the same part."""
    network = ip_network(cluster_cidr)

    async def reconcile(node: Node, view: View, client: Client, context: Context) -> After | None:
        if node.spec.pod_cidr or node.metadata.deletion_timestamp is not None or is_simulated(node):
            return None
        cidr = first_free(network, node_prefix, taken(view.list(Node)))
        if cidr is None:
            message = f"Node {node.metadata.name} status is now: CIDRNotAvailable"
            context.events.event(node, "Normal", "CIDRNotAvailable", message)
            return After(RETRY_SECONDS)
        await client.update(replace(node, spec=replace(node.spec, pod_cidr=cidr, pod_cidrs=(cidr,))))
        return None

    return Controller(name="node-ipam", component="cidrAllocator", reconciles=Node, by=reconcile, workers=1)


def is_simulated(node: Node) -> bool:
    """Its pods have no network, and there may be far more such nodes than parts."""
    return (node.metadata.annotations or {}).get("kybern.io/simulated") == "true"


def taken(nodes: Iterable[Node]) -> set[str]:
    return {cidr for node in nodes for cidr in (node.spec.pod_cidr, *(node.spec.pod_cidrs or ())) if cidr}


def first_free(network: Network, prefix: int, used: set[str]) -> str | None:
    if len(used) >= 1 << max(prefix - network.prefixlen, 0):
        return None  # nearly always: looking through all parts for every node would take a large cluster minutes
    return next((str(part) for part in network.subnets(new_prefix=prefix) if str(part) not in used), None)
