"""NodeVolumeLimits: no more volumes of a CSI driver than the node says it can attach, each counted once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.storage_v1 import CSINode, StorageClass
from kybern.scheduler.claims import Lookup, claims_of, class_of
from kybern.scheduler.framework import Change, Column, FilterPlugin, Trial
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import Placed
from kybern.scheduler.snapshot import Snapshot

REASON = "node(s) exceed max volume count"

Attached = tuple[str, str]
"""Driver, and the volume's handle there (or the claim, as long as it has none)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    volumes: frozenset[Attached]


class Attaching:
    """How many pods use each volume of the drivers in question."""

    def __init__(self, wanted: Wanted, snapshot: Snapshot, row: int) -> None:
        self.wanted, self.view = wanted, snapshot.view
        name = snapshot.nodes[row].metadata.name or ""
        self.limits = limits_of(name, self.view)
        self.used = Counter(
            volume for placed in snapshot.on_node.get(name, {}).values() for volume in volumes_of(placed.pod, self.view)
        )

    def leave(self, placed: Placed) -> None:
        self.used.subtract(volumes_of(placed.pod, self.view))

    def stay(self, placed: Placed) -> None:
        self.used.update(volumes_of(placed.pod, self.view))

    def refusals(self) -> list[str]:
        there = {volume for volume, number in self.used.items() if number > 0}
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
        wanted = frozenset(volumes_of(pod, nodes.snapshot.view)) if pod.spec.volumes else frozenset()
        return Wanted(wanted) if wanted else None

    def filter(self, state: Wanted, nodes: Nodes) -> Column[np.bool_]:
        return np.fromiter((self.fits(state, node.metadata.name or "", nodes) for node in nodes.objects()), np.bool_)

    def fits(self, state: Wanted, node: str, nodes: Nodes) -> bool:
        view = nodes.snapshot.view
        limits = limits_of(node, view)
        if not any(driver in limits for driver, _ in state.volumes):
            return True
        there = {v for placed in nodes.snapshot.on_node.get(node, {}).values() for v in volumes_of(placed.pod, view)}
        return not too_many(state.volumes, there, limits)

    def preemption_helps(self, state: Wanted, refused: Nodes) -> Column[np.bool_]:
        return np.ones(len(refused), np.bool_)

    def trial(self, state: Wanted, pod: Pod, snapshot: Snapshot, row: int) -> Trial:
        return Attaching(state, snapshot, row)


def too_many(wanted: frozenset[Attached], there: set[Attached], limits: dict[str, int]) -> bool:
    new = Counter(driver for driver, _ in wanted - there)
    old = Counter(driver for driver, _ in there)
    return any(driver in limits and old[driver] + number > limits[driver] for driver, number in new.items())


def limits_of(node: str, view: Lookup) -> dict[str, int]:
    found = view.get(CSINode, node)
    return {
        driver.name: driver.allocatable.count
        for driver in (found.spec.drivers if found else ())
        if driver.allocatable is not None and driver.allocatable.count is not None
    }


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
