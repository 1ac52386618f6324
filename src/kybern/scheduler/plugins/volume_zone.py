"""VolumeZone: a volume that says it is in a zone or a region is used from nodes that are there.

A node that says nothing about where it is will do. One that says it in the new words only is understood by a volume that
says it in the old ones, and not the other way round.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from kybern.scheduler.claims import bound_to, claims_of
from kybern.scheduler.columns import ABSENT
from kybern.scheduler.framework import NODE_CHANGED, Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes

SINCE_THEN = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
"""Keys of old, and what they are called now."""
KEYS = frozenset((*SINCE_THEN, *SINCE_THEN.values()))
BETWEEN = "__"  # the values of a volume that is in several places


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
        somewhere, fits = np.zeros(len(nodes), np.bool_), np.ones(len(nodes), np.bool_)
        for key in KEYS:
            somewhere |= nodes.label(key) != ABSENT
        for key, values in state.wanted:
            here = nodes.label(key)
            here = np.where(here == ABSENT, nodes.label(SINCE_THEN.get(key, key)), here)
            fits &= np.isin(here, [nodes.text(value) for value in values])
        return fits | ~somewhere


def places_of(pod: Pod, nodes: Nodes) -> Iterator[tuple[str, frozenset[str]]]:
    view, namespace = nodes.snapshot.view, pod.metadata.namespace or ""
    for name, _ in claims_of(pod):
        claim = view.get(PersistentVolumeClaim, name, namespace)
        volume = view.get(PersistentVolume, bound_to(claim)) if claim is not None and bound_to(claim) else None
        for key, text in ((volume.metadata.labels or {}) if volume else {}).items():
            values = frozenset(value.strip() for value in text.split(BETWEEN)) if key in KEYS else frozenset()
            if values and all(values):
                yield key, values
