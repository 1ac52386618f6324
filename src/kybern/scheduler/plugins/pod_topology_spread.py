"""PodTopologySpread: alike pods evenly over the values of a node label: zones, nodes.

A constraint counts the pods it selects, of the pod's namespace and not being deleted, in each domain: the nodes with one
value of the topology key that have all the keys and, by its policies, that the pod could run on at all. Where a pod has
no constraints, its group (what its services and its owner select) is spread as the defaults say, if it can be.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kybern.api.core_v1 import Pod, TopologySpreadConstraint
from kybern.api.selectors import Selector
from kybern.scheduler.framework import NODE_CHANGED, SCORE_MAX, Change, Column, FilterPlugin, ScorePlugin, Trial
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import Placed
from kybern.scheduler.plugins.node_affinity import NodeAffinity
from kybern.scheduler.plugins.taint_toleration import TaintToleration
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.tallies import Kind, Question
from kybern.scheduler.terms import Which, selector_of, with_own_values

HOSTNAME = "kubernetes.io/hostname"
DEFAULTS = (
    TopologySpreadConstraint(max_skew=3, topology_key=HOSTNAME, when_unsatisfiable="ScheduleAnyway"),
    TopologySpreadConstraint(
        max_skew=5, topology_key="topology.kubernetes.io/zone", when_unsatisfiable="ScheduleAnyway"
    ),
)
UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{UNEVEN} (missing required label)"
LEFT_OUT = -1  # the score of a node without one of the labels, until it is normalized


@dataclass(frozen=True, slots=True)
class Counted:
    key: str
    in_domain: Column[np.int64]
    """By the number of the label's value."""
    most: int
    """As many may be in a domain before the pod comes."""
    domains: Column[np.int64]
    """Those that the least is taken of; none where there are too few."""
    room: int
    """How many more than the least."""
    counts: Column[np.bool_]
    """On which nodes pods count."""
    question: Question


class Evenness:
    """How many pods count in the node's domain, and the least in any other, constraint by constraint."""

    def __init__(self, parts: tuple[Counted, ...], snapshot: Snapshot, row: int) -> None:
        self.parts, self.namespaces = parts, snapshot.tallies.namespaces
        self.here = [int(snapshot.label_column(part.key)[row]) for part in parts]
        self.counts = [bool(part.counts[row]) for part in parts]
        self.number = [int(part.in_domain[here]) for part, here in zip(parts, self.here, strict=True)]
        self.elsewhere: list[int | None] = []
        for part, here in zip(parts, self.here, strict=True):
            others = part.in_domain[part.domains[part.domains != here]]
            self.elsewhere.append(int(others.min()) if len(others) else None)

    def leave(self, placed: Placed) -> None:
        self._shift(placed.kind, -1)

    def stay(self, placed: Placed) -> None:
        self._shift(placed.kind, 1)

    def _shift(self, kind: Kind, by: int) -> None:
        for place, part in enumerate(self.parts):
            if self.counts[place] and part.question.means(kind, self.namespaces):
                self.number[place] += by

    def refusals(self) -> list[str]:
        for place, part in enumerate(self.parts):
            if self.here[place] < 0:
                return [NO_LABEL]
            if self.number[place] > self._least(place) + part.room:
                return [UNEVEN]
        return []

    def _least(self, place: int) -> int:
        part, elsewhere = self.parts[place], self.elsewhere[place]
        if not len(part.domains):
            return 0
        counted = self.here[place] in part.domains
        if elsewhere is None:
            return self.number[place]
        return min(elsewhere, self.number[place]) if counted else elsewhere


@dataclass(frozen=True, slots=True)
class Uneven:
    key: str
    in_domain: Column[np.int64] | None
    """None: each node is its own domain."""
    on_node: Column[np.int64]
    weight: float
    max_skew: int


@dataclass(frozen=True, slots=True)
class Spread:
    parts: tuple[Uneven, ...]
    all_keys: bool
    """Whether a node must have all the labels."""


