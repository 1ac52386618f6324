"""Memory beyond its limit: what the kernel keeps for a pod, when it slows one down, how much of one it may swap out.

Files of cgroup v2; v1 has no counterpart. All of it is off unless the kubelet's configuration says otherwise, but that
nothing of a pod is swapped, and that a container which runs out of memory ends as a whole.

    memory.min, memory.low   kept for Guaranteed, for Burstable pods         (`memoryReservationPolicy: TieredReservation`)
    memory.high              slowed down from here on, short of the limit    (feature MemoryQoS, `memoryThrottlingFactor`)
    memory.swap.max          a share of the swap as large as its share of the memory           (`swapBehavior: LimitedSwap`)
    memory.oom.group         what runs out of memory ends with all that is in it            (not with `singleProcessOOMKill`)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kybern.api.core_v1 import Container, EphemeralContainer, Pod
from kybern.api.quantity import value
from kybern.kubelet.eviction.ranking import is_critical
from kybern.kubelet.qos import qos_class
from kybern.kubelet.resources import limits_of, pod_requests, requests_of
from kybern.kubelet.settings import one_of, share, truth

PAGE_BYTES = 4096
SWAP_BEHAVIORS = ("NoSwap", "LimitedSwap")
RESERVATIONS = ("None", "TieredReservation")
KEPT_BY = {"Guaranteed": "memory.min", "Burstable": "memory.low"}

Files = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryProtection:
    throttles: bool = False
    throttling_factor: float = 0.9
    tiered: bool = False
    swaps: bool = False
    """Burstable pods may."""
    kills_one: bool = False
    """Of a container that runs out of memory one process ends, as in v1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMemory:
    unified: bool = False
    """Its cgroups are v2."""
    total_bytes: int = 0
    allocatable_bytes: int = 0
    swap_bytes: int = 0


def throttling(policy: MemoryProtection, given: Any) -> MemoryProtection:
    return replace(policy, throttling_factor=share(given))


def reservation(policy: MemoryProtection, given: Any) -> MemoryProtection:
    """ValueError where MemoryQoS, which it is a part of, is off."""
    tiered = one_of(given, RESERVATIONS) == "TieredReservation"
    if tiered and not policy.throttles:
        raise ValueError("requires the feature gate MemoryQoS")
    return replace(policy, tiered=tiered)


def swap(policy: MemoryProtection, given: Mapping[str, Any]) -> MemoryProtection:
    if given.keys() - {"swapBehavior"}:
        raise ValueError("has swapBehavior and nothing else")
    return replace(policy, swaps=one_of(given.get("swapBehavior", "NoSwap"), SWAP_BEHAVIORS) == "LimitedSwap")


def single_kill(policy: MemoryProtection, given: Any) -> MemoryProtection:
    return replace(policy, kills_one=truth(given))


def of_container(
    policy: MemoryProtection, node: NodeMemory, pod: Pod, container: Container | EphemeralContainer
) -> Files:
    if not node.unified:
        return {}
    asked, limit = value(requests_of(container).get("memory", "0")), value(limits_of(container).get("memory", "0"))
    return {
        **_kept(policy, qos_class(pod), asked),
        **_throttled(policy, node, asked, limit),
        **_swap(policy, node, pod, asked, limit),
        **({} if policy.kills_one else {"memory.oom.group": "1"}),
    }


def of_pod(policy: MemoryProtection, node: NodeMemory, pod: Pod) -> Files:
    return _kept(policy, qos_class(pod), _asked(pod)) if node.unified else {}


def of_levels(policy: MemoryProtection, node: NodeMemory, pods: Iterable[Pod]) -> tuple[Files, Files]:
    """For the cgroup of all pods, and for that of the Burstable ones: what is kept for a pod must be so all the way up."""
    if not (policy.tiered and node.unified):
        return {}, {}
    sums = dict.fromkeys(KEPT_BY, 0)
    for pod in pods:
        if qos_class(pod) in sums:
            sums[qos_class(pod)] += _asked(pod)
    low = {"memory.low": str(sums["Burstable"])}
    return {"memory.min": str(sums["Guaranteed"]), **low}, low


def _asked(pod: Pod) -> int:
    return pod_requests(pod).get("memory", 0) // 1000


def _kept(policy: MemoryProtection, qos: str, asked: int) -> Files:
    return {KEPT_BY[qos]: str(asked)} if policy.tiered and qos in KEPT_BY and asked else {}


def _throttled(policy: MemoryProtection, node: NodeMemory, asked: int, limit: int) -> Files:
    """Between what is asked for and where it ends: the limit, or all that the node gives."""
    end = limit or node.allocatable_bytes
    if not policy.throttles or asked == limit != 0:
        return {}
    high = int(asked + policy.throttling_factor * (end - asked)) // PAGE_BYTES * PAGE_BYTES
    return {"memory.high": str(high)} if high > asked else {}


def _swap(policy: MemoryProtection, node: NodeMemory, pod: Pod, asked: int, limit: int) -> Files:
    if not node.swap_bytes:
        return {}
    may = policy.swaps and qos_class(pod) == "Burstable" and not is_critical(pod) and asked and asked != limit
    share = asked * node.swap_bytes // node.total_bytes if may and node.total_bytes else 0
    return {"memory.swap.max": str(share)}
