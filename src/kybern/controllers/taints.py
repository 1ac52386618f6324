"""Taints and tolerations, and which taints a node's conditions put on it. Rules only."""

from collections.abc import Iterable, Sequence

from kybern.api.core_v1 import Node, Taint, Toleration
from kybern.reconcile.tolerations import tolerates

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
OURS = {*BY_CONDITION.values(), UNSCHEDULABLE}
EVICTING = (NOT_READY, UNREACHABLE)


def tolerating(tolerations: Iterable[Toleration], taint: Taint) -> list[Toleration]:
    return [one for one in tolerations if tolerates(one, taint.key, taint.value or "", taint.effect)]


def taints_for(node: Node, now: str, *, evict: bool) -> tuple[Taint, ...]:
    """The node's taints as its conditions call for; foreign taints, and when ours were added, stay."""
    known = node.spec.taints or ()
    since = {(taint.key, taint.effect): taint for taint in known}
    wanted = dict.fromkeys(_wanted(node, evict=evict))
    kept = [taint for taint in known if not is_ours(taint) or (taint.key, taint.effect) in wanted]
    added = [Taint(key=key, effect=effect, time_added=now) for key, effect in wanted if (key, effect) not in since]
    return (*kept, *added)


def _wanted(node: Node, *, evict: bool) -> Iterable[tuple[str, str]]:
    for condition in node.status.conditions or ():
        key = BY_CONDITION.get((condition.type, condition.status))
        if key is not None:
            yield key, "NoSchedule"
            if evict and key in EVICTING:
                yield key, "NoExecute"
    if node.spec.unschedulable:
        yield UNSCHEDULABLE, "NoSchedule"


def is_ours(taint: Taint) -> bool:
    return taint.key in OURS and (taint.effect == "NoSchedule" or taint.key in EVICTING)


def evicting(taints: Iterable[Taint] | None) -> list[Taint]:
    return [taint for taint in taints or () if taint.effect == "NoExecute"]


def seconds_tolerated(tolerations: Sequence[Toleration], taints: Iterable[Taint]) -> float | None:
    """How long a pod may stay on a node with these NoExecute taints: 0 not at all, None for ever."""
    shortest: float | None = None
    for taint in taints:
        fitting = tolerating(tolerations, taint)
        if not fitting:
            return 0.0
        limits = [toleration.toleration_seconds for toleration in fitting if toleration.toleration_seconds is not None]
        if limits:
            limit = max(float(min(limits)), 0.0)
            shortest = limit if shortest is None else min(shortest, limit)
    return shortest
