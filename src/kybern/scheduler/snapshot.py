"""The cluster as the scheduler sees it: nodes as columns, and the pods on them.

- A pod counts on its node from the moment the scheduler decides so, under its uid: hearing of it later changes nothing.
- A pod may be known before its node is; it counts once the node comes.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kybern.api.core_v1 import Node, Pod
from kybern.api.resource_v1 import AllocationResult
from kybern.api.selectors import Selector
from kybern.reconcile.pausing import is_paused
from kybern.scheduler.attachments import Attachments
from kybern.scheduler.claims import Assumed, ClaimKey, Lookup, Nothing
from kybern.scheduler.columns import ROWS_FIRST, Columns
from kybern.scheduler.demand import Demand
from kybern.scheduler.framework import Column
from kybern.scheduler.placed import Placed, claim_keys, counts_alike, placed_of
from kybern.scheduler.tallies import Tallies

if TYPE_CHECKING:
    from kybern.scheduler.shares import Share

DEMANDS_MAX = 4096


class Snapshot(Columns):
    def __init__(self) -> None:
        super().__init__()
        self.placed: dict[str, Placed] = {}
        self.on_node: dict[str, dict[str, Placed]] = {}
        self._demands: dict[Hashable, Demand] = {}
        """Pods of a template share one."""
        self.tallies = Tallies(self.rows, ROWS_FIRST)
        self.group_of: Callable[[Pod], Selector | None] = lambda pod: None
        """What a pod's services and owner select."""
        self.view: Lookup = Nothing()
        """For what no column tells: claims, volumes, devices."""
        self.claims: dict[ClaimKey, dict[str, str]] = {}
        """Who uses a claim, by uid, and on which node."""
        self.claims_on: Counter[str] = Counter()
        """How often pods on a node use one."""
        self.attachments = Attachments()
        self.shares: dict[str, Share] = {}
        """Of the namespaces that are queues."""
        self.paused: dict[str, Placed] = {}
        self.used_by: dict[str, Counter[str]] = {}
        """What the pods of each namespace take, placed anywhere."""
        self.volumes = Assumed()
        self.devices: dict[str, AllocationResult] = {}
        """What was given to a claim, by its uid, and is not written yet."""
        self.ports: dict[tuple[str, int], dict[str, Counter[str]]] = {}
        """Protocol and port → node → how many pods use it on which address."""

    def _fill(self, row: int, node: Node) -> None:
        super()._fill(row, node)
        name = node.metadata.name or ""
        self.tallies.empty(row)
        for placed in self.on_node.get(name, {}).values():
            self._count(row, placed.demand, 1)
            self.tallies.count(placed.kind, name, 1)

    def _arrays(self) -> Iterator[Column[Any]]:
        yield from super()._arrays()
        yield from self.tallies.columns.values()
        yield from self.tallies.bearers.values()

    def _grow(self, rows: int) -> None:
        super()._grow(rows)
        self.tallies.grow(rows)

    def add_pod(self, pod: Pod, node: str) -> bool:
        """Under its uid. False where nothing that counts has changed since it was last added."""
        uid = pod.metadata.uid or ""
        known = self.placed.get(uid)
        if known is not None and known.node == node and counts_alike(known.pod, pod):
            known.pod = pod
            return False
        self.remove_pod(uid)
        placed = placed_of(pod, node)
        placed.kind = self.tallies.known(placed.kind)
        if len(self._demands) > DEMANDS_MAX:
            self._demands.clear()
        placed.demand = self._demands.setdefault(placed.demand.key, placed.demand)
        self.put_back(placed)
        return True

    def put_back(self, placed: Placed) -> None:
        self.vector(placed.demand.amounts)  # its resources have columns from here on
        uid, node = placed.pod.metadata.uid or "", placed.node
        self.placed[uid] = placed
        self.on_node.setdefault(node, {})[uid] = placed
        self.tallies.add(placed.kind, node)
        self._use(placed, 1)
        if is_paused(placed.pod):
            self.paused[uid] = placed
        for key in claim_keys(placed.pod):
            self.claims.setdefault(key, {})[uid] = node
            self.claims_on[node] += 1
        for address, protocol, number in placed.ports:
            self.ports.setdefault((protocol, number), {}).setdefault(node, Counter())[address] += 1
        row = self.rows.get(node)
        if row is not None:
            self._count(row, placed.demand, 1)
            self._touch(row)

    def remove_pod(self, uid: str) -> bool:
        """Whether it was there."""
        placed = self.placed.pop(uid, None)
        if placed is None:
            return False
        self.tallies.remove(placed.kind, placed.node)
        self._use(placed, -1)
        self.paused.pop(uid, None)
        self._free_ports(placed)
        for key in claim_keys(placed.pod):
            users = self.claims.get(key, {})
            users.pop(uid, None)
            if not users:
                self.claims.pop(key, None)
            self.claims_on[placed.node] -= 1
        held = self.on_node[placed.node]
        del held[uid]
        if not held:
            del self.on_node[placed.node]
            self.claims_on.pop(placed.node, None)
        row = self.rows.get(placed.node)
        if row is not None:
            self._count(row, placed.demand, -1)
            self._touch(row)
        return True

    def _use(self, placed: Placed, sign: int) -> None:
        namespace = placed.pod.metadata.namespace or ""
        used = self.used_by.setdefault(namespace, Counter())
        for name, number in placed.demand.amounts.items():
            used[name] += sign * number
        if not used["pods"]:
            del self.used_by[namespace]

    def _count(self, row: int, demand: Demand, sign: int) -> None:
        self.requested[row] += sign * self.vector(demand.amounts)
        self.assumed[row] += sign * np.array(demand.assumed, np.int64)

    def _free_ports(self, placed: Placed) -> None:
        for address, protocol, number in placed.ports:
            nodes = self.ports[protocol, number]
            addresses = nodes[placed.node]
            addresses[address] -= 1
            if not addresses[address]:
                del addresses[address]
            if not addresses:
                del nodes[placed.node]
            if not nodes:
                del self.ports[protocol, number]
