"""The service proxy: follows Services and EndpointSlices, and keeps the kernel's tables equal to them.

Only what a change is about is worked out again, and changes are collected while a transaction runs: a burst costs two
transactions, not hundreds. The first transaction replaces whatever an earlier process left in the table, in one step:
connections never see it empty. It waits for the pods that run already, whose host ports would be closed meanwhile.
"""

import asyncio
import logging
from collections.abc import Sequence

from kybern.api.core_v1 import Node, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.linux.nft import RulesRefused
from kybern.network.flows import FlowCleaner
from kybern.network.follow import Apply, EndpointSlices, Followed, changed_within
from kybern.network.nftables import Ruleset, transaction
from kybern.network.peers import node_addresses
from kybern.network.rules import FAMILIES, HostPort, NodeNetwork, frame, host_port_rules, merged, service_rules
from kybern.network.services import Here, ServicePort, is_of, ports_of

RETRY_SECONDS = 5.0
ADOPT_SECONDS = 10.0  # where a runtime takes longer to say what it runs, Services matter more than host ports
ZONE = "topology.kubernetes.io/zone"

log = logging.getLogger(__name__)

Key = tuple[str, str]


class ServiceProxy:
    def __init__(self, view: Followed, apply: Apply, node: str, flows: FlowCleaner | None = None) -> None:
        self.view, self.apply, self.node, self.flows = view, apply, node, flows
        self.networks: Sequence[NodeNetwork] = ()
        """Of each family. Nothing is programmed before it is known; see `use`."""
        self.slices = EndpointSlices()
        self.here = Here(node)
        self.host_ports: dict[str, tuple[HostPort, ...]] = {}
        """By sandbox."""
        self.ports: dict[Key, list[ServicePort]] = {}
        self.parts: dict[int, dict[Key, Ruleset]] = {}
        """By family and service: what is to be in the table."""
        self.programmed: dict[int, Ruleset] | None = None
        """What the kernel holds; None when that is not known."""
        self.dirty: set[Key] = set()
        self.changed = asyncio.Event()
        self.distrusted = asyncio.Event()
        self.adopted = asyncio.Event()
        """The host ports of the pods that run already are known."""
        for piece in view.list(EndpointSlice):
            self.slices.replace(None, piece)
        view.on_change(Node, self._node_changed)
        view.on_change(Service, self._service_changed)
        view.on_change(EndpointSlice, self._slice_changed)

    def use(self, networks: Sequence[NodeNetwork]) -> None:
        """The node's addresses: everything is programmed anew for them."""
        self.networks, self.programmed = networks, None
        self._everything()

    def open_host_ports(self, owner: str, ports: tuple[HostPort, ...]) -> None:
        """A pod's ports on this node; none when it is gone."""
        if self.host_ports.get(owner, ()) != ports:
            self.host_ports[owner] = ports
            if not ports:
                del self.host_ports[owner]
            self.changed.set()

    def distrust(self) -> None:
        """Somebody else has changed the table: all of it is written again."""
        self.distrusted.set()
        self.changed.set()

    def _everything(self) -> None:
        self.dirty |= {key_of(service) for service in self.view.list(Service)} | self.ports.keys()
        self.changed.set()

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and new.metadata.name == self.node:
            here = Here(self.node, (new.metadata.labels or {}).get(ZONE, ""))
            if here != self.here:
                self.here = here
                self._everything()
        self.changed.set()

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        about = new or old
        assert about is not None
        self.dirty.add(key_of(about))
        self.changed.set()

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        self.dirty.update(self.slices.replace(old, new))
        self.changed.set()

    async def run(self) -> None:
        """Programs everything at once, then every change, until cancelled."""
        await changed_within(self.adopted, ADOPT_SECONDS)
        while True:
            self.changed.clear()
            try:
                await self.sync()
            except RulesRefused as error:
                log.error(
                    "service rules were refused, all of them are written again in %.0f s: %s", RETRY_SECONDS, error
                )
                self.programmed = None
                await changed_within(self.distrusted, RETRY_SECONDS)
                continue
            await self.changed.wait()

    async def sync(self) -> None:
        if not self.networks:
            return
        if self.distrusted.is_set():
            self.distrusted.clear()
            self.programmed = None
        before = {key: self.ports.get(key, []) for key in self.dirty}
        self._work_out()
        wanted, text = {}, ""
        for network in self.networks:
            rules = self._table(network)
            wanted[network.version] = rules
            if self.programmed is None:
                text += frame(network)
            known = self.programmed[network.version] if self.programmed else Ruleset()
            text += transaction(FAMILIES[network.version][0], network.table, known, rules)
        if text:
            await self.apply(text)
        self.programmed = wanted
        if self.flows is not None:
            now = {key: self.ports.get(key, []) for key in before}
            await self.flows.clean(before, now)

    def _work_out(self) -> None:
        while self.dirty:
            key = self.dirty.pop()
            service = self.view.get(Service, key[1], key[0])
            ports = ports_of(service, self.slices.of_service.get(key, ()), self.here) if service else []
            if ports:
                self.ports[key] = ports
            else:
                self.ports.pop(key, None)
            for network in self.networks:
                parts = self.parts.setdefault(network.version, {})
                parts[key] = service_rules(ports, network)
                if not ports:
                    del parts[key]

    def _table(self, network: NodeNetwork) -> Ruleset:
        host_ports = sorted(port for ports in self.host_ports.values() for port in ports)
        nodes = [address for address in node_addresses(self.view.list(Node)) if is_of(address, network.version)]
        parts = self.parts.get(network.version, {})
        return merged((*parts.values(), host_port_rules(host_ports, network.version)), nodes)


def key_of(service: Service) -> Key:
    return service.metadata.namespace or "", service.metadata.name or ""
