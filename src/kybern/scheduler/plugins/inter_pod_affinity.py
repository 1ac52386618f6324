"""InterPodAffinity: near the pods that this one wants near it, far from those it does not, and what they say of it.

A domain is the nodes with one value of the topology key. All that counts is the number of pods in a domain, so each
term is a sum over the nodes of each domain, and each node looks up its own.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import NODE_CHANGED, SCORE_MAX, Change, Column, FilterPlugin, ScorePlugin, Trial
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import Placed
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.tallies import Bearing, Kind, Question
from kybern.scheduler.terms import REQUIRED, Term, Terms, terms_of

NOT_NEAR = "node(s) didn't match pod affinity rules"
NOT_FAR = "node(s) didn't match pod anti-affinity rules"
NOT_WANTED = "node(s) didn't satisfy existing pods anti-affinity rules"


@dataclass(frozen=True, slots=True)
class InDomains:
    key: str
    amounts: Column[np.int64]
    """By the number of the label's value."""
    total: int

    def at(self, nodes: Nodes) -> Column[np.int64]:
        """Nothing where a node has no such label."""
        labels = nodes.label(self.key)
        return np.where(labels >= 0, self.amounts[labels], 0)

    def on(self, snapshot: Snapshot, row: int) -> int:
        label = snapshot.label_column(self.key).item(row)
        return self.amounts.item(label) if label >= 0 else 0


@dataclass(frozen=True, slots=True)
class Company:
    near: tuple[InDomains, ...]
    first_of_its_kind: bool
    """No pod matches what it wants near it, but the pod itself: it may begin anywhere."""
    far: tuple[InDomains, ...]
    unwanted: tuple[InDomains, ...]
    terms: Terms
    begins: bool
    """The pod matches all that it wants near it itself."""


class Neighbours:
    """How many pods count in the node's domains, term by term."""

    def __init__(self, company: Company, pod: Pod, snapshot: Snapshot, row: int) -> None:
        self.company, self.pod, self.snapshot = company, pod, snapshot
        self.namespaces = snapshot.tallies.namespaces
        self.here = here = Nodes(snapshot, np.array([row]))
        self.in_reach = [bool(here.label(domains.key)[0] >= 0) for domains in company.near]
        self.near, self.far = ([domains.on(snapshot, row) for domains in part] for part in (company.near, company.far))
        self.unwanted = sum(domains.on(snapshot, row) for domains in company.unwanted)
        self.elsewhere = sum(domains.total for domains in company.near) - sum(self.near)
        terms = company.terms
        self.wanted = Question(tuple(term.which for term in terms.affinity))
        self.avoided = [
            (place, Question((term.which,)))
            for place, term in enumerate(terms.anti_affinity)
            if here.label(term.topology_key)[0] >= 0
        ]
        self.objections: dict[Kind, int] = {}
        """How many terms of such a pod, were it here, would not have this one."""

    def leave(self, placed: Placed) -> None:
        self._shift(placed.kind, -1)

    def stay(self, placed: Placed) -> None:
        self._shift(placed.kind, 1)

    def _shift(self, kind: Kind, by: int) -> None:
        if self.near and self.wanted.means(kind, self.namespaces):
            self.near = [number + by * reached for number, reached in zip(self.near, self.in_reach, strict=True)]
        for place, question in self.avoided:
            self.far[place] += by * question.means(kind, self.namespaces)
        objections = self.objections.get(kind)
        if objections is None:
            objections = self.objections[kind] = sum(map(self._objects, kind.borne))
        self.unwanted += by * objections

    def _objects(self, bearing: Bearing) -> bool:
        return (
            bearing.weight is None
            and matches(bearing.term, self.pod, self.snapshot)
            and bool(self.here.label(bearing.term.topology_key)[0] >= 0)
        )

    def refusals(self) -> list[str]:
        first = self.company.begins and not self.elsewhere and not any(self.near)
        if not (all(self.in_reach) if first else all(number > 0 for number in self.near)):
            return [NOT_NEAR]
        if any(number > 0 for number in self.far):
            return [NOT_FAR]
        return [NOT_WANTED] if self.unwanted > 0 else []


