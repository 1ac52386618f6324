"""VolumeRestrictions: what only one pod may use is used by one: a ReadWriteOncePod claim, a disk that cannot be shared."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kybern.api.core_v1 import PersistentVolumeClaim, Pod
from kybern.scheduler.claims import ClaimKey, claims_of
from kybern.scheduler.framework import Change, Column, FilterPlugin, Trial
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import Placed
from kybern.scheduler.snapshot import Snapshot

ONCE = "ReadWriteOncePod"
DISK = "node(s) had no available disk"
CLAIM = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


@dataclass(frozen=True, slots=True)
class Sole:
    disks: frozenset[Hashable]
    """In the words of `disks_of`."""
    read_only: frozenset[Hashable]
    claims: frozenset[ClaimKey]
    """Those that only one pod may use."""
    users: int
    """How many pods use one of these claims, anywhere."""


class InUse:
    def __init__(self, sole: Sole, snapshot: Snapshot, row: int) -> None:
        self.sole, self.users = sole, sole.users
        node = snapshot.nodes[row].metadata.name or ""
        self.disks = sum(clashes(sole, placed.pod) for placed in snapshot.on_node.get(node, {}).values())

    def leave(self, placed: Placed) -> None:
        self._shift(placed, -1)

    def stay(self, placed: Placed) -> None:
        self._shift(placed, 1)

    def _shift(self, placed: Placed, by: int) -> None:
        self.disks += by * clashes(self.sole, placed.pod)
        self.users += by * uses(self.sole, placed.pod)

    def refusals(self) -> list[str]:
        if self.disks:
            return [DISK]
        return [CLAIM] if self.users else []


class VolumeRestrictions(FilterPlugin[Sole]):
    name = "VolumeRestrictions"
    wakes_on = Change.NODE_ADDED | Change.POD_LEFT | Change.VOLUME
    kept = False
    pods_matter = True

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        return bool(about.spec.volumes)

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Sole | None:
        if not pod.spec.volumes:
            return None
        snapshot, namespace = nodes.snapshot, pod.metadata.namespace or ""
        sole = set()
        for name, _ in claims_of(pod):
            claim = snapshot.view.get(PersistentVolumeClaim, name, namespace)
            if claim is not None and ONCE in (claim.spec.access_modes or ()):
                sole.add((namespace, name))
        disks = frozenset(disk for disk, _ in disks_of(pod))
        if not sole and not disks:
            return None
        written = {disk for disk, only in disks_of(pod) if not only}
        users = {uid for key in sole for uid in snapshot.claims.get(key, {})}
        return Sole(disks, disks - written, frozenset(sole), len(users))

    def filter(self, state: Sole, nodes: Nodes) -> Column[np.bool_]:
        fits = np.full(len(nodes), not state.users, np.bool_)
        return fits & self.disks_free(state, nodes) if state.disks else fits

    def disks_free(self, state: Sole, nodes: Nodes) -> Column[np.bool_]:
        on_node = nodes.snapshot.on_node
        free = (
            not any(clashes(state, placed.pod) for placed in on_node.get(node.metadata.name or "", {}).values())
            for node in nodes.objects()
        )
        return np.fromiter(free, np.bool_, len(nodes))

    def reasons(self, state: Sole, refused: Nodes) -> Mapping[str, int]:
        busy = int((~self.disks_free(state, refused)).sum()) if state.disks else 0
        return {reason: number for reason, number in ((DISK, busy), (CLAIM, len(refused) - busy)) if number}

    def preemption_helps(self, state: Sole, refused: Nodes) -> Column[np.bool_]:
        return np.ones(len(refused), np.bool_)

    def trial(self, state: Sole, pod: Pod, snapshot: Snapshot, row: int) -> Trial:
        return InUse(state, snapshot, row)

    def stamp(self, state: Sole, snapshot: Snapshot, row: int) -> Hashable:
        return state.users


def uses(sole: Sole, pod: Pod) -> bool:
    namespace = pod.metadata.namespace or ""
    return any((namespace, name) in sole.claims for name, _ in claims_of(pod))


def clashes(sole: Sole, pod: Pod) -> bool:
    """A disk may be used twice where everybody only reads it."""
    return any(disk in sole.disks and not (only and disk in sole.read_only) for disk, only in disks_of(pod))


def disks_of(pod: Pod) -> Iterator[tuple[Hashable, bool]]:
    """The disks of a pod's volumes that two pods cannot both write, and whether it only reads each."""
    for volume in pod.spec.volumes or ():
        found: Any
        if (found := volume.gce_persistent_disk) is not None:
            yield ("gce", found.pd_name), bool(found.read_only)
        elif (found := volume.aws_elastic_block_store) is not None:
            yield ("aws", found.volume_id), False
        elif (found := volume.iscsi) is not None:
            yield ("iscsi", found.iqn), bool(found.read_only)
        elif (found := volume.rbd) is not None:
            for monitor in found.monitors:  # who shares one of them has the same disk
                yield ("rbd", monitor, found.pool, found.image), bool(found.read_only)
