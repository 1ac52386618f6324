"""Nodes: what plugins see of the snapshot, all its rows or some of them, as columns.

A plugin that is asked about a few nodes and one that is asked about all run the same code.
"""

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from kybern.api.core_v1 import Node
from kybern.scheduler.columns import UNKNOWN, Taint
from kybern.scheduler.framework import Column
from kybern.scheduler.snapshot import Snapshot

Rows = slice | Column[np.int64]


class Nodes:
    __slots__ = ("rows", "snapshot")

    def __init__(self, snapshot: Snapshot, rows: Rows | None = None) -> None:
        self.snapshot = snapshot
        self.rows: Rows = slice(0, snapshot.count) if rows is None else rows

    def __len__(self) -> int:
        return self.snapshot.count if isinstance(self.rows, slice) else len(self.rows)

    def at(self, rows: Column[np.int64]) -> "Nodes":
        """Some of these nodes, by their place among these."""
        return Nodes(self.snapshot, rows if isinstance(self.rows, slice) else self.rows[rows])

    def objects(self) -> Iterator[Node]:
        if isinstance(self.rows, slice):
            return iter(self.snapshot.nodes)
        return (self.snapshot.nodes[row] for row in self.rows)

    # Resources: (nodes, resources).

    @property
    def resources(self) -> list[str]:
        return self.snapshot.resources

    @property
    def allocatable(self) -> Column[np.int64]:
        return self.snapshot.allocatable[self.rows]

    @property
    def requested(self) -> Column[np.int64]:
        return self.snapshot.requested[self.rows]

    @property
    def assumed(self) -> Column[np.int64]:
        """CPU and memory taken, where every container counts for something."""
        return self.snapshot.assumed[self.rows]

    @property
    def free(self) -> Column[np.int64]:
        return self.allocatable - self.requested

    # Facts.

    @property
    def unschedulable(self) -> Column[np.bool_]:
        return self.snapshot.unschedulable[self.rows]

    @property
    def taint_set(self) -> Column[np.int64]:
        return self.snapshot.taint_set[self.rows]

    def taint_sets(self) -> Iterable[tuple[Taint, ...]]:
        """Every combination of taints that any node has had, in the order of its number."""
        return self.snapshot.taint_sets

    def label(self, key: str) -> Column[np.int64]:
        """The label's value as a number, for each node; -1 where it has none."""
        return self.snapshot.label_column(key)[self.rows]

    def text(self, text: str) -> int:
        """The number of a text; one that no column holds where no node has it."""
        return self.snapshot.texts.get(text, UNKNOWN)

    def texts(self) -> list[str]:
        """All texts, by number."""
        return list(self.snapshot.texts)

    def named(self, names: Collection[str]) -> Column[np.bool_]:
        """Which of the nodes have one of these names."""
        if len(self) < len(names):
            return np.fromiter((node.metadata.name in names for node in self.objects()), np.bool_, len(self))
        rows = self.snapshot.rows
        found = np.zeros(self.snapshot.count, np.bool_)
        found[[rows[name] for name in names if name in rows]] = True
        return found[self.rows]
