"""Follows Nodes: gives the pod network its part of the cluster's, and keeps the ways to the others' parts.

The node's own object says which addresses its pods get; until it does, pods wait and the node is not ready, with the
reason. What fails is tried again, and said. The ways are looked at now and then too: somebody may have removed one.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Node, Pod
from kybern.linux.nft import RulesRefused
from kybern.network.bridge import BridgeNetwork
from kybern.network.cni import CniNetwork
from kybern.network.follow import Apply, Followed, changed_within
from kybern.network.ipam import Address, Network
from kybern.network.peers import node_addresses, peers, pod_cidrs
from kybern.network.policy.model import endpoint_of
from kybern.network.routes import NodeRoutes
from kybern.network.tunnel_guard import guard
from kybern.network.wishes import ADDRESS, Holders

RETRY_SECONDS = 5.0
LOOK_SECONDS = 30.0  # as often as kube-proxy looks at its rules

log = logging.getLogger(__name__)


class NodesFollower:
    def __init__(
        self,
        view: Followed,
        node: str,
        pods: BridgeNetwork | CniNetwork,
        routes: NodeRoutes | None,
        clock: Clock,
        configured: Callable[[tuple[str, ...]], None],
        apply: Apply,
        table: str,
    ) -> None:
        """Without `routes`, the ways to other nodes' pods are somebody else's. `configured` is told the node's pod CIDRs,
        whenever they are new. `table` is the tunnel's guard."""
        self.view, self.node, self.pods, self.routes, self.clock = view, node, pods, routes, clock
        self.configured, self.apply, self.table = configured, apply, table
        self.guarded = ""
        """What the kernel holds of the guard."""
        self.cidrs: tuple[str, ...] = ()
        self.changed = asyncio.Event()
        view.on_change(Node, lambda old, new: self.changed.set())
        view.on_change(Pod, self._pod_changed)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if any(ADDRESS in (pod.metadata.annotations or {}) for pod in (old, new) if pod is not None):
            self.changed.set()

    def distrust(self) -> None:
        """Somebody else has changed the guard's table."""
        self.guarded = ""
        self.changed.set()

    async def run(self) -> None:
        while True:
            self.changed.clear()
            try:
                await self.sync()
            except (OSError, RulesRefused) as error:
                log.error(
                    "the ways to other nodes' pods are incomplete, tried again in %.0f s: %s", RETRY_SECONDS, error
                )
                await self.clock.sleep(RETRY_SECONDS)
                continue
            await changed_within(self.changed, LOOK_SECONDS)

    async def sync(self) -> None:
        me = self.view.get(Node, self.node)
        cidrs = pod_cidrs(me) if me else ()
        if cidrs and cidrs != self.cidrs:
            self.pods.configure(cidrs)
            self.cidrs = cidrs
            self.configured(cidrs)
        if self.cidrs and self.routes is not None:
            await self._guard(self.routes)
            self.routes.sync(self.cidrs, peers(self.view.list(Node), self.node), moved(self.view.list(Pod)))

    async def _guard(self, routes: NodeRoutes) -> None:
        """Before the tunnel is there."""
        if routes.tunnel is None:
            return
        text = guard(self.table, routes.tunnel, node_addresses(self.view.list(Node)))
        if text != self.guarded:
            self.guarded = text  # unless it is refused, or somebody changes it meanwhile
            try:
                await self.apply(text)
            except RulesRefused:
                self.guarded = ""
                raise


def moved(pods: Iterable[Pod]) -> dict[str, str]:
    """Addresses that pods keep wherever they run → the node."""
    return {
        ip: pod.spec.node_name
        for pod in pods
        if pod.spec.node_name and ADDRESS in (pod.metadata.annotations or {})
        for found in [endpoint_of(pod)]
        for ip in (found.ips if found else ())
    }


def holders(view: Followed, cluster: Sequence[Network]) -> Holders:
    """Whose an address is, by what the API says now."""

    def node_of_range(address: Address) -> str:
        nodes = [node for node in view.list(Node) if any(address in ip_network(cidr) for cidr in pod_cidrs(node))]
        return (nodes[0].metadata.name or "") if nodes else ""

    def pod_with(address: Address) -> tuple[str, str]:
        for pod in view.list(Pod):
            found = endpoint_of(pod)
            if found is not None and str(address) in found.ips:
                return found.uid, f"{found.namespace}/{found.name}"
        return "", ""

    return Holders(cluster, node_of_range, pod_with)
