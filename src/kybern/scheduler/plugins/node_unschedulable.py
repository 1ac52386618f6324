"""NodeUnschedulable: a cordoned node takes no pods, but those that tolerate just that."""

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.tolerations import tolerated

CORDONED = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable(FilterPlugin[bool]):
    name = "NodeUnschedulable"
    wakes_on = Change.NODE_ADDED | Change.NODE_TAINTS
    reason = "node(s) were unschedulable"

    def pre_filter(self, pod: Pod, nodes: Nodes) -> bool | None:
        return None if tolerated(CORDONED, pod.spec.tolerations or ()) else True

    def filter(self, state: bool, nodes: Nodes) -> Column[np.bool_]:
        return ~nodes.unschedulable
