"""NodeName: a pod that names its node goes there or nowhere."""

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes


class NodeName(FilterPlugin[str]):
    name = "NodeName"
    wakes_on = Change.NODE_ADDED
    reason = "node(s) didn't match the requested node name"

    def pre_filter(self, pod: Pod, nodes: Nodes) -> str | None:
        return pod.spec.node_name or None

    def filter(self, state: str, nodes: Nodes) -> Column[np.bool_]:
        return nodes.named((state,))
