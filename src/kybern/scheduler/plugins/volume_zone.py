"""VolumeZone: a volume that says it is in a zone or a region is used from nodes that are there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from kybern.scheduler.claims import bound_to, claims_of
from kybern.scheduler.columns import ABSENT
from kybern.scheduler.framework import NODE_CHANGED, Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes

TOPOLOGY = {
    "topology.kubernetes.io/zone": "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region": "failure-domain.beta.kubernetes.io/region",
}
"""Keys, and what they were called before: a node may have either."""
BOTH = {**TOPOLOGY, **{old: new for new, old in TOPOLOGY.items()}}


@dataclass(frozen=True, slots=True)
class Places:
    wanted: tuple[tuple[str, frozenset[str]], ...]
    """For each key, the values that will do."""


class VolumeZone(FilterPlugin[Places]):
    name = "VolumeZone"
    wakes_on = NODE_CHANGED | Change.VOLUME
    reason = "node(s) had no available volume zone"
    kept = False

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Places | None:
        wanted = tuple(places_of(pod, nodes)) if pod.spec.volumes else ()
        return Places(wanted) if wanted else None

    def filter(self, state: Places, nodes: Nodes) -> Column[np.bool_]:
        """A node that says nothing about where it is will do."""
        somewhere = np.zeros(len(nodes), np.bool_)
        fits = np.ones(len(nodes), np.bool_)
        for key, values in state.wanted:
            here = nodes.label(key)
            here = np.where(here == ABSENT, nodes.label(BOTH[key]), here)
            somewhere |= here != ABSENT
            fits &= np.isin(here, [nodes.text(value) for value in values])
        return fits | ~somewhere


def places_of(pod: Pod, nodes: Nodes) -> Iterator[tuple[str, frozenset[str]]]:
    view, namespace = nodes.snapshot.view, pod.metadata.namespace or ""
    for name, _ in claims_of(pod):
        claim = view.get(PersistentVolumeClaim, name, namespace)
        volume = view.get(PersistentVolume, bound_to(claim)) if claim is not None and bound_to(claim) else None
        for key, value in ((volume.metadata.labels or {}) if volume else {}).items():
            if key in BOTH:
                yield key, frozenset(value.split("__"))
