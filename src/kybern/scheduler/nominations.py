"""Nominations: pods that were promised room on a node, while those that make room for them are still leaving.

A promise counts against pods of the same or of less importance: they fit only where they fit beside the promised ones.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.trial import begun


@dataclass(slots=True)
class Nominations:
    by_uid: dict[str, tuple[Pod, str]] = field(default_factory=dict)
    on_node: dict[str, dict[str, Pod]] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)
    """How often the promises on a node changed: what was tried there before holds no more."""

    leaving: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Who was told to leave for a pod, by uids."""

    def set(self, pod: Pod, node: str, leaving: Iterable[Pod] = ()) -> None:
        uid = pod.metadata.uid or ""
        self.drop(uid)
        self.leaving[uid] = tuple(other.metadata.uid or "" for other in leaving)
        self.by_uid[uid] = (pod, node)
        self.on_node.setdefault(node, {})[uid] = pod
        self.changes[node] += 1

    def drop(self, uid: str) -> None:
        known = self.by_uid.pop(uid, None)
        self.leaving.pop(uid, None)
        if known is not None:
            self.changes[known[1]] += 1
            held = self.on_node[known[1]]
            del held[uid]
            if not held:
                del self.on_node[known[1]]

    def node_of(self, pod: Pod) -> str:
        known = self.by_uid.get(pod.metadata.uid or "")
        return known[1] if known else ""

    def beside(self, pod: Pod, node: str) -> list[Pod]:
        """Those whose promise on the node counts against this pod."""
        return [
            other
            for uid, other in self.on_node.get(node, {}).items()
            if uid != pod.metadata.uid and (other.spec.priority or 0) >= (pod.spec.priority or 0)
        ]

    def less_important(self, pod: Pod, node: str) -> list[Pod]:
        mine = pod.spec.priority or 0
        return [other for other in self.on_node.get(node, {}).values() if (other.spec.priority or 0) < mine]

    def respected(self, judgement: Judgement) -> Judgement:
        """Without the nodes where the pod fits only as long as promises are forgotten."""
        rows = judgement.snapshot.rows
        for node in self.on_node:
            row = rows.get(node)
            if row is not None and judgement.fits[row]:
                refusals = self._refusals(judgement, row, node)
                if refusals:
                    judgement.promised[row] = refusals
        if judgement.promised:
            judgement.fits = judgement.fits.copy()
            judgement.fits[np.array(list(judgement.promised))] = False
        return judgement

    def _refusals(self, judgement: Judgement, row: int, node: str) -> list[str]:
        others = self.beside(judgement.pod, node)
        if not others:
            return []
        with begun(judgement, row, others) as trial:
            return trial.refusals()
