"""How long pods have to end when their node is shut down: by whole and critical periods, or by priority. Values.

Nothing of it is set: pods end with the node, at once, as upstream's default has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kybern.kubelet.qos import CRITICAL_PRIORITY
from kybern.kubelet.settings import seconds, whole_number

T = TypeVar("T")

LEAST_SECONDS = 1.0
FAULT = "node is shutting down"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownPolicy:
    whole_seconds: float = 0.0
    critical_seconds: float = 0.0
    """Of the whole, for critical pods, after the others."""
    priorities: tuple[tuple[int, float], ...] = ()
    """Instead of both: seconds from each priority up to the next."""

    @property
    def groups(self) -> tuple[tuple[int, float], ...]:
        """The least important first."""
        if self.priorities:
            return tuple(sorted(self.priorities))
        if not self.whole_seconds:
            return ()
        return ((0, self.whole_seconds - self.critical_seconds), (CRITICAL_PRIORITY, self.critical_seconds))

    @property
    def total_seconds(self) -> float:
        return sum(each for _, each in self.groups)


def grouped(policy: ShutdownPolicy, pods: Sequence[T], priorities: Sequence[int]) -> list[tuple[float, list[T]]]:
    """Those that end together, in order. Who is less important than every group belongs to the first."""
    groups = policy.groups
    found: list[tuple[float, list[T]]] = [(each, []) for _, each in groups]
    for pod, priority in zip(pods, priorities, strict=True):
        index = max((n for n, (least, _) in enumerate(groups) if priority >= least), default=0)
        found[index][1].append(pod)
    return found


def whole(policy: ShutdownPolicy, given: Any) -> ShutdownPolicy:
    return _checked(replace(policy, whole_seconds=_period(given)))


def critical(policy: ShutdownPolicy, given: Any) -> ShutdownPolicy:
    return _checked(replace(policy, critical_seconds=_period(given)))


def by_priority(policy: ShutdownPolicy, given: Sequence[Mapping[str, Any]]) -> ShutdownPolicy:
    found = {whole_number(e["priority"]): float(whole_number(e["shutdownGracePeriodSeconds"])) for e in given}
    return _checked(replace(policy, priorities=tuple(found.items())))


def _period(given: Any) -> float:
    found = seconds(given)
    if 0 < found < LEAST_SECONDS:
        raise ValueError("must be either zero or otherwise at least 1 sec")
    return found


def _checked(policy: ShutdownPolicy) -> ShutdownPolicy:
    if policy.priorities and (policy.whole_seconds or policy.critical_seconds):
        raise ValueError("cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod")
    if policy.whole_seconds and policy.critical_seconds > policy.whole_seconds:
        raise ValueError("shutdownGracePeriodCriticalPods must be <= shutdownGracePeriod")
    return policy
