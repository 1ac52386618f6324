"""NodePorts: a port of the host is one pod's; addresses make a difference, unless one of them is every address."""

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.snapshot import HostPort, host_ports

EVERY_ADDRESS = ("0.0.0.0", "::", "")
Ports = tuple[HostPort, ...]


class NodePorts(FilterPlugin[Ports]):
    name = "NodePorts"
    wakes_on = Change.NODE_ADDED | Change.POD_LEFT
    reason = "node(s) didn't have free ports for the requested pod ports"

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Ports | None:
        return tuple(host_ports(pod)) or None

    def filter(self, state: Ports, nodes: Nodes) -> Column[np.bool_]:
        return np.fromiter(
            (not any(collide(wanted, used) for used in in_use for wanted in state) for in_use in nodes.ports_in_use()),
            np.bool_,
            len(nodes),
        )

    def preemption_helps(self, state: Ports, refused: Nodes) -> Column[np.bool_]:
        return np.ones(len(refused), np.bool_)


def collide(one: HostPort, other: HostPort) -> bool:
    if one[1:] != other[1:]:
        return False
    return one[0] == other[0] or one[0] in EVERY_ADDRESS or other[0] in EVERY_ADDRESS
