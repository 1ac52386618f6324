"""How good a node is by what its storage has left: of volumes that are there, or of a class that makes new ones.

Each class counts alike, by the share of its capacity that the pod's claims would use. Where some claims are bound to volumes
that exist, only those count.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

from kybern.api.core_v1 import Node, PersistentVolume, PersistentVolumeClaim
from kybern.api.quantity import value
from kybern.api.storage_v1 import CSIStorageCapacity
from kybern.scheduler.claims import Lookup, class_of, size
from kybern.scheduler.near import Near, tie_of_selector
from kybern.scheduler.strategies import Shape, broken_line
from kybern.scheduler.terms import selector_of

PERCENTAGES_KEPT = 1024  # most nodes have one class, and so one of a hundred
MUCH_LEFT: Shape = ((0, 10), (100, 0))
Match = tuple[PersistentVolumeClaim, PersistentVolume | None]
"""A claim with the volume that it would have, or None where one is to be made."""


def score_of(matches: Iterable[Match], node: Node, space: Near[CSIStorageCapacity], shape: Shape) -> int:
    there = list(matches)
    uses: dict[str, tuple[int, int]] = {}
    bound = [(claim, volume) for claim, volume in there if volume is not None]
    for claim, volume in bound:
        requested, capacity = uses.get(class_of(claim), (0, 0))
        uses[class_of(claim)] = (requested + asked(claim), capacity + size(volume))
    for claim, _ in () if bound else there:
        left = max((value(one.capacity or "0") for one in capacities(claim, node, space)), default=None)
        if left is not None:
            uses[class_of(claim)] = (uses.get(class_of(claim), (0, 0))[0] + asked(claim), left)
    if not uses:
        return 0
    return by_percent(
        tuple(
            100 if requested > capacity else requested * 100 // max(capacity, 1)
            for requested, capacity in uses.values()
        ),
        shape,
    )


@lru_cache(PERCENTAGES_KEPT)
def by_percent(used: tuple[int, ...], shape: Shape) -> int:
    return int(broken_line(np.array(used, np.int64), shape).mean() + 0.5)


def space_for(claims: Iterable[PersistentVolumeClaim], view: Lookup) -> Near[CSIStorageCapacity]:
    """What drivers say that they can make of these claims' classes."""
    classes = {class_of(claim) for claim in claims}
    found: Near[CSIStorageCapacity] = Near()
    for one in view.list(CSIStorageCapacity) if classes else ():
        if one.storage_class_name in classes and one.node_topology is not None:
            found.add(one, tie_of_selector(one.node_topology))
    return found


def capacities(
    claim: PersistentVolumeClaim, node: Node, space: Near[CSIStorageCapacity]
) -> Iterator[CSIStorageCapacity]:
    """Of the claim's class, what can be made for the node."""
    labels = node.metadata.labels or {}
    for one in space.to(labels):
        if one.storage_class_name == class_of(claim) and selector_of(one.node_topology).matches(labels):
            yield one


def asked(claim: PersistentVolumeClaim) -> int:
    return value((claim.spec.resources.requests or {}).get("storage", "0")) if claim.spec.resources else 0
