"""The quality-of-service class of a pod, and what follows from it for the kernel's out-of-memory killer."""

from kybern.api.core_v1 import Container, EphemeralContainer, Pod, ResourceRequirements
from kybern.api.quantity import value
from kybern.registry.podspec.qos import qos_class as qos_of_spec

GUARANTEED_OOM_SCORE = -997
BEST_EFFORT_OOM_SCORE = 1000


def qos_class(pod: Pod) -> str:
    """As it was when the pod was made."""
    return pod.status.qos_class or qos_of_spec(pod.spec)


def oom_score_adjust(pod: Pod, container: Container | EphemeralContainer, memory_capacity_bytes: int) -> int:
    """Guaranteed is killed last, BestEffort first, Burstable by its share of the memory it asked for."""
    kind = qos_class(pod)
    if kind == "Guaranteed" or (pod.spec.priority or 0) >= CRITICAL_PRIORITY:
        return GUARANTEED_OOM_SCORE
    if kind == "BestEffort":
        return BEST_EFFORT_OOM_SCORE
    score = 1000 - (1000 * _memory_asked(pod, container)) // max(memory_capacity_bytes, 1)
    return min(max(score, 1000 + GUARANTEED_OOM_SCORE), BEST_EFFORT_OOM_SCORE - 1)


def _memory_asked(pod: Pod, container: Container | EphemeralContainer) -> int:
    """Its own request, and an equal part of what the pod as a whole asks for beyond those of its containers."""
    every = (*pod.spec.containers, *(c for c in pod.spec.init_containers or () if c.restart_policy == "Always"))
    whole = _memory_request(pod.spec.resources)
    left = max(whole - sum(_memory_request(other.resources) for other in every), 0)
    return _memory_request(container.resources) + left // len(every)


def _memory_request(resources: ResourceRequirements | None) -> int:
    return value(((resources.requests if resources else None) or {}).get("memory", "0"))


CRITICAL_PRIORITY = 2_000_000_000
