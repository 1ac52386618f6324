"""The quality-of-service class of a pod, and what follows from it for the kernel's out-of-memory killer."""

from kybern.api.core_v1 import Container, EphemeralContainer, Pod
from kybern.api.quantity import value

COUNTED = ("cpu", "memory")
GUARANTEED_OOM_SCORE = -997
BEST_EFFORT_OOM_SCORE = 1000


def qos_class(pod: Pod) -> str:
    if pod.status.qos_class:
        return pod.status.qos_class
    containers = (*pod.spec.containers, *(pod.spec.init_containers or ()))
    asked = [_asked(container) for container in containers]
    if not any(requests or limits for requests, limits in asked):
        return "BestEffort"
    guaranteed = all(limits.keys() == set(COUNTED) and requests == limits for requests, limits in asked)
    return "Guaranteed" if guaranteed else "Burstable"


def _asked(container: Container) -> tuple[dict[str, int], dict[str, int]]:
    """Requests (which default to limits) and limits of what counts, without zeros."""
    found = container.resources
    limits = {k: value(q) for k, q in ((found.limits if found else None) or {}).items() if k in COUNTED and value(q)}
    requests = {
        k: value(q) for k, q in ((found.requests if found else None) or {}).items() if k in COUNTED and value(q)
    }
    return {**limits, **requests}, limits


def oom_score_adjust(pod: Pod, container: Container | EphemeralContainer, memory_capacity_bytes: int) -> int:
    """Guaranteed is killed last, BestEffort first, Burstable by its share of the memory it asked for."""
    kind = qos_class(pod)
    if kind == "Guaranteed" or (pod.spec.priority or 0) >= CRITICAL_PRIORITY:
        return GUARANTEED_OOM_SCORE
    if kind == "BestEffort":
        return BEST_EFFORT_OOM_SCORE
    requests = (container.resources.requests if container.resources else None) or {}
    asked = value(requests.get("memory", "0"))
    score = 1000 - (1000 * asked) // max(memory_capacity_bytes, 1)
    return min(max(score, 1000 + GUARANTEED_OOM_SCORE), BEST_EFFORT_OOM_SCORE - 1)


CRITICAL_PRIORITY = 2_000_000_000
