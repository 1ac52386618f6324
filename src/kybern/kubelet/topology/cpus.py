"""The CPU manager: with the `static` policy, Guaranteed containers that ask for whole CPUs have them to themselves.

Everybody else shares the rest. An init container's CPUs go on to the containers after it; a sidecar keeps its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kybern.api.core_v1 import Container, Pod
from kybern.api.quantity import milli
from kybern.kubelet.qos import qos_class
from kybern.kubelet.resources import requests_of
from kybern.kubelet.status import Verdict
from kybern.kubelet.topology.asking import in_order, together
from kybern.kubelet.topology.given import Given
from kybern.kubelet.topology.hints import Hint, Hints, masks, preferring
from kybern.kubelet.topology.machine import Machine, cpus_text
from kybern.kubelet.topology.picking import distributed, packed

REASON = "UnexpectedAdmissionError"
SHORT = "Allocate failed due to not enough cpus available to satisfy request: requested={}, available={}, which is unexpected"
UNALIGNED = "SMT Alignment Error: requested {} cpus not multiple cpus per core = {}"
NO_CORES = (
    "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = {}, "
    "requested CPUs = {}, CPUs per core = {}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPolicy:
    static: bool = False
    reserved: int = 0
    """So many are nobody's own, ever."""
    reserved_cpus: frozenset[int] = field(default_factory=frozenset)
    """Instead: these."""
    full_cores: bool = False
    distribute: bool = False
    strict: bool = False
    """The reserved ones are not even shared."""
    by_cache: bool = False


class Cpus:
    def __init__(self, path: str, machine: Machine, policy: CpuPolicy) -> None:
        """`path` of the file; empty for none."""
        self.machine, self.policy = machine, policy
        self.every = {cpu.number for cpu in machine.cpus}
        taken = packed(machine, self.every, policy.reserved)
        self.reserved = (set(policy.reserved_cpus) or set(taken)) & self.every
        self.given: Given[list[int]] = Given(path, list[int])

    @property
    def static(self) -> bool:
        return self.policy.static

    # What is free.

    def _taken(self) -> set[int]:
        return {n for containers in self.given.every.values() for numbers in containers.values() for n in numbers}

    def _free(self) -> set[int]:
        return self.every - self.reserved - self._taken()

    def _reusable(self, pod: Pod) -> set[int]:
        """What the pod's init containers leave to those that come now."""
        left: set[int] = set()
        given = self.given.of_pod(pod.metadata.uid or "")
        for container, lasts in in_order(pod):
            numbers = set(given.get(container.name, ()))
            left = left - numbers if lasts else left | numbers
        return left

    def allocatable(self) -> set[int]:
        """What may be somebody's own."""
        return self.every - self.reserved if self.static else set()

    def shared(self) -> set[int]:
        """What those without CPUs of their own use."""
        return self.every - self._taken() - (self.reserved if self.policy.strict else set())

    def of(self, uid: str, container: str) -> str:
        """The CPUs of a container; empty where it may use all, since none are anybody's own."""
        if not self.static:
            return ""
        own = self.given.of(uid, container)
        return cpus_text(own if own is not None else self.shared())

    # Where a container could be, and its CPUs.

    def hints(self, pod: Pod, containers: Sequence[Container]) -> Hints:
        asked = self._asked(pod, containers)
        if not asked:
            return {}
        free, reusable = self._free(), self._reusable(pod)
        fits, least = [], len(self.machine.nodes)
        for nodes in masks(self.machine.numbers):
            here = {cpu.number for cpu in self.machine.cpus if cpu.node in nodes}
            if len(here) >= asked:
                least = min(least, len(nodes))
            if reusable <= here and len((free | reusable) & here) >= asked:
                fits.append(nodes)
        return {"cpu": preferring(fits, least)}

    def _asked(self, pod: Pod, containers: Sequence[Container]) -> int:
        if not self.static or qos_class(pod) != "Guaranteed":
            return 0
        return together(pod, containers, lambda container: {"cpu": whole_cpus(container)}).get("cpu", 0)

    def allocate(self, pod: Pod, container: Container, hint: Hint) -> Verdict | None:
        uid = pod.metadata.uid or ""
        asked = self._asked(pod, (container,))
        if not asked or self.given.of(uid, container.name) is not None:
            return None
        free = self._free() | self._reusable(pod)
        refusal = self._refused(asked, free)
        if refusal is None:
            self.given.give(uid, {container.name: self._take(free, asked, hint)})
        return refusal

    def _refused(self, asked: int, free: set[int]) -> Verdict | None:
        threads = self.machine.threads_per_core
        if self.policy.full_cores:
            if asked % threads:
                return Verdict("SMTAlignmentError", UNALIGNED.format(asked, threads))
            whole = self._in_whole_cores(free)
            if asked > whole:
                return Verdict("SMTAlignmentError", NO_CORES.format(whole, asked, threads))
        return Verdict(REASON, SHORT.format(asked, len(free))) if asked > len(free) else None

    def _in_whole_cores(self, free: set[int]) -> int:
        broken = {(cpu.socket, cpu.core) for cpu in self.machine.cpus if cpu.number not in free}
        return sum((cpu.socket, cpu.core) not in broken for cpu in self.machine.cpus)

    def _take(self, free: set[int], count: int, hint: Hint) -> list[int]:
        """As many as can be from the nodes of the hint, the others from anywhere."""
        near = free & {cpu.number for cpu in self.machine.cpus if hint.nodes is not None and cpu.node in hint.nodes}
        taken = self._pick(near, min(count, len(near)))
        return sorted([*taken, *self._pick(free - set(taken), count - len(taken))])

    def _pick(self, free: set[int], count: int) -> list[int]:
        if self.policy.distribute:
            group = self.machine.threads_per_core if self.policy.full_cores else 1
            return distributed(self.machine, free, count, group=group)
        return packed(self.machine, free, count, by_cache=self.policy.by_cache)

    def release(self, uid: str) -> bool:
        """Whether it had any."""
        return self.given.release(uid)

    def keep_only(self, uids: Iterable[str]) -> None:
        self.given.keep_only(uids)

    def of_pod(self, uid: str) -> Mapping[str, list[int]]:
        return self.given.of_pod(uid)


def whole_cpus(container: Container) -> int:
    """How many it asks for; 0 where it asks for a part of one."""
    asked = milli(requests_of(container).get("cpu", "0"))
    return 0 if asked % 1000 else asked // 1000
