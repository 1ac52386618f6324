"""How many pods of a kind run on each node, counted as pods come and go, so that no decision walks through all pods.

- Pods that look alike to others (namespace, labels, whether they are leaving, what they say of others) are one Kind.
- `tally(question)` is a column: the pods on each node that the question means. It is filled when first asked for, and
  kept up to date from then on.
- `bearers` is a column for each required anti-affinity term, and each weighted term, that pods which run have.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Column
from kybern.scheduler.terms import Labels, Term, Terms, Which, terms_of

TALLIES_MAX = 512  # questions kept: a template asks about two


@dataclass(frozen=True)
class Kind:
    namespace: str
    labels: tuple[tuple[str, str], ...]
    leaving: bool
    terms: Terms

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Asked for with every pod that comes or goes, and terms are deep."""
        return hash((self.namespace, self.labels, self.leaving, self.terms))

    @cached_property
    def borne(self) -> tuple["Bearing", ...]:
        """By each pod of this kind."""
        required = {Bearing(term, None) for term in self.terms.anti_affinity}
        return (*required, *(Bearing(term, weight) for term, weight in self.terms.weights()))


@dataclass(frozen=True, slots=True)
class Question:
    which: tuple[Which, ...]
    """A pod is meant that all of them mean."""
    staying: bool = False
    """Without those that are being deleted."""

    def means(self, kind: Kind, namespaces: Mapping[str, Labels]) -> bool:
        labels = dict(kind.labels)
        return not (self.staying and kind.leaving) and all(
            which.matches(kind.namespace, labels, namespaces) for which in self.which
        )


@dataclass(frozen=True, slots=True)
class Bearing:
    term: Term
    weight: int | None
    """None: required anti-affinity."""


def kind_of(pod: Pod) -> Kind:
    metadata = pod.metadata
    labels = tuple(sorted((metadata.labels or {}).items()))
    return Kind(metadata.namespace or "", labels, metadata.deletion_timestamp is not None, terms_of(pod))


@dataclass(slots=True)
class Tallies:
    rows: Mapping[str, int]
    """The snapshot's row of each node."""
    size: int
    """Rows there is room for."""
    namespaces: dict[str, Labels] = field(default_factory=dict)
    kinds: dict[Kind, Counter[str]] = field(default_factory=dict)
    """How many there are on each node."""
    held: dict[Kind, Kind] = field(default_factory=dict)
    columns: dict[Question, Column[np.int64]] = field(default_factory=dict)
    bearers: dict[Bearing, Column[np.int64]] = field(default_factory=dict)
    bearing_kinds: Counter[Bearing] = field(default_factory=Counter)
    counted_in: dict[Kind, list[Column[np.int64]]] = field(default_factory=dict)

    def tally(self, question: Question) -> Column[np.int64]:
        column = self.columns.get(question)
        if column is None:
            if len(self.columns) >= TALLIES_MAX:
                self.forget()
            column = self.columns[question] = np.zeros(self.size, np.int64)
            for kind, nodes in self.kinds.items():
                if question.means(kind, self.namespaces):
                    self._fill(column, nodes)
            self.counted_in.clear()
        return column

    def known(self, kind: Kind) -> Kind:
        """The equal one that is held already: a template's pods share it."""
        return self.held.get(kind, kind)

    def add(self, kind: Kind, node: str) -> None:
        nodes = self.kinds.get(kind)
        if nodes is None:
            nodes = self.kinds[kind] = Counter()
            self.held[kind] = kind
            for bearing in kind.borne:
                self.bearing_kinds[bearing] += 1
                if bearing not in self.bearers:
                    self.bearers[bearing] = np.zeros(self.size, np.int64)
        nodes[node] += 1
        self.count(kind, node, 1)

    def remove(self, kind: Kind, node: str) -> None:
        self.count(kind, node, -1)
        nodes = self.kinds[kind]
        nodes[node] -= 1
        if nodes[node]:
            return
        del nodes[node]
        if not nodes:
            del self.kinds[kind], self.held[kind]
            self.counted_in.pop(kind, None)
            for bearing in kind.borne:
                self._borne_no_more(bearing)

    def count(self, kind: Kind, node: str, number: int) -> None:
        row = self.rows.get(node)
        if row is not None:
            for column in self._columns_of(kind):
                column[row] += number

    def empty(self, row: int) -> None:
        for column in (*self.columns.values(), *self.bearers.values()):
            column[row] = 0

    def forget(self) -> None:
        """All answers: a namespace's labels changed, or there are too many."""
        self.columns.clear()
        self.counted_in.clear()

    def grow(self, size: int) -> None:
        more = np.zeros(size - self.size, np.int64)
        self.columns = {key: np.concatenate((column, more)) for key, column in self.columns.items()}
        self.bearers = {key: np.concatenate((column, more)) for key, column in self.bearers.items()}
        self.size = size
        self.counted_in.clear()

    def _columns_of(self, kind: Kind) -> list[Column[np.int64]]:
        found = self.counted_in.get(kind)
        if found is None:
            found = [c for question, c in self.columns.items() if question.means(kind, self.namespaces)]
            found += [self.bearers[bearing] for bearing in kind.borne]
            self.counted_in[kind] = found
        return found

    def _fill(self, column: Column[np.int64], nodes: Counter[str]) -> None:
        for node, number in nodes.items():
            row = self.rows.get(node)
            if row is not None:
                column[row] += number

    def _borne_no_more(self, bearing: Bearing) -> None:
        self.bearing_kinds[bearing] -= 1
        if not self.bearing_kinds[bearing]:
            del self.bearing_kinds[bearing], self.bearers[bearing]
