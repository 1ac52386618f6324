"""The memory manager: with the `Static` policy, Guaranteed containers have their memory and huge pages from named NUMA nodes.

A node that serves a container alone serves none together with others, nor in two different groups. What an init
container was given on the same nodes, the containers after it use again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from kybern.api.core_v1 import Container, Pod
from kybern.api.quantity import value
from kybern.kubelet.qos import qos_class
from kybern.kubelet.resources import requests_of, whole_limits, whole_requests
from kybern.kubelet.restarts import is_sidecar
from kybern.kubelet.status import Verdict
from kybern.kubelet.topology.asking import together
from kybern.kubelet.topology.given import Given
from kybern.kubelet.topology.hints import Hint, Hints, masks, preferring
from kybern.kubelet.topology.machine import Machine, cpus_text

REASON = "UnexpectedAdmissionError"
FAILED = "Allocate failed due to [memorymanager] {}, which is unexpected"
NO_ROOM = "failed to get the default NUMA affinity, no NUMA nodes with enough memory is available"
NO_DEFAULT = "failed to find the default preferred hint"
NO_LARGER = "failed to find NUMA nodes to extend the current topology hint"
NO_EXTENDED = "failed to find the extended preferred hint"


class Block(msgspec.Struct, frozen=True):
    """So many bytes of one kind from these nodes together."""

    nodes: list[int]
    kind: str
    size: int


@dataclass(slots=True)
class _Node:
    free: dict[str, int]
    group: frozenset[int]
    """The nodes together with which it serves: itself alone, at first."""
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPolicy:
    static: bool = False
    reserved: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """By node and kind: bytes that are nobody's."""


