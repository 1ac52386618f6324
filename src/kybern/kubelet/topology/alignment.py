"""The topology manager: at a pod's admission, everything it is given is to lie on the same NUMA nodes.

Those who give things out say where they could; the policy takes the best place and says whether it is good enough. With
the scope `pod` one place is found for all containers together, with `container` one for each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kybern.api.core_v1 import Container, Pod
from kybern.kubelet.status import Verdict
from kybern.kubelet.topology.hints import NONE, Hint, Hints, best
from kybern.kubelet.topology.machine import Machine

SCOPES = ("container", "pod")
NODES_MAX = 8  # beyond it the sets of nodes are too many to look at
REFUSED = Verdict("TopologyAffinityError", "Resources cannot be allocated with Topology locality")


class Giver(Protocol):
    """Of CPUs, memory or devices."""

    def hints(self, pod: Pod, containers: Sequence[Container]) -> Hints:
        """Where all that these ask for could be; nothing where they ask for nothing."""

    def allocate(self, pod: Pod, container: Container, hint: Hint) -> Verdict | None:
        """What a container asks for, from there if possible; why not."""

    def release(self, uid: str) -> bool: ...

    def keep_only(self, uids: Iterable[str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyPolicy:
    name: str = NONE
    scope: str = "container"
    closest: bool = False
    nodes_max: int = NODES_MAX


class Alignment:
    def __init__(self, machine: Machine, policy: TopologyPolicy, givers: Sequence[Giver]) -> None:
        """ValueError where the machine has more NUMA nodes than the policy can bear."""
        if policy.name != NONE and len(machine.nodes) > policy.nodes_max:
            raise ValueError(
                f"unsupported on machines with more than {policy.nodes_max} NUMA Nodes: this one has {len(machine.nodes)}"
            )
        self.machine, self.policy, self.givers = machine, policy, givers

    def admit(self, pod: Pod) -> Verdict | None:
        """Give the pod all it asks for, or nothing and the reason."""
        refusal = self._admit(pod)
        if refusal is not None:
            self.release(pod.metadata.uid or "")
        return refusal

    def _admit(self, pod: Pod) -> Verdict | None:
        every = (*(pod.spec.init_containers or ()), *pod.spec.containers)
        for group in (every,) if self.policy.scope == "pod" else ((container,) for container in every):
            refusal = self._admit_together(pod, group)
            if refusal is not None:
                return refusal
        return None

    def _admit_together(self, pod: Pod, containers: Sequence[Container]) -> Verdict | None:
        hint, fits = self._place(pod, containers)
        if not fits:
            return REFUSED
        given = (self._give(pod, container, hint) for container in containers)
        return next((refusal for refusal in given if refusal is not None), None)

    def _place(self, pod: Pod, containers: Sequence[Container]) -> tuple[Hint, bool]:
        said = [] if self.policy.name == NONE else [giver.hints(pod, containers) for giver in self.givers]
        return best(self.policy.name, self.machine, said, closest=self.policy.closest)

    def _give(self, pod: Pod, container: Container, hint: Hint) -> Verdict | None:
        for giver in self.givers:
            if (refusal := giver.allocate(pod, container, hint)) is not None:
                return refusal
        return None

    def release(self, uid: str) -> bool:
        """Whether it had anything."""
        had = [giver.release(uid) for giver in self.givers]  # each, not until the first that had something
        return any(had)

    def keep_only(self, uids: Iterable[str]) -> None:
        known = set(uids)
        for giver in self.givers:
            giver.keep_only(known)