@dataclass(frozen=True, slots=True)
class InterPodAffinity(FilterPlugin[Company], ScorePlugin[tuple[InDomains, ...]]):
    name: ClassVar[str] = "InterPodAffinity"
    pods_matter: ClassVar[bool] = True
    silence_holds: ClassVar[bool] = False
    wakes_on: ClassVar[Change] = NODE_CHANGED | Change.POD_LEFT | Change.POD_ADDED
    kept: ClassVar[bool] = False
    hard_weight: int = 1
    """What a required term of a pod that runs already is worth to the pods it wants near it."""
    ignore_preferred_of_existing: bool = False
    """By pods that prefer nothing themselves."""

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        """One that came near is wanted there; one that left was not, or did not want this one."""
        terms = terms_of(pod)
        if change & Change.POD_ADDED:
            return any(matches(term, about, snapshot) for term in terms.affinity)
        return any(matches(term, about, snapshot) for term in terms.anti_affinity) or any(
            matches(term, pod, snapshot) for term in terms_of(about).anti_affinity
        )

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Company | None:
        tallies = nodes.snapshot.tallies
        terms = terms_of(pod)
        unwanted = tuple(
            in_domains(bearing.term.topology_key, column, nodes)
            for bearing, column in tallies.bearers.items()
            if bearing.weight is None and matches(bearing.term, pod, nodes.snapshot)
        )
        if not (terms.affinity or terms.anti_affinity or unwanted):
            return None
        all_wanted = Question(tuple(term.which for term in terms.affinity))
        near = tuple(in_domains(term.topology_key, tallies.tally(all_wanted), nodes) for term in terms.affinity)
        far = tuple(
            in_domains(term.topology_key, tallies.tally(Question((term.which,))), nodes) for term in terms.anti_affinity
        )
        begins = all(matches(term, pod, nodes.snapshot) for term in terms.affinity)
        first = begins and not any(domains.amounts.any() for domains in near)
        return Company(near, first, far, unwanted, terms, begins)

    def filter(self, state: Company, nodes: Nodes) -> Column[np.bool_]:
        return near_enough(state, nodes) & ~anywhere(state.far, nodes) & ~anywhere(state.unwanted, nodes)

    def reasons(self, state: Company, refused: Nodes) -> Mapping[str, int]:
        near = near_enough(state, refused)
        far = ~anywhere(state.far, refused)
        found = {NOT_NEAR: ~near, NOT_FAR: near & ~far, NOT_WANTED: near & far}
        return {reason: int(where.sum()) for reason, where in found.items() if where.any()}

    def preemption_helps(self, state: Company, refused: Nodes) -> Column[np.bool_]:
        return near_enough(state, refused)

    def trial(self, state: Company, pod: Pod, snapshot: Snapshot, row: int) -> Trial:
        return Neighbours(state, pod, snapshot, row)

    def stamp(self, state: Company, snapshot: Snapshot, row: int) -> Hashable:
        parts = (state.near, state.far, state.unwanted)
        near, far, unwanted = (tuple(domains.on(snapshot, row) for domains in part) for part in parts)
        elsewhere = any(domains.total > number for domains, number in zip(state.near, near, strict=True))
        return elsewhere, near, far, sum(unwanted)

    def pre_score(self, pod: Pod, nodes: Nodes) -> tuple[InDomains, ...] | None:
        tallies = nodes.snapshot.tallies
        preferred = terms_of(pod).preferred
        hard_only = self.ignore_preferred_of_existing and not preferred
        found = [
            in_domains(term.topology_key, weight * tallies.tally(Question((term.which,))), nodes)
            for term, weight in preferred
        ]
        found += [
            in_domains(bearing.term.topology_key, (bearing.weight or self.hard_weight) * column, nodes)
            for bearing, column in tallies.bearers.items()
            if bearing.weight is not None
            and not (hard_only and bearing.weight != REQUIRED)
            and matches(bearing.term, pod, nodes.snapshot)
        ]
        return tuple(found) if any(domains.amounts.any() for domains in found) else None

    def score(self, state: tuple[InDomains, ...], nodes: Nodes) -> Column[np.int64]:
        total = np.zeros(len(nodes), np.int64)
        for domains in state:
            total += domains.at(nodes)
        return total

    def normalize(self, scores: Column[np.int64]) -> Column[np.int64]:
        least, most = int(scores.min()), int(scores.max())
        if least == most:
            return np.zeros(len(scores), np.int64)
        return SCORE_MAX * (scores - least) // (most - least)


def matches(term: Term, pod: Pod, snapshot: Snapshot) -> bool:
    metadata = pod.metadata
    return term.which.matches(metadata.namespace or "", metadata.labels or {}, snapshot.tallies.namespaces)


def in_domains(key: str, amounts: Column[np.int64], nodes: Nodes) -> InDomains:
    """Summed over all nodes of the cluster."""
    snapshot = nodes.snapshot
    labels = snapshot.label_column(key)[: snapshot.count]
    counted = np.flatnonzero((labels >= 0) & (amounts[: snapshot.count] != 0))
    found = amounts[counted]
    sums = np.bincount(labels[counted], found, len(snapshot.texts) + 1).astype(np.int64)
    return InDomains(key, sums, int(found.sum()))


def near_enough(state: Company, nodes: Nodes) -> Column[np.bool_]:
    fits = np.ones(len(nodes), np.bool_)
    for domains in state.near:
        fits &= nodes.label(domains.key) >= 0 if state.first_of_its_kind else domains.at(nodes) > 0
    return fits


def anywhere(found: tuple[InDomains, ...], nodes: Nodes) -> Column[np.bool_]:
    there = np.zeros(len(nodes), np.bool_)
    for domains in found:
        there |= domains.at(nodes) > 0
    return there
