"""Follows Nodes: gives the pod network its part of the cluster's, and keeps the ways to the others' parts.

The node's own object says which addresses its pods get; until it does, pods wait and the node is not ready, with the
reason. What fails is tried again, and said.
"""

import asyncio
import logging
from collections.abc import Callable

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Node
from kybern.network.bridge import BridgeNetwork
from kybern.network.follow import Followed
from kybern.network.peers import peers, pod_cidrs
from kybern.network.routes import NodeRoutes

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class NodesFollower:
    def __init__(
        self,
        view: Followed,
        node: str,
        pods: BridgeNetwork,
        routes: NodeRoutes,
        clock: Clock,
        configured: Callable[[tuple[str, ...]], None],
    ) -> None:
        """`configured` is told the node's pod CIDRs, whenever they are new."""
        self.view, self.node, self.pods, self.routes, self.clock = view, node, pods, routes, clock
        self.configured = configured
        self.cidrs: tuple[str, ...] = ()
        self.changed = asyncio.Event()
        view.on_change(Node, lambda old, new: self.changed.set())

    async def run(self) -> None:
        while True:
            self.changed.clear()
            try:
                self.sync()
            except OSError as error:
                log.error(
                    "the ways to other nodes' pods are incomplete, tried again in %.0f s: %s", RETRY_SECONDS, error
                )
                await self.clock.sleep(RETRY_SECONDS)
                continue
            await self.changed.wait()

    def sync(self) -> None:
        me = self.view.get(Node, self.node)
        cidrs = pod_cidrs(me) if me else ()
        if cidrs and cidrs != self.cidrs:
            self.pods.configure(cidrs)
            self.cidrs = cidrs
            self.configured(cidrs)
        if self.cidrs:
            self.routes.sync(self.cidrs, peers(self.view.list(Node), self.node))
