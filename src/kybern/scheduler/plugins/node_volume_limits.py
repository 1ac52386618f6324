"""NodeVolumeLimits: no more volumes of a CSI driver than the node says it can attach, each counted once.

A volume is attached where a pod uses it, and where a VolumeAttachment says so: pods leave before their volumes do. Which
volumes those are is looked up only on nodes where so many claims and attachments might be too many. A driver that asks for
it gets no pods on nodes that it is not installed on.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np

from kybern.api.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.storage_v1 import CSIDriver, CSINode, StorageClass
from kybern.scheduler.attachments import NO_LIMITS, Attached
from kybern.scheduler.claims import Lookup, claims_of, class_of
from kybern.scheduler.framework import Change, Column, FilterPlugin, Trial
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import Placed
from kybern.scheduler.snapshot import Snapshot

REASON = "node(s) exceed max volume count"
NOT_INSTALLED = "{} CSI driver is not installed on the node"


@dataclass(frozen=True, slots=True)
class Wanted:
    volumes: frozenset[Attached]
    indispensable: tuple[str, ...] = ()
    """The drivers that have to be on the node."""


class Attaching:
    """How many pods use each volume of the drivers in question."""

    def __init__(self, wanted: Wanted, snapshot: Snapshot, row: int) -> None:
        self.wanted, self.view = wanted, snapshot.view
        name = snapshot.nodes[row].metadata.name or ""
        self.lacking = lacking(wanted, name, self.view)
        self.limits = snapshot.attachments.limits.get(name, NO_LIMITS)
        self.attached = set(snapshot.attachments.volumes(name, self.view))
        self.used = Counter(
            volume for placed in snapshot.on_node.get(name, {}).values() for volume in volumes_of(placed.pod, self.view)
        )

    def leave(self, placed: Placed) -> None:
        self.used.subtract(volumes_of(placed.pod, self.view))

    def stay(self, placed: Placed) -> None:
        self.used.update(volumes_of(placed.pod, self.view))

    def refusals(self) -> list[str]:
        if self.lacking:
            return [self.lacking]
        there = self.attached | {volume for volume, number in self.used.items() if number > 0}
        return [REASON] if too_many(self.wanted.volumes, there, self.limits) else []


class NodeVolumeLimits(FilterPlugin[Wanted]):
    name = "NodeVolumeLimits"
    wakes_on = Change.NODE_ADDED | Change.POD_LEFT | Change.VOLUME
    reason = REASON
    kept = False
    pods_matter = True

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        return any(True for _ in claims_of(about))

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Wanted | None:
        view = nodes.snapshot.view
        volumes = frozenset(volumes_of(pod, view)) if pod.spec.volumes else frozenset()
        if not volumes:
            return None
        drivers = sorted({driver for driver, _ in volumes})
        return Wanted(volumes, tuple(name for name in drivers if is_indispensable(name, view)))

    def filter(self, state: Wanted, nodes: Nodes) -> Column[np.bool_]:
        return np.fromiter((not self.refuses(state, node, nodes) for node in nodes.objects()), np.bool_, len(nodes))

    def reasons(self, state: Wanted, refused: Nodes) -> Mapping[str, int]:
        return Counter(self.refuses(state, node, refused) for node in refused.objects())

    def refuses(self, state: Wanted, node: Node, nodes: Nodes) -> str:
        """Why; empty where it does not."""
        name, snapshot = node.metadata.name or "", nodes.snapshot
        without = lacking(state, name, snapshot.view)
        limits = snapshot.attachments.limits.get(name, NO_LIMITS)
        if without or not any(driver in limits for driver, _ in state.volumes):
            return without
        at_most = snapshot.claims_on[name] + snapshot.attachments.count(name) + len(state.volumes)
        if at_most <= min(limits.values()):
            return ""
        pods = snapshot.on_node.get(name, {}).values()
        there = {volume for placed in pods for volume in volumes_of(placed.pod, snapshot.view)}
        return (
            REASON
            if too_many(state.volumes, there.union(snapshot.attachments.volumes(name, snapshot.view)), limits)
            else ""
        )

    def preemption_helps(self, state: Wanted, refused: Nodes) -> Column[np.bool_]:
        view = refused.snapshot.view
        helps = (not lacking(state, node.metadata.name or "", view) for node in refused.objects())
        return np.fromiter(helps, np.bool_, len(refused))

    def trial(self, state: Wanted, pod: Pod, snapshot: Snapshot, row: int) -> Trial:
        return Attaching(state, snapshot, row)


def is_indispensable(driver: str, view: Lookup) -> bool:
    found = view.get(CSIDriver, driver)
    return found is not None and bool(found.spec.prevent_pod_scheduling_if_missing)


def lacking(wanted: Wanted, node: str, view: Lookup) -> str:
    """Why the node will not do, whatever is attached there; empty where it has all drivers that have to be there."""
    if not wanted.indispensable:
        return ""
    found = view.get(CSINode, node)
    installed = {driver.name for driver in found.spec.drivers} if found is not None else set()
    return next((NOT_INSTALLED.format(name) for name in wanted.indispensable if name not in installed), "")


def too_many(wanted: Set[Attached], there: Set[Attached], limits: Mapping[str, int]) -> bool:
    new = Counter(driver for driver, _ in wanted - there)
    old = Counter(driver for driver, _ in there)
    return any(driver in limits and old[driver] + number > limits[driver] for driver, number in new.items())


def volumes_of(pod: Pod, view: Lookup) -> Iterator[Attached]:
    namespace = pod.metadata.namespace or ""
    for name, _ in claims_of(pod):
        claim = view.get(PersistentVolumeClaim, name, namespace)
        if claim is None:
            continue
        volume = view.get(PersistentVolume, claim.spec.volume_name or "") if claim.spec.volume_name else None
        if volume is not None:
            if volume.spec.csi is not None:
                yield volume.spec.csi.driver, volume.spec.csi.volume_handle
            continue
        storage = view.get(StorageClass, class_of(claim)) if class_of(claim) else None
        if storage is not None and not storage.provisioner.startswith("kubernetes.io/"):
            yield storage.provisioner, f"{namespace}/{name}"