class Memory:
    def __init__(self, path: str, machine: Machine, policy: MemoryPolicy) -> None:
        self.machine, self.policy = machine, policy
        self.given: Given[list[Block]] = Given(path, list[Block])

    def allocatable(self) -> dict[int, dict[str, int]]:
        """Of each node, by kind. Huge pages are no plain memory any more."""
        found = {}
        for node in self.machine.nodes:
            kept = self.policy.reserved.get(node.number, {})
            pages = sum(size for kind, size in node.memory.items() if kind != "memory")
            whole = {kind: size - (pages if kind == "memory" else 0) for kind, size in node.memory.items()}
            found[node.number] = {kind: max(size - kept.get(kind, 0), 0) for kind, size in whole.items()}
        return found

    def _state(self) -> dict[int, _Node]:
        state = {number: _Node(dict(free), frozenset({number})) for number, free in self.allocatable().items()}
        for containers in self.given.every.values():
            for block in (block for blocks in containers.values() for block in blocks):
                left = block.size
                for node in (state[number] for number in block.nodes if number in state):
                    node.used, node.group = True, frozenset(block.nodes)
                    took = min(left, node.free.get(block.kind, 0))
                    node.free[block.kind] = node.free.get(block.kind, 0) - took
                    left -= took
        return state

    # Where a container's memory could be.

    def hints(self, pod: Pod, containers: Sequence[Container]) -> Hints:
        asked = self._asked(pod, containers)
        found = self._fitting(pod, asked)
        return dict.fromkeys(asked, found)

    def _asked(self, pod: Pod, containers: Sequence[Container]) -> dict[str, int]:
        if not self.policy.static or qos_class(pod) != "Guaranteed" or whole_requests(pod) or whole_limits(pod):
            return {}
        return together(pod, containers, memory_of)

    def _fitting(self, pod: Pod, asked: Mapping[str, int]) -> list[Hint]:
        state, room = self._state(), self.allocatable()
        fits, least = [], len(state)
        for nodes in masks(sorted(state)):
            if any(sum(room[n].get(kind, 0) for n in nodes) < size for kind, size in asked.items()):
                continue
            least = min(least, len(nodes))
            if any(_serves_otherwise(state[n], nodes) for n in nodes):
                continue
            reusable = self._reusable(pod, nodes)
            if all(
                sum(state[n].free.get(k, 0) for n in nodes) + reusable.get(k, 0) >= size for k, size in asked.items()
            ):
                fits.append(nodes)
        return preferring(fits, least)

    def _reusable(self, pod: Pod, nodes: frozenset[int]) -> dict[str, int]:
        """What init containers of the pod, which will be over, have from just these nodes."""
        found: dict[str, int] = {}
        for _, block in self._left_behind(pod):
            if frozenset(block.nodes) == nodes:
                found[block.kind] = found.get(block.kind, 0) + block.size
        return found

    def _left_behind(self, pod: Pod) -> list[tuple[str, Block]]:
        given = self.given.of_pod(pod.metadata.uid or "")
        names = [container.name for container in pod.spec.init_containers or () if not is_sidecar(container)]
        return [(name, block) for name in names for block in given.get(name, ())]

    # Its memory.

    def allocate(self, pod: Pod, container: Container, hint: Hint) -> Verdict | None:
        uid = pod.metadata.uid or ""
        asked = self._asked(pod, (container,))
        if not asked or self.given.of(uid, container.name) is not None:
            return None
        found = self._chosen(pod, asked, hint)
        if isinstance(found, str):
            return Verdict(REASON, FAILED.format(found))
        blocks = [Block(sorted(found), kind, size) for kind, size in asked.items()]
        self.given.give(uid, {**self._reused(pod, blocks), container.name: blocks})
        return None

    def _chosen(self, pod: Pod, asked: Mapping[str, int], hint: Hint) -> frozenset[int] | str:
        """The nodes, or what is wrong: those of the hint, or the fewest that have them in it."""
        fits = self._fitting(pod, asked)
        if hint.nodes is not None and any(fit.nodes == hint.nodes for fit in fits):
            return hint.nodes
        wider = [fit for fit in fits if hint.nodes is None or (fit.nodes and fit.nodes >= hint.nodes)]
        if not wider:
            return NO_ROOM if hint.nodes is None else NO_LARGER
        found = min(wider, key=lambda fit: (not fit.preferred, len(fit.nodes or ()), sorted(fit.nodes or ())))
        if hint.preferred and not found.preferred:
            return NO_DEFAULT if hint.nodes is None else NO_EXTENDED
        return found.nodes or frozenset()

    def _reused(self, pod: Pod, blocks: Sequence[Block]) -> dict[str, list[Block]]:
        """The blocks of its init containers, less what is used again: together they are what the pod has."""
        given = self.given.of_pod(pod.metadata.uid or "")
        changed: dict[str, list[Block]] = {}
        for block in blocks:
            size = block.size
            for name in dict.fromkeys(name for name, _ in self._left_behind(pod)):
                kept = []
                for old in changed.get(name, given[name]):
                    same = (old.nodes, old.kind) == (block.nodes, block.kind)
                    used = min(size, old.size) if same else 0
                    size -= used
                    kept.append(replace(old, size=old.size - used))
                changed[name] = kept
        return changed

    def of(self, uid: str, container: str) -> str:
        """The nodes of a container's memory, as the kernel writes them; empty for all."""
        return cpus_text({node for block in self.given.of(uid, container) or () for node in block.nodes})

    def of_pod(self, uid: str) -> Mapping[str, list[Block]]:
        return self.given.of_pod(uid)

    def release(self, uid: str) -> bool:
        return self.given.release(uid)

    def keep_only(self, uids: Iterable[str]) -> None:
        self.given.keep_only(uids)


def _serves_otherwise(node: _Node, nodes: frozenset[int]) -> bool:
    """A node in a group is in no other, and one that serves alone is in none."""
    if len(nodes) == 1:
        return len(node.group) > 1
    return node.used and node.group != nodes


def memory_of(container: Container) -> dict[str, int]:
    """What it asks for, in bytes, by kind."""
    return {
        kind: value(amount)
        for kind, amount in requests_of(container).items()
        if (kind == "memory" or kind.startswith("hugepages-")) and value(amount)
    }
