"""The service proxy: follows Services and EndpointSlices, and keeps the kernel's table equal to them.

Changes are collected while a transaction runs, so a burst costs two transactions, not hundreds. The first transaction
replaces whatever an earlier process left in the table, in one step: connections never see it empty.
"""

import asyncio
import logging

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Node, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.linux.nft import RulesRefused
from kybern.network.follow import Apply, EndpointSlices, Followed
from kybern.network.nftables import Ruleset, transaction
from kybern.network.peers import node_addresses
from kybern.network.rules import NodeNetwork, frame, ruleset
from kybern.network.services import service_ports

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class ServiceProxy:
    def __init__(self, view: Followed, apply: Apply, node: str, clock: Clock) -> None:
        self.view, self.apply, self.node, self.clock = view, apply, node, clock
        self.network: NodeNetwork | None = None
        """Nothing is programmed before it is known; see `use`."""
        self.slices = EndpointSlices()
        self.programmed: Ruleset | None = None
        """What the kernel holds; None when that is not known."""
        self.changed = asyncio.Event()
        view.on_change(Node, lambda old, new: self.changed.set())
        view.on_change(Service, self._service_changed)
        view.on_change(EndpointSlice, self._slice_changed)
        for piece in view.list(EndpointSlice):
            self.slices.replace(None, piece)

    def use(self, network: NodeNetwork) -> None:
        """The node's addresses: everything is programmed anew for them."""
        self.network, self.programmed = network, None
        self.changed.set()

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        self.changed.set()

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        self.slices.replace(old, new)
        self.changed.set()

    async def run(self) -> None:
        """Programs everything at once, then every change, until cancelled."""
        while True:
            self.changed.clear()
            try:
                await self.sync()
            except RulesRefused as error:
                log.error(
                    "service rules were refused, all of them are written again in %.0f s: %s", RETRY_SECONDS, error
                )
                self.programmed = None
                await self.clock.sleep(RETRY_SECONDS)
                continue
            await self.changed.wait()

    async def sync(self) -> None:
        if self.network is None:
            return
        ports = service_ports(self.view.list(Service), self.slices.of_service, self.node)
        wanted = ruleset(ports, node_addresses(self.view.list(Node)))
        if self.programmed is None:
            text = frame(self.network) + transaction("ip", self.network.table, Ruleset(), wanted)
        else:
            text = transaction("ip", self.network.table, self.programmed, wanted)
        if text:
            await self.apply(text)
        self.programmed = wanted
