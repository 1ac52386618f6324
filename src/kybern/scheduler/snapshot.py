"""The cluster as the scheduler sees it: one row for each node, one array for each fact, changed in place.

- Rows are dense: the last one moves into the place of one that leaves. `layout` counts what renumbers rows or columns;
  `row_version` says when a row last changed, so that older results can be mended instead of made again.
- A pod counts on its node from the moment the scheduler decides so, under its uid: hearing of it later changes nothing.
- A pod may be known before its node is; it counts once the node comes.
- Texts (label values, node names) are numbers here; a column of a label exists from the first time it is asked for.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kybern.api.core_v1 import Node, Pod
from kybern.api.resource_v1 import AllocationResult
from kybern.api.selectors import Selector
from kybern.reconcile.pausing import is_paused
from kybern.scheduler.claims import Assumed, ClaimKey, Lookup, Nothing, claims_of
from kybern.scheduler.demand import Demand, amounts_of, demand_of
from kybern.scheduler.framework import Column
from kybern.scheduler.tallies import Kind, Tallies, kind_of

if TYPE_CHECKING:
    from kybern.scheduler.shares import Share

ROWS_FIRST = 64
RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods")
NAME = " name"  # the node's own name among its labels, whose keys have no spaces
DEMANDS_MAX = 4096
ABSENT = -1
UNKNOWN = -2  # a text that no node has

Taint = tuple[str, str, str]
"""Key, value, effect."""
HostPort = tuple[str, str, int]
"""Address, protocol, port."""


@dataclass(slots=True)
class Placed:
    node: str
    pod: Pod
    """As last heard of: the rest of it is forgotten everywhere, and when it began says how important it is."""
    demand: Demand
    ports: tuple[HostPort, ...]
    kind: Kind


class Snapshot:
    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.nodes: list[Node] = []
        self.resources: list[str] = list(RESOURCES)
        self.version = 0
        self.layout = 0
        self.allocatable = np.zeros((ROWS_FIRST, len(RESOURCES)), np.int64)
        self.requested = np.zeros((ROWS_FIRST, len(RESOURCES)), np.int64)
        self.assumed = np.zeros((ROWS_FIRST, 2), np.int64)
        self.unschedulable = np.zeros(ROWS_FIRST, np.bool_)
        self.taint_set = np.zeros(ROWS_FIRST, np.int64)
        self.row_version = np.zeros(ROWS_FIRST, np.int64)
        self.labels: dict[str, Column[np.int64]] = {}
        self.texts: dict[str, int] = {}
        self.taint_sets: dict[tuple[Taint, ...], int] = {(): 0}
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
        self.images: dict[str, dict[str, int]] = {}
        """Image name → node → bytes."""

    @property
    def count(self) -> int:
        return len(self.nodes)

    # Nodes.

    def set_node(self, node: Node) -> None:
        name = node.metadata.name or ""
        row = self.rows.get(name)
        if row is None:
            row = self.rows[name] = self.count
            self.nodes.append(node)
            if self.count > len(self.unschedulable):
                self._grow(2 * len(self.unschedulable))
            self.layout += 1
        else:
            self._forget_images(self.nodes[row])
            self.nodes[row] = node
        self._fill(row, node)

    def remove_node(self, name: str) -> None:
        row = self.rows.pop(name, None)
        if row is None:
            return
        self._forget_images(self.nodes[row])
        last = self.count - 1
        moved = self.nodes.pop()
        if row != last:
            self.nodes[row] = moved
            self.rows[moved.metadata.name or ""] = row
            for array in self._arrays():
                array[row] = array[last]
        self.layout += 1
        self.version += 1

    def _fill(self, row: int, node: Node) -> None:
        name = node.metadata.name or ""
        self.allocatable[row] = self.vector(amounts_of(node.status.allocatable))
        self.unschedulable[row] = bool(node.spec.unschedulable)
        self.taint_set[row] = self._taint_set(node)
        for key, column in self.labels.items():
            column[row] = self._label(node, key)
        self.requested[row] = 0
        self.assumed[row] = 0
        self.tallies.empty(row)
        for placed in self.on_node.get(name, {}).values():
            self._count(row, placed.demand, 1)
            self.tallies.count(placed.kind, name, 1)
        for image in node.status.images or ():
            for title in image.names or ():
                self.images.setdefault(title, {})[name] = image.size_bytes or 0
        self._touch(row)

    def _forget_images(self, node: Node) -> None:
        for image in node.status.images or ():
            for title in image.names or ():
                holders = self.images.get(title, {})
                holders.pop(node.metadata.name or "", None)
                if not holders:
                    self.images.pop(title, None)

    def _arrays(self) -> Iterator[Column[Any]]:
        yield from (self.allocatable, self.requested, self.assumed, self.unschedulable, self.taint_set)
        yield self.row_version
        yield from self.labels.values()
        yield from self.tallies.columns.values()
        yield from self.tallies.bearers.values()

    def _grow(self, rows: int) -> None:
        def grown(array: Column[Any]) -> Column[Any]:
            larger = np.zeros((rows, *array.shape[1:]), array.dtype)
            larger[: len(array)] = array
            return larger

        self.allocatable, self.requested = grown(self.allocatable), grown(self.requested)
        self.assumed, self.unschedulable = grown(self.assumed), grown(self.unschedulable)
        self.taint_set, self.row_version = grown(self.taint_set), grown(self.row_version)
        self.labels = {key: grown(column) for key, column in self.labels.items()}
        self.tallies.grow(rows)

    def _taint_set(self, node: Node) -> int:
        taints = tuple((taint.key, taint.value or "", taint.effect) for taint in node.spec.taints or ())
        return self.taint_sets.setdefault(taints, len(self.taint_sets))

    def _touch(self, row: int) -> None:
        self.version += 1
        self.row_version[row] = self.version

    # Columns.

    def vector(self, amounts: Any) -> Column[np.int64]:
        """Amounts by resource, in the order of the resource columns; one that is new gets a column."""
        for name in amounts:
            if name not in self.resources:
                self._add_resource(name)
        return np.array([amounts.get(name, 0) for name in self.resources], np.int64)

    def _add_resource(self, name: str) -> None:
        self.resources.append(name)
        none = np.zeros((len(self.unschedulable), 1), np.int64)
        self.allocatable = np.hstack((self.allocatable, none))
        self.requested = np.hstack((self.requested, none))
        self.layout += 1

    def text(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))

    def label_column(self, key: str) -> Column[np.int64]:
        column = self.labels.get(key)
        if column is None:
            column = np.full(len(self.unschedulable), ABSENT, np.int64)
            for row, node in enumerate(self.nodes):
                column[row] = self._label(node, key)
            self.labels[key] = column
        return column

    def _label(self, node: Node, key: str) -> int:
        if key == NAME:
            return self.text(node.metadata.name or "")
        found = (node.metadata.labels or {}).get(key)
        return ABSENT if found is None else self.text(found)

    # Pods.

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
        held = self.on_node[placed.node]
        del held[uid]
        if not held:
            del self.on_node[placed.node]
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


def placed_of(pod: Pod, node: str) -> Placed:
    demand = demand_of(pod)
    return Placed(
        node, pod, without_processors(demand) if is_paused(pod) else demand, tuple(host_ports(pod)), kind_of(pod)
    )


def without_processors(demand: Demand) -> Demand:
    """What a frozen pod keeps."""
    kept = {name: number for name, number in demand.amounts.items() if name != "cpu"}
    return Demand(kept, (0, demand.assumed[1]))


def counts_alike(one: Pod, other: Pod) -> bool:
    return (
        one.metadata.labels == other.metadata.labels
        and is_paused(one) == is_paused(other)
        and one.metadata.deletion_timestamp == other.metadata.deletion_timestamp
        and (
            one.spec is other.spec
            or (one.spec.containers, one.spec.resources) == (other.spec.containers, other.spec.resources)
        )
    )


def claim_keys(pod: Pod) -> Iterator[ClaimKey]:
    if pod.spec.volumes:
        namespace = pod.metadata.namespace or ""
        yield from ((namespace, name) for name, _ in claims_of(pod))


def host_ports(pod: Pod) -> Iterator[HostPort]:
    sidecars = [container for container in pod.spec.init_containers or () if container.restart_policy == "Always"]
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports or ():
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                yield (port.host_ip or "0.0.0.0", port.protocol or "TCP", number)
