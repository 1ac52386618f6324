"""The other nodes, as the network needs them: where they are, and which addresses their pods have.

Read from Node objects. A node without a pod CIDR or an address is not there yet.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from kybern.api.core_v1 import Node

NETWORKED = "network.kybern.io/node"
"""The label of nodes that are part of this pod network, and answer for the cluster's domain."""


@dataclass(frozen=True, slots=True, order=True)
class Peer:
    """One part of the pod network, and the node that it is on."""

    name: str
    addresses: tuple[str, ...]
    """The node's own, of each family that it has."""
    pod_cidr: str

    def address(self, version: int) -> str:
        """Of a family; of another where the node has none: it carries that family's packets too."""
        same = (found for found in self.addresses if ip_address(found).version == version)
        return next(same, self.addresses[0])


def peers(nodes: Iterable[Node], me: str) -> list[Peer]:
    return sorted(peer for node in nodes if node.metadata.name != me and is_networked(node) for peer in peers_on(node))


def is_networked(node: Node) -> bool:
    return (node.metadata.labels or {}).get(NETWORKED) == "true"


def peers_on(node: Node) -> Iterator[Peer]:
    if addresses := tuple(internal_addresses(node)):
        for cidr in pod_cidrs(node):
            yield Peer(node.metadata.name or "", addresses, cidr)


def pod_cidrs(node: Node) -> tuple[str, ...]:
    return node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ())


def internal_addresses(node: Node) -> list[str]:
    return [found.address for found in node.status.addresses or () if found.type == "InternalIP"]


def node_addresses(nodes: Iterable[Node]) -> set[str]:
    """Of all nodes: pods reach them, and they pods, without translation."""
    return {address for node in nodes if is_networked(node) for address in internal_addresses(node)}
