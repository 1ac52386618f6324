"""How good a node is by the share of a resource that is used with the pod there: upstream's three scoring strategies."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from kybern.scheduler.framework import SCORE_MAX, Column

CPU_AND_MEMORY = (("cpu", 1), ("memory", 1))
SHAPE_SCORE_MAX = 10

Shape = tuple[tuple[int, int], ...]
"""Percentage used → score from 0 to 10, by percentage."""


@dataclass(frozen=True, slots=True)
class Strategy:
    type: Literal["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"] = "LeastAllocated"
    resources: tuple[tuple[str, int], ...] = CPU_AND_MEMORY
    """With their weights."""
    shape: Shape = ()

    @property
    def zero_counts(self) -> bool:
        """Whether a resource with no points pulls the mean down."""
        return self.type != "RequestedToCapacityRatio"

    def score(self, used: Column[np.int64], there: Column[np.int64]) -> Column[np.int64]:
        """For each node. `used` may be more than there is."""
        room = np.maximum(there, 1)
        match self.type:
            case "LeastAllocated":
                return np.asarray(np.maximum(there - used, 0) * SCORE_MAX // room, np.int64)
            case "MostAllocated":
                return np.asarray(np.minimum(used, there) * SCORE_MAX // room, np.int64)
        percent = np.where((there <= 0) | (used > there), 100, used * 100 // room)
        return broken_line(percent, self.shape)


LEAST = Strategy()


def broken_line(percent: Column[np.int64], shape: Shape) -> Column[np.int64]:
    """Straight between the points, level beyond them, in whole numbers as upstream counts (towards zero)."""
    scale = SCORE_MAX // SHAPE_SCORE_MAX
    points = [(at, score * scale) for at, score in shape]
    found = np.full(len(percent), points[-1][1], np.int64)
    for (left, low), (right, high) in reversed(list(pairwise(points))):
        rise = np.trunc((high - low) * (percent - left) / (right - left)).astype(np.int64)
        found = np.where(percent <= right, low + rise, found)
    return np.where(percent <= points[0][0], points[0][1], found)
