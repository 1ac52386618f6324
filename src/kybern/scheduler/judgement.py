"""A pod judged against all nodes: where it fits and how well; and the same again for the next pod of its shape.

Pods made from one template ask for the same. Their first judgement is kept and mended: only the rows that changed since
are judged anew, by the same rules. It is dropped when nodes come or go.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from kybern.api.codec import encode
from kybern.api.core_v1 import Pod
from kybern.scheduler.demand import Demand, demand_of
from kybern.scheduler.extension_points import Profile, Weighted
from kybern.scheduler.framework import Column
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.snapshot import Snapshot

SHAPES_MAX = 256  # judgements kept: the templates that are being rolled out at one time


def shape_of(pod: Pod) -> bytes:
    """Equal for pods that all rules treat alike."""
    spec = pod.spec
    containers = [
        [(c.image, c.resources, c.ports, c.restart_policy, c.restart_policy_rules) for c in group or ()]
        for group in (spec.init_containers, spec.containers)
    ]
    return encode([
        containers, spec.node_name, spec.node_selector, spec.affinity, spec.tolerations, spec.overhead,
        spec.resources, spec.host_network, spec.host_users,
    ])  # fmt: skip


@dataclass(slots=True)
class Kept:
    """What holds for all pods of a shape, by the rules that look at one node at a time."""

    layout: int
    version: int
    demand: Demand
    filters: list[tuple[Any, Any]]
    """Rules that have something to say about such a pod, with what they know of it."""
    scorers: list[tuple[Any, int, Any]]
    fits: Column[np.bool_]
    scores: list[Column[np.int64]]
    """Raw, one column for each scorer."""
    refusal: tuple[int, Any] | None = None
    """Why such a pod fits nowhere, at a version; it is told to one pod after the other."""
    tried_from: int | None = None
    """The row where preemption begins: at the same one while it finds somebody there, since it remembers those."""
    trials: dict[Hashable, dict[int, tuple[Any, Any]]] = field(default_factory=dict)
    """By priority, by what else tells the pods of a shape apart, and by row: who would have to leave for such a pod, with
    the stamp of what that holds for."""


@dataclass(slots=True)
class Judgement:
    pod: Pod
    snapshot: Snapshot
    profile: Profile
    kept: Kept
    filters: list[tuple[Any, Any]]
    """All of them, in the profile's order."""
    fits: Column[np.bool_]
    scorers: list[Weighted]
    """Those that look at other nodes' pods too; they wait until it is known where the pod fits."""
    promised: dict[int, list[str]] = field(default_factory=dict)
    """Rows where it would fit but for what was promised to others, and what is short there then."""

    hopeless: set[int] = field(default_factory=set)
    """Of these, where it would be no use if others left."""

    @property
    def scores(self) -> list[Column[np.int64]]:
        return self.kept.scores


def judge(pod: Pod, snapshot: Snapshot, profile: Profile) -> Judgement:
    return completed(kept(pod, snapshot, profile), pod, snapshot, profile)


def kept(pod: Pod, snapshot: Snapshot, profile: Profile) -> Kept:
    demand = demand_of(pod)
    snapshot.vector(demand.amounts)  # its resources have columns from here on, before any rule looks at them
    nodes = Nodes(snapshot)
    filters = [
        (plugin, state)
        for plugin in profile.filters
        if plugin.kept and (state := plugin.pre_filter(pod, nodes)) is not None
    ]
    scorers = [
        (scorer.plugin, scorer.weight, state)
        for scorer in profile.scorers
        if scorer.plugin.kept and (state := scorer.plugin.pre_score(pod, nodes)) is not None
    ]
    fits, scores = columns(filters, scorers, nodes)
    return Kept(snapshot.layout, snapshot.version, demand, filters, scorers, fits, scores)


def completed(known: Kept, pod: Pod, snapshot: Snapshot, profile: Profile) -> Judgement:
    """With what depends on other nodes' pods."""
    nodes = Nodes(snapshot)
    filters, fits = known.filters, known.fits
    for plugin in profile.filters:
        if not plugin.kept and (state := plugin.pre_filter(pod, nodes)) is not None:
            filters = [*filters, (plugin, state)]
            fits = fits & plugin.filter(state, nodes)
    scorers = [scorer for scorer in profile.scorers if not scorer.plugin.kept]
    return Judgement(pod, snapshot, profile, known, filters, fits, scorers)


def columns(
    filters: list[tuple[Any, Any]], scorers: list[tuple[Any, int, Any]], nodes: Nodes
) -> tuple[Column[np.bool_], list[Column[np.int64]]]:
    fits = np.ones(len(nodes), np.bool_)
    for plugin, state in filters:
        fits &= plugin.filter(state, nodes)
    return fits, [plugin.score(state, nodes) for plugin, _, state in scorers]


def mend(judgement: Kept, snapshot: Snapshot) -> None:
    """Bring a judgement up to date; the layout must be the same."""
    if judgement.version == snapshot.version:
        return
    rows = np.flatnonzero(snapshot.row_version[: snapshot.count] > judgement.version)
    if len(rows):
        fits, scores = columns(judgement.filters, judgement.scorers, Nodes(snapshot, rows))
        judgement.fits[rows] = fits
        for column, mended in zip(judgement.scores, scores, strict=True):
            column[rows] = mended
    judgement.version = snapshot.version


def best(judgement: Judgement, rng: Random, promised: str = "", more: Mapping[str, int] | None = None) -> int | None:
    """The row of the best node, one of the best at random; None where none fits. A promised node is the best one.
    `more`: extenders' scores."""
    row = judgement.snapshot.rows.get(promised)
    if row is not None and judgement.fits[row]:
        return row
    rows = np.flatnonzero(judgement.fits)
    if len(rows) < 2:
        return int(rows[0]) if len(rows) else None
    total = np.zeros(len(rows), np.int64)
    for _, scores in scored(judgement, rows):
        total += scores
    if more:
        total += [more.get(judgement.snapshot.nodes[row].metadata.name or "", 0) for row in rows]
    winners = rows[total == total.max()]
    return int(winners[rng.randrange(len(winners))])


def scored(judgement: Judgement, rows: Column[np.int64]) -> Iterator[tuple[str, Column[np.int64]]]:
    """Each scorer's name, and its scores of these rows with its weight."""
    for (plugin, weight, _), scores in zip(judgement.kept.scorers, judgement.scores, strict=True):
        yield plugin.name, weight * plugin.normalize(scores[rows])
    fitting = Nodes(judgement.snapshot, rows)
    for scorer in judgement.scorers:
        state = scorer.plugin.pre_score(judgement.pod, fitting)
        if state is not None:
            yield scorer.plugin.name, scorer.weight * scorer.plugin.normalize(scorer.plugin.score(state, fitting))


class Judge:
    """Judgements by shape, the most recently used ones."""

    def __init__(self, snapshot: Snapshot, profile: Profile) -> None:
        self.snapshot, self.profile = snapshot, profile
        self.known: dict[bytes, Kept] = {}

    def __call__(self, pod: Pod) -> Judgement:
        shape = shape_of(pod)
        known = self.known.pop(shape, None)
        if known is None or known.layout != self.snapshot.layout:
            known = kept(pod, self.snapshot, self.profile)
        else:
            mend(known, self.snapshot)
        self.known[shape] = known
        if len(self.known) > SHAPES_MAX:
            del self.known[next(iter(self.known))]
        return completed(known, pod, self.snapshot, self.profile)
