"""The service proxy: follows Services and EndpointSlices, and keeps the kernel's table equal to them.

Changes are collected while a transaction runs, so a burst costs two transactions, not hundreds. The first transaction
replaces whatever an earlier process left in the table, in one step: connections never see it empty.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.linux.nft import RulesRefused
from kybern.network.follow import EndpointSlices, Followed
from kybern.network.rules import NodeNetwork, Ruleset, frame, ruleset, transaction
from kybern.network.services import service_ports

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)

Apply = Callable[[str], Awaitable[None]]
"""Hands a transaction to the kernel; RulesRefused when it says no."""


class ServiceProxy:
    def __init__(self, view: Followed, apply: Apply, network: NodeNetwork, node: str, clock: Clock) -> None:
        self.view, self.apply, self.network, self.node, self.clock = view, apply, network, node, clock
        self.slices = EndpointSlices()
        self.programmed: Ruleset | None = None
        """What the kernel holds; None when that is not known."""
        self.changed = asyncio.Event()
        view.on_change(Service, self._service_changed)
        view.on_change(EndpointSlice, self._slice_changed)
        for piece in view.list(EndpointSlice):
            self.slices.replace(None, piece)

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
        wanted = ruleset(service_ports(self.view.list(Service), self.slices.of_service, self.node))
        if self.programmed is None:
            text = frame(self.network) + transaction(self.network.table, Ruleset(), wanted)
        else:
            text = transaction(self.network.table, self.programmed, wanted)
        if text:
            await self.apply(text)
        self.programmed = wanted