@dataclass(frozen=True, slots=True)
class PodTopologySpread(FilterPlugin[tuple[Counted, ...]], ScorePlugin[Spread]):
    name: ClassVar[str] = "PodTopologySpread"
    pods_matter: ClassVar[bool] = True
    wakes_on: ClassVar[Change] = (
        NODE_CHANGED | Change.NODE_REMOVED | Change.NODE_TAINTS | Change.POD_LEFT | Change.POD_ADDED
    )
    kept: ClassVar[bool] = False
    defaults: tuple[TopologySpreadConstraint, ...] = DEFAULTS
    """For pods without constraints that something selects."""

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        if not pod.spec.topology_spread_constraints:
            return about.metadata.namespace == pod.metadata.namespace
        return about.metadata.namespace == pod.metadata.namespace and any(
            selected(pod, constraint).matches(about.metadata.labels)
            for constraint in constraints_of(pod, "DoNotSchedule")
        )

    def pre_filter(self, pod: Pod, nodes: Nodes) -> tuple[Counted, ...] | None:
        constraints, group = self.asked(pod, nodes, "DoNotSchedule")
        if not constraints:
            return None
        everywhere = Nodes(nodes.snapshot)
        labelled = with_keys(constraints, everywhere)
        return tuple(counted(pod, constraint, group, everywhere, labelled) for constraint in constraints)

    def filter(self, state: tuple[Counted, ...], nodes: Nodes) -> Column[np.bool_]:
        fits = np.ones(len(nodes), np.bool_)
        for part in state:
            labels = nodes.label(part.key)
            fits &= (labels >= 0) & (part.in_domain[labels] <= part.most)
        return fits

    def reasons(self, state: tuple[Counted, ...], refused: Nodes) -> Mapping[str, int]:
        uneven = self.preemption_helps(state, refused)
        found = {UNEVEN: int(uneven.sum()), NO_LABEL: int((~uneven).sum())}
        return {reason: count for reason, count in found.items() if count}

    def preemption_helps(self, state: tuple[Counted, ...], refused: Nodes) -> Column[np.bool_]:
        """Where the first constraint that refuses is not about a label that the node lacks."""
        helps, decided = np.zeros(len(refused), np.bool_), np.zeros(len(refused), np.bool_)
        for part in state:
            labels = refused.label(part.key)
            uneven = (labels >= 0) & (part.in_domain[labels] > part.most)
            helps |= uneven & ~decided
            decided |= uneven | (labels < 0)
        return helps

    def asked(self, pod: Pod, nodes: Nodes, when: str) -> tuple[tuple[TopologySpreadConstraint, ...], Selector | None]:
        """The pod's constraints of one kind; or the defaults of that kind, and the group that they are about."""
        if pod.spec.topology_spread_constraints:
            return constraints_of(pod, when), None
        defaults = tuple(one for one in self.defaults if one.when_unsatisfiable == when)
        group = nodes.snapshot.group_of(pod) if defaults else None
        return (defaults, group) if group else ((), None)

    def trial(self, state: tuple[Counted, ...], pod: Pod, snapshot: Snapshot, row: int) -> Trial:
        return Evenness(state, snapshot, row)

    def stamp(self, state: tuple[Counted, ...], snapshot: Snapshot, row: int) -> Hashable:
        known = Evenness(state, snapshot, row)
        return tuple(known.number), tuple(known.elsewhere)

    def pre_score(self, pod: Pod, nodes: Nodes) -> Spread | None:
        constraints, group = self.asked(pod, nodes, "ScheduleAnyway")
        if not constraints:
            return None
        own = group is None or self.defaults is not DEFAULTS
        everywhere = Nodes(nodes.snapshot)
        fits = with_keys(constraints, nodes) if own else np.ones(len(nodes), np.bool_)
        counts = with_keys(constraints, everywhere) if own else np.ones(len(everywhere), np.bool_)
        return Spread(
            tuple(uneven(pod, constraint, group, nodes, fits, counts & eligible(pod, constraint, everywhere))
                  for constraint in constraints),
            own,
        )  # fmt: skip

    def score(self, state: Spread, nodes: Nodes) -> Column[np.int64]:
        total = np.zeros(len(nodes), np.float64)
        left_out = np.zeros(len(nodes), np.bool_)
        for part in state.parts:
            labels = nodes.label(part.key)
            there = part.on_node[nodes.rows] if part.in_domain is None else part.in_domain[labels]
            total += np.where(labels >= 0, there * part.weight + (part.max_skew - 1), 0.0)
            left_out |= state.all_keys & (labels < 0)
        return np.where(left_out, LEFT_OUT, np.floor(total + 0.5)).astype(np.int64)

    def normalize(self, scores: Column[np.int64]) -> Column[np.int64]:
        counted = scores != LEFT_OUT
        if not counted.any():
            return np.zeros(len(scores), np.int64)
        least, most = int(scores[counted].min()), int(scores[counted].max())
        if most == 0:
            return np.where(counted, SCORE_MAX, 0)
        return np.where(counted, SCORE_MAX * (most + least - scores) // most, 0)


def constraints_of(pod: Pod, when: str) -> tuple[TopologySpreadConstraint, ...]:
    return tuple(c for c in pod.spec.topology_spread_constraints or () if c.when_unsatisfiable == when)


def with_keys(constraints: tuple[TopologySpreadConstraint, ...], nodes: Nodes) -> Column[np.bool_]:
    return np.asarray(np.logical_and.reduce([nodes.label(c.topology_key) >= 0 for c in constraints]), np.bool_)


def eligible(pod: Pod, constraint: TopologySpreadConstraint, nodes: Nodes) -> Column[np.bool_]:
    """Nodes that count, by the constraint's policies."""
    fits = np.ones(len(nodes), np.bool_)
    if (constraint.node_affinity_policy or "Honor") == "Honor":
        wanted = NodeAffinity().pre_filter(pod, nodes)
        fits = fits if wanted is None else NodeAffinity().filter(wanted, nodes)
    if constraint.node_taints_policy == "Honor":
        fits = fits & TaintToleration().filter(pod.spec.tolerations or (), nodes)
    return fits


def selected(pod: Pod, constraint: TopologySpreadConstraint) -> Selector:
    return with_own_values(selector_of(constraint.label_selector), pod, constraint.match_label_keys)


def alike(pod: Pod, selector: Selector) -> Question:
    return Question((Which(selector, frozenset((pod.metadata.namespace or "",))),), staying=True)


def tally(question: Question, everywhere: Nodes) -> Column[np.int64]:
    return everywhere.snapshot.tallies.tally(question)[: everywhere.snapshot.count]


def counted(
    pod: Pod, constraint: TopologySpreadConstraint, group: Selector | None, everywhere: Nodes,
    labelled: Column[np.bool_],
) -> Counted:  # fmt: skip
    selector = group or selected(pod, constraint)
    counts = labelled & eligible(pod, constraint, everywhere)
    labels = everywhere.label(constraint.topology_key)
    question = alike(pod, selector)
    in_domain = summed(labels, tally(question, everywhere), counts, everywhere)
    domains = np.unique(labels[counts])
    if len(domains) < (constraint.min_domains or 1):
        domains = domains[:0]
    least = int(in_domain[domains].min()) if len(domains) else 0
    room = constraint.max_skew - int(selector.matches(pod.metadata.labels))
    return Counted(constraint.topology_key, in_domain, room + least, domains, room, counts, question)


def uneven(
    pod: Pod, constraint: TopologySpreadConstraint, group: Selector | None, fitting: Nodes,
    fits: Column[np.bool_], counts: Column[np.bool_],
) -> Uneven:  # fmt: skip
    """`fits`: of the fitting nodes, those with the labels; `counts`: of all nodes, those whose pods count."""
    everywhere = Nodes(fitting.snapshot)
    on_node = tally(alike(pod, group or selected(pod, constraint)), everywhere)
    key = constraint.topology_key
    if key == HOSTNAME:
        return Uneven(key, None, on_node, float(np.log(int(fits.sum()) + 2)), constraint.max_skew)
    here = fitting.label(key)[fits]
    domains = len(np.unique(here[here >= 0]))
    in_domain = summed(everywhere.label(key), on_node, counts, everywhere)
    return Uneven(key, in_domain, on_node, float(np.log(domains + 2)), constraint.max_skew)


def summed(
    labels: Column[np.int64], amounts: Column[np.int64], counts: Column[np.bool_], everywhere: Nodes
) -> Column[np.int64]:
    sums = np.zeros(len(everywhere.snapshot.texts) + 1, np.int64)
    rows = np.flatnonzero(counts & (labels >= 0) & (amounts > 0))
    np.add.at(sums, labels[rows], amounts[rows])
    return sums
