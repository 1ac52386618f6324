"""NodeResourcesFit: a pod fits a node when everything it requests is still free there; better where more is left.

NodeResourcesBalancedAllocation: better where CPU and memory are used in like measure.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.demand import Amounts, Demand, demand_of
from kybern.scheduler.framework import SCORE_MAX, Change, Column, FilterPlugin, ScorePlugin, Trial
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.snapshot import Placed, Snapshot

SCORED = 2  # the first resources, CPU and memory, are what nodes are compared by


@dataclass(frozen=True, slots=True)
class Wanted:
    by_name: Amounts
    amounts: Column[np.int64]
    """In the order of the nodes' resource columns."""
    assumed: Column[np.int64]
    """CPU and memory, where every container counts for something."""
    asked: Column[np.bool_]
    """Which resources it asks for at all: a node that has too little of another is no worse for it."""


def wanted(pod: Pod, nodes: Nodes) -> Wanted:
    """Sum the requests once for the pod."""
    demand: Demand = demand_of(pod)
    amounts = nodes.snapshot.vector(demand.amounts)
    return Wanted(demand.amounts, amounts, np.array(demand.assumed, np.int64), amounts > 0)


class Short:
    """What the pod lacks on a node, less what others would free."""

    def __init__(self, wanted: Amounts, snapshot: Snapshot, row: int) -> None:
        free = snapshot.allocatable[row] - snapshot.requested[row]
        self.short = {name: number - int(free[snapshot.resources.index(name)]) for name, number in wanted.items()}

    def leave(self, placed: Placed) -> None:
        for name in self.short:
            self.short[name] -= placed.demand.amounts.get(name, 0)

    def stay(self, placed: Placed) -> None:
        for name in self.short:
            self.short[name] += placed.demand.amounts.get(name, 0)

    def refusals(self) -> list[str]:
        return [insufficient(name) for name, number in self.short.items() if number > 0]

    def stamp(self) -> Hashable:
        return None


class NodeResourcesFit(FilterPlugin[Wanted], ScorePlugin[Wanted]):
    name = "NodeResourcesFit"
    pods_matter = True
    wakes_on = Change.NODE_ADDED | Change.NODE_ALLOCATABLE | Change.POD_LEFT

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Wanted | None:
        return wanted(pod, nodes)

    def filter(self, state: Wanted, nodes: Nodes) -> Column[np.bool_]:
        """One comparison for all nodes: (nodes, resources) against (resources,)."""
        return np.asarray(((nodes.free >= state.amounts) | ~state.asked).all(axis=1), np.bool_)

    def reasons(self, state: Wanted, refused: Nodes) -> Mapping[str, int]:
        short = ((refused.free < state.amounts) & state.asked).sum(axis=0)
        return {insufficient(name): int(count) for name, count in zip(refused.resources, short, strict=True) if count}

    def preemption_helps(self, state: Wanted, refused: Nodes) -> Column[np.bool_]:
        """Not where even the empty node is too small."""
        return np.asarray(((refused.allocatable >= state.amounts) | ~state.asked).all(axis=1), np.bool_)

    def trial(self, state: Wanted, pod: Pod, snapshot: Snapshot, row: int) -> Trial:
        return Short(state.by_name, snapshot, row)

    def pre_score(self, pod: Pod, nodes: Nodes) -> Wanted | None:
        return wanted(pod, nodes)

    def score(self, state: Wanted, nodes: Nodes) -> Column[np.int64]:
        """Least-allocated: prefer the nodes with the largest share left once the pod is on them."""
        there = nodes.allocatable[:, :SCORED]
        left = np.maximum(there - nodes.assumed - state.assumed, 0)
        shares = left * SCORE_MAX // np.maximum(there, 1)
        counted = np.maximum((there > 0).sum(axis=1), 1)
        total: Column[np.int64] = (shares * (there > 0)).sum(axis=1) // counted
        return total


class NodeResourcesBalancedAllocation(ScorePlugin[Wanted]):
    name = "NodeResourcesBalancedAllocation"

    def pre_score(self, pod: Pod, nodes: Nodes) -> Wanted | None:
        asked = wanted(pod, nodes)
        return asked if asked.asked[:SCORED].any() else None

    def score(self, state: Wanted, nodes: Nodes) -> Column[np.int64]:
        there = nodes.allocatable[:, :SCORED]
        used = nodes.requested[:, :SCORED] + state.amounts[:SCORED]
        shares: Any = np.minimum(used / np.maximum(there, 1), 1.0)
        deviation = np.where((there > 0).all(axis=1), np.abs(shares[:, 0] - shares[:, 1]) / 2, 0.0)
        scores: Column[np.int64] = ((1 - deviation) * SCORE_MAX).astype(np.int64)
        return scores


def insufficient(resource: str) -> str:
    return "Too many pods" if resource == "pods" else f"Insufficient {resource}"
