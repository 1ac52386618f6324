"""NodePorts: a port of the host is one pod's; addresses make a difference, unless one of them is every address."""

from collections.abc import Hashable

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Change, Column, FilterPlugin, Trial
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import HostPort, Placed, host_ports
from kybern.scheduler.snapshot import Snapshot

EVERY_ADDRESS = ("0.0.0.0", "::", "")
REASON = "node(s) didn't have free ports for the requested pod ports"
Ports = tuple[HostPort, ...]


class Taken:
    """How many pods of a node are in the way."""

    def __init__(self, wanted: Ports, snapshot: Snapshot, row: int) -> None:
        self.wanted = wanted
        node = snapshot.nodes[row].metadata.name or ""
        self.number = sum(map(self.in_the_way, snapshot.on_node.get(node, {}).values()))

    def in_the_way(self, placed: Placed) -> bool:
        return any(collide(wanted, used) for used in placed.ports for wanted in self.wanted)

    def leave(self, placed: Placed) -> None:
        self.number -= self.in_the_way(placed)

    def stay(self, placed: Placed) -> None:
        self.number += self.in_the_way(placed)

    def refusals(self) -> list[str]:
        return [REASON] if self.number else []


class NodePorts(FilterPlugin[Ports]):
    name = "NodePorts"
    wakes_on = Change.NODE_ADDED | Change.POD_LEFT
    reason = REASON
    pods_matter = True

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        return any(collide(wanted, used) for used in host_ports(about) for wanted in host_ports(pod))

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Ports | None:
        return tuple(host_ports(pod)) or None

    def filter(self, state: Ports, nodes: Nodes) -> Column[np.bool_]:
        """Most nodes have none of these ports in use by anybody."""
        taken = {
            node
            for wanted in state
            for node, addresses in nodes.snapshot.ports.get(wanted[1:], {}).items()
            if any(collide(wanted, (address, *wanted[1:])) for address in addresses)
        }
        return ~nodes.named(taken) if taken else np.ones(len(nodes), np.bool_)

    def preemption_helps(self, state: Ports, refused: Nodes) -> Column[np.bool_]:
        return np.ones(len(refused), np.bool_)

    def trial(self, state: Ports, pod: Pod, snapshot: Snapshot, row: int) -> Trial:
        return Taken(state, snapshot, row)

    def stamp(self, state: Ports, snapshot: Snapshot, row: int) -> Hashable:
        return None


def collide(one: HostPort, other: HostPort) -> bool:
    if one[1:] != other[1:]:
        return False
    return one[0] == other[0] or one[0] in EVERY_ADDRESS or other[0] in EVERY_ADDRESS
