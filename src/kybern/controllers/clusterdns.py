"""cluster DNS: the slice of kube-system/kube-dns holds every node that answers for the cluster's domain.

Each node asks itself first: a node that is cut off still resolves names for its own pods.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from kybern.api.core_v1 import Node
from kybern.api.discovery_v1 import Endpoint, EndpointConditions, EndpointHints, EndpointSlice, ForNode
from kybern.client import Client, View
from kybern.reconcile import Context, Controller, Key
from kybern.reconcile.controller import Watch
from kybern.reconcile.nodes import node_is_ready

NAMESPACE, NAME = "kube-system", "kube-dns"
NETWORKED = "network.kybern.io/node"


async def reconcile(found: EndpointSlice, view: View, client: Client, context: Context) -> None:
    if (found.metadata.namespace, found.metadata.name) != (NAMESPACE, NAME):
        return
    wanted = endpoints(view.list(Node))
    if wanted and wanted != found.endpoints:
        await client.update(replace(found, endpoints=wanted))


def endpoints(nodes: Iterable[Node]) -> tuple[Endpoint, ...]:
    serving = [node for node in nodes if (node.metadata.labels or {}).get(NETWORKED) == "true"]
    return tuple(
        Endpoint(
            addresses=(address,),
            conditions=EndpointConditions(ready=node_is_ready(node)),
            node_name=node.metadata.name,
            hints=EndpointHints(for_nodes=(ForNode(name=node.metadata.name or ""),)),
        )
        for node in sorted(serving, key=lambda node: node.metadata.name or "")
        for address in [found.address for found in node.status.addresses or () if found.type == "InternalIP"][:1]
    )


def slice_of_dns(node: Node, view: View) -> tuple[Key, ...]:
    return (Key(NAMESPACE, NAME),)


CLUSTER_DNS = Controller(
    name="cluster-dns", reconciles=EndpointSlice, watches=(Watch(Node, slice_of_dns),), by=reconcile
)
