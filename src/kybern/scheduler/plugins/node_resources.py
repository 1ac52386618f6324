"""NodeResourcesFit: a pod fits a node when everything it requests is still free there; a strategy says where it is better.

NodeResourcesBalancedAllocation: better where CPU and memory are used in like measure.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.columns import RESOURCES
from kybern.scheduler.demand import Amounts, Demand, demand_of
from kybern.scheduler.extended_resources import classes_of
from kybern.scheduler.framework import SCORE_MAX, Change, Column, FilterPlugin, ScorePlugin, Trial
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import Placed
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.strategies import LEAST, Strategy

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
    by_devices: Column[np.bool_] | None = None
    """Which of them a device class stands for: a node without the resource may have devices instead, and is not judged
    here by that. None where there are none."""

    def enough(self, there: Column[np.int64], nodes: Nodes) -> Column[np.bool_]:
        """For each node and resource, whether what is there suffices."""
        fits = (there >= self.amounts) | ~self.asked
        if self.by_devices is not None:
            fits |= self.by_devices & (nodes.allocatable == 0)
        return np.asarray(fits, np.bool_)


def wanted(pod: Pod, nodes: Nodes, ignored: tuple[str, ...] = ()) -> Wanted:
    """Sum the requests once for the pod."""
    demand: Demand = demand_of(pod)
    by_name = {
        name: number for name, number in demand.amounts.items() if name not in ignored and group_of(name) not in ignored
    }
    amounts = nodes.snapshot.vector(by_name)
    classes = classes_of(pod, nodes.snapshot.view)
    by_devices = np.array([name in classes for name in nodes.resources], np.bool_) if classes else None
    return Wanted(by_name, amounts, np.array(demand.assumed, np.int64), amounts > 0, by_devices)


def group_of(resource: str) -> str:
    """`example.com/` of `example.com/dongle`."""
    return resource.rpartition("/")[0] + "/"


class Short:
    """What the pod lacks on a node, less what others would free."""

    def __init__(self, wanted: Wanted, snapshot: Snapshot, row: int) -> None:
        there = snapshot.allocatable[row]
        free = there - snapshot.requested[row]
        self.short: dict[str, int] = {}
        for name, number in wanted.by_name.items():
            column = snapshot.resources.index(name)
            if wanted.by_devices is None or not wanted.by_devices[column] or there[column]:
                self.short[name] = number - int(free[column])

    def leave(self, placed: Placed) -> None:
        for name in self.short:
            self.short[name] -= placed.demand.amounts.get(name, 0)

    def stay(self, placed: Placed) -> None:
        for name in self.short:
            self.short[name] += placed.demand.amounts.get(name, 0)

    def refusals(self) -> list[str]:
        return [insufficient(name) for name, number in self.short.items() if number > 0]


@dataclass(frozen=True, slots=True)
class NodeResourcesFit(FilterPlugin[Wanted], ScorePlugin[Wanted]):
    name: ClassVar[str] = "NodeResourcesFit"
    pods_matter: ClassVar[bool] = True
    wakes_on: ClassVar[Change] = Change.NODE_ADDED | Change.NODE_ALLOCATABLE | Change.POD_LEFT | Change.DEVICE_CLASS

    strategy: Strategy = LEAST
    ignored: tuple[str, ...] = ()
    """Extended resources, or groups of them with a slash at the end, that somebody else looks after."""

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Wanted | None:
        return wanted(pod, nodes, self.ignored)

    def filter(self, state: Wanted, nodes: Nodes) -> Column[np.bool_]:
        """One comparison for all nodes: (nodes, resources) against (resources,)."""
        return np.asarray(state.enough(nodes.free, nodes).all(axis=1), np.bool_)

    def reasons(self, state: Wanted, refused: Nodes) -> Mapping[str, int]:
        short = (~state.enough(refused.free, refused)).sum(axis=0)
        return {insufficient(name): int(count) for name, count in zip(refused.resources, short, strict=True) if count}

    def preemption_helps(self, state: Wanted, refused: Nodes) -> Column[np.bool_]:
        """Not where even the empty node is too small."""
        return np.asarray(state.enough(refused.allocatable, refused).all(axis=1), np.bool_)

    def trial(self, state: Wanted, pod: Pod, snapshot: Snapshot, row: int) -> Trial:
        return Short(state, snapshot, row)

    def stamp(self, state: Wanted, snapshot: Snapshot, row: int) -> Hashable:
        return None

    def pre_score(self, pod: Pod, nodes: Nodes) -> Wanted | None:
        return wanted(pod, nodes)

    def score(self, state: Wanted, nodes: Nodes) -> Column[np.int64]:
        """By the strategy, each resource by itself, and the weighted mean of those that count."""
        total, weights = np.zeros(len(nodes), np.int64), np.zeros(len(nodes), np.int64)
        for name, weight in self.strategy.resources:
            use = use_of(name, state, nodes, counted=True)
            if use is None:
                continue
            there, used = use
            scores = self.strategy.score(used, there)
            counts = (there > 0) & ((scores > 0) | self.strategy.zero_counts)
            total += np.where(counts, scores * weight, 0)
            weights += np.where(counts, weight, 0)
        weights = np.maximum(weights, 1)
        return total // weights if self.strategy.zero_counts else (2 * total + weights) // (2 * weights)


@dataclass(frozen=True, slots=True)
class NodeResourcesBalancedAllocation(ScorePlugin[Wanted]):
    name: ClassVar[str] = "NodeResourcesBalancedAllocation"
    resources: tuple[str, ...] = ("cpu", "memory")

    def pre_score(self, pod: Pod, nodes: Nodes) -> Wanted | None:
        asked = wanted(pod, nodes)
        return asked if any(asked.by_name.get(name) for name in self.resources) else None

    def score(self, state: Wanted, nodes: Nodes) -> Column[np.int64]:
        uses = [use for name in self.resources if (use := use_of(name, state, nodes, counted=False)) is not None]
        if len(uses) < 2:
            return np.full(len(nodes), SCORE_MAX, np.int64)
        there = np.array([use[0] for use in uses])
        shares: Any = np.minimum(np.array([use[1] for use in uses]) / np.maximum(there, 1), 1.0)
        known = there > 0
        number = np.maximum(known.sum(axis=0), 1)
        mean = (shares * known).sum(axis=0) / number
        deviation = np.sqrt((((shares - mean) ** 2) * known).sum(axis=0) / number)
        scores: Column[np.int64] = ((1 - np.where(number > 1, deviation, 0.0)) * SCORE_MAX + 1e-9).astype(np.int64)
        return scores


def use_of(
    name: str, state: Wanted, nodes: Nodes, *, counted: bool
) -> tuple[Column[np.int64], Column[np.int64]] | None:
    """What nodes have of a resource, and what is used with the pod. `counted`: every container counts for something.
    None where it is nobody's, or one of the extended ones that the pod does not ask for."""
    if name not in nodes.resources:
        return None
    column = nodes.resources.index(name)
    if counted and column < SCORED:
        return nodes.allocatable[:, column], nodes.assumed[:, column] + state.assumed[column]
    asked = state.by_name.get(name, 0)
    if not asked and name not in RESOURCES:
        return None
    return nodes.allocatable[:, column], nodes.requested[:, column] + asked


def insufficient(resource: str) -> str:
    return "Too many pods" if resource == "pods" else f"Insufficient {resource}"
