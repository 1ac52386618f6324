"""TaintToleration: a pod runs on a node only if it tolerates the node's taints; those it need not tolerate count against.

Nodes with the same taints are judged together: a cluster has few combinations.
"""

import numpy as np

from kybern.api.core_v1 import Pod, Toleration
from kybern.scheduler.framework import Change, Column, FilterPlugin, ScorePlugin, in_proportion
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.tolerations import tolerated

KEEPS_OUT = ("NoSchedule", "NoExecute")
Tolerations = tuple[Toleration, ...]


class TaintToleration(FilterPlugin[Tolerations], ScorePlugin[Tolerations]):
    name = "TaintToleration"
    wakes_on = Change.NODE_ADDED | Change.NODE_TAINTS
    reason = "node(s) had untolerated taint(s)"

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Tolerations | None:
        return pod.spec.tolerations or ()

    def filter(self, state: Tolerations, nodes: Nodes) -> Column[np.bool_]:
        open_to = [
            all(tolerated(taint, state) for taint in taints if taint[2] in KEEPS_OUT) for taints in nodes.taint_sets()
        ]
        return np.array(open_to, np.bool_)[nodes.taint_set]

    def pre_score(self, pod: Pod, nodes: Nodes) -> Tolerations | None:
        return tuple(t for t in pod.spec.tolerations or () if (t.effect or "PreferNoSchedule") == "PreferNoSchedule")

    def score(self, state: Tolerations, nodes: Nodes) -> Column[np.int64]:
        against = [
            sum(taint[2] == "PreferNoSchedule" and not tolerated(taint, state) for taint in taints)
            for taints in nodes.taint_sets()
        ]
        return np.array(against, np.int64)[nodes.taint_set]

    def normalize(self, scores: Column[np.int64]) -> Column[np.int64]:
        return in_proportion(scores, reverse=True)
