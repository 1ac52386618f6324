"""NodeAffinity: a pod goes to nodes whose labels and name it asks for, and rather to those it prefers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kybern.api.core_v1 import NodeAffinity as Affinity
from kybern.api.core_v1 import NodeSelectorRequirement, NodeSelectorTerm, Pod, PreferredSchedulingTerm
from kybern.api.numbers import compares
from kybern.scheduler.columns import ABSENT, NAME
from kybern.scheduler.framework import NODE_CHANGED, Change, Column, FilterPlugin, ScorePlugin, in_proportion
from kybern.scheduler.nodes import Nodes

Preferred = tuple[PreferredSchedulingTerm, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    labels: tuple[tuple[str, str], ...]
    """All of them."""
    terms: tuple[NodeSelectorTerm, ...] | None
    """Any of them; None where it asks for none."""
    added: tuple[NodeSelectorTerm, ...] | None
    """And any of these."""


NOT_ASKED = "node(s) didn't match Pod's node affinity/selector"
NOT_ENFORCED = "node(s) didn't match scheduler-enforced node affinity"


@dataclass(frozen=True, slots=True)
class NodeAffinity(FilterPlugin[Wanted], ScorePlugin[Preferred]):
    name: ClassVar[str] = "NodeAffinity"
    wakes_on: ClassVar[Change] = NODE_CHANGED
    added: Affinity | None = None
    """Of the profile: as if every pod asked for it too."""

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Wanted | None:
        affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
        required, added = required_by(affinity), required_by(self.added)
        if not pod.spec.node_selector and required is None and added is None:
            return None
        return Wanted(tuple((pod.spec.node_selector or {}).items()), required, added)

    def filter(self, state: Wanted, nodes: Nodes) -> Column[np.bool_]:
        return self.enforced(state, nodes) & self.asked(state, nodes)

    def reasons(self, state: Wanted, refused: Nodes) -> Mapping[str, int]:
        enforced = int(self.enforced(state, refused).sum())
        found = {NOT_ENFORCED: len(refused) - enforced, NOT_ASKED: enforced}
        return {reason: number for reason, number in found.items() if number}

    def enforced(self, state: Wanted, nodes: Nodes) -> Column[np.bool_]:
        return any_of(state.added, nodes)

    def asked(self, state: Wanted, nodes: Nodes) -> Column[np.bool_]:
        fits = np.ones(len(nodes), np.bool_)
        for key, value in state.labels:
            fits &= nodes.label(key) == nodes.text(value)
        return fits & any_of(state.terms, nodes)

    def pre_score(self, pod: Pod, nodes: Nodes) -> Preferred | None:
        affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
        return (*preferred_by(affinity), *preferred_by(self.added)) or None

    def score(self, state: Preferred, nodes: Nodes) -> Column[np.int64]:
        total = np.zeros(len(nodes), np.int64)
        for preferred in state:
            total += preferred.weight * matches(preferred.preference, nodes)
        return total

    def normalize(self, scores: Column[np.int64]) -> Column[np.int64]:
        return in_proportion(scores)


def required_by(affinity: Affinity | None) -> tuple[NodeSelectorTerm, ...] | None:
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return required.node_selector_terms if required else None


def preferred_by(affinity: Affinity | None) -> Preferred:
    return (affinity.preferred_during_scheduling_ignored_during_execution if affinity else None) or ()


def any_of(terms: tuple[NodeSelectorTerm, ...] | None, nodes: Nodes) -> Column[np.bool_]:
    if terms is None:
        return np.ones(len(nodes), np.bool_)
    return np.asarray(np.logical_or.reduce([matches(term, nodes) for term in terms]), np.bool_)


def matches(term: NodeSelectorTerm, nodes: Nodes) -> Column[np.bool_]:
    """Nodes with all that the term asks for; a term that asks for nothing matches nothing."""
    asked = [
        satisfies(requirement, nodes.label(requirement.key), nodes) for requirement in term.match_expressions or ()
    ]
    for requirement in term.match_fields or ():
        if requirement.key != "metadata.name":
            return np.zeros(len(nodes), np.bool_)
        asked.append(satisfies(requirement, nodes.label(NAME), nodes))
    if not asked:
        return np.zeros(len(nodes), np.bool_)
    return np.asarray(np.logical_and.reduce(asked), np.bool_)


def satisfies(requirement: NodeSelectorRequirement, column: Column[np.int64], nodes: Nodes) -> Column[np.bool_]:
    values = [nodes.text(value) for value in requirement.values or ()]
    match requirement.operator:
        case "In":
            return np.isin(column, values)
        case "NotIn":
            return ~np.isin(column, values)
        case "Exists":
            return np.asarray(column != ABSENT, np.bool_)
        case "DoesNotExist":
            return np.asarray(column == ABSENT, np.bool_)
        case "Gt" | "Lt" as operator:
            return np.isin(column, numbers_beyond(operator, (requirement.values or ("",))[0], column, nodes))
    return np.zeros(len(nodes), np.bool_)


def numbers_beyond(operator: str, limit: str, column: Column[np.int64], nodes: Nodes) -> list[int]:
    """Those of the column's values that are whole numbers on the right side of the limit."""
    texts, present = nodes.texts(), np.unique(column[column != ABSENT]).tolist()
    return [number for number in present if compares(texts[number], operator, limit)]
