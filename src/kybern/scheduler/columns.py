"""Nodes as columns: one row for each node, one array for each fact, changed in place.

- Rows are dense: the last one moves into the place of one that leaves. `layout` counts what renumbers rows or columns;
  `row_version` says when a row last changed, so that older results can be mended instead of made again.
- Texts (label values, node names) are numbers here; a column of a label exists from the first time it is asked for.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kybern.api.core_v1 import Node
from kybern.scheduler.demand import amounts_of
from kybern.scheduler.framework import Column

ROWS_FIRST = 64
RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods")
NAME = " name"  # the node's own name among its labels, whose keys have no spaces
ABSENT = -1
UNKNOWN = -2  # a text that no node has

Taint = tuple[str, str, str]
"""Key, value, effect."""


class Columns:
    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.nodes: list[Node] = []
        self.resources: list[str] = list(RESOURCES)
        self.version = 0
        self.layout = 0
        self.allocatable = np.zeros((ROWS_FIRST, len(RESOURCES)), np.int64)
        self.requested = np.zeros((ROWS_FIRST, len(RESOURCES)), np.int64)
        self.assumed = np.zeros((ROWS_FIRST, 2), np.int64)
        self.unschedulable = np.zeros(ROWS_FIRST, np.bool_)
        self.taint_set = np.zeros(ROWS_FIRST, np.int64)
        self.row_version = np.zeros(ROWS_FIRST, np.int64)
        self.labels: dict[str, Column[np.int64]] = {}
        self.texts: dict[str, int] = {}
        self.taint_sets: dict[tuple[Taint, ...], int] = {(): 0}
        self.images: dict[str, dict[str, int]] = {}
        """Image name → node → bytes."""

    @property
    def count(self) -> int:
        return len(self.nodes)

    def set_node(self, node: Node) -> None:
        name = node.metadata.name or ""
        row = self.rows.get(name)
        if row is None:
            row = self.rows[name] = self.count
            self.nodes.append(node)
            if self.count > len(self.unschedulable):
                self._grow(2 * len(self.unschedulable))
            self.layout += 1
        else:
            self._forget_images(self.nodes[row])
            self.nodes[row] = node
        self._fill(row, node)

    def remove_node(self, name: str) -> None:
        row = self.rows.pop(name, None)
        if row is None:
            return
        self._forget_images(self.nodes[row])
        last = self.count - 1
        moved = self.nodes.pop()
        if row != last:
            self.nodes[row] = moved
            self.rows[moved.metadata.name or ""] = row
            for array in self._arrays():
                array[row] = array[last]
        self.layout += 1
        self.version += 1

    def _fill(self, row: int, node: Node) -> None:
        self.allocatable[row] = self.vector(amounts_of(node.status.allocatable))
        self.unschedulable[row] = bool(node.spec.unschedulable)
        self.taint_set[row] = self._taint_set(node)
        for key, column in self.labels.items():
            column[row] = self._label(node, key)
        self.requested[row] = 0
        self.assumed[row] = 0
        for image in node.status.images or ():
            for title in image.names or ():
                self.images.setdefault(title, {})[node.metadata.name or ""] = image.size_bytes or 0
        self._touch(row)

    def _forget_images(self, node: Node) -> None:
        for image in node.status.images or ():
            for title in image.names or ():
                holders = self.images.get(title, {})
                holders.pop(node.metadata.name or "", None)
                if not holders:
                    self.images.pop(title, None)

    def _arrays(self) -> Iterator[Column[Any]]:
        yield from (self.allocatable, self.requested, self.assumed, self.unschedulable, self.taint_set)
        yield self.row_version
        yield from self.labels.values()

    def _grow(self, rows: int) -> None:
        def grown(array: Column[Any]) -> Column[Any]:
            larger = np.zeros((rows, *array.shape[1:]), array.dtype)
            larger[: len(array)] = array
            return larger

        self.allocatable, self.requested = grown(self.allocatable), grown(self.requested)
        self.assumed, self.unschedulable = grown(self.assumed), grown(self.unschedulable)
        self.taint_set, self.row_version = grown(self.taint_set), grown(self.row_version)
        self.labels = {key: grown(column) for key, column in self.labels.items()}

    def _taint_set(self, node: Node) -> int:
        taints = tuple((taint.key, taint.value or "", taint.effect) for taint in node.spec.taints or ())
        return self.taint_sets.setdefault(taints, len(self.taint_sets))

    def _touch(self, row: int) -> None:
        self.version += 1
        self.row_version[row] = self.version

    def vector(self, amounts: Any) -> Column[np.int64]:
        """Amounts by resource, in the order of the resource columns; one that is new gets a column."""
        for name in amounts:
            if name not in self.resources:
                self._add_resource(name)
        return np.array([amounts.get(name, 0) for name in self.resources], np.int64)

    def _add_resource(self, name: str) -> None:
        self.resources.append(name)
        none = np.zeros((len(self.unschedulable), 1), np.int64)
        self.allocatable = np.hstack((self.allocatable, none))
        self.requested = np.hstack((self.requested, none))
        self.layout += 1

    def text(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))

    def label_column(self, key: str) -> Column[np.int64]:
        column = self.labels.get(key)
        if column is None:
            column = np.full(len(self.unschedulable), ABSENT, np.int64)
            for row, node in enumerate(self.nodes):
                column[row] = self._label(node, key)
            self.labels[key] = column
        return column

    def _label(self, node: Node, key: str) -> int:
        if key == NAME:
            return self.text(node.metadata.name or "")
        found = (node.metadata.labels or {}).get(key)
        return ABSENT if found is None else self.text(found)
