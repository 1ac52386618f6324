"""What a StatefulSet does next: pods come in order, go in reverse order, and are replaced from the last to the first.

OrderedReady takes one step at a time and waits until all pods before are available; Parallel does not wait, and a rolling
update always does. No I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kybern.api.apps_v1 import RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetStatus
from kybern.api.core_v1 import Pod
from kybern.controllers.statefulset.identity import ordinal_of
from kybern.reconcile.history import hash_of
from kybern.reconcile.pods import is_available, is_finished, is_ready
from kybern.reconcile.rounding import scaled


@dataclass(slots=True)
class Plan:
    create: list[int] = field(default_factory=list)
    """Ordinals."""
    delete: list[Pod] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A StatefulSet and its pods by ordinal, at one moment."""

    statefulset: StatefulSet
    pods: Mapping[int, Pod]
    current: str
    """Name of the revision that the rollout comes from: pods bear it in the label `controller-revision-hash`."""
    update: str
    now: float

    @property
    def start(self) -> int:
        ordinals = self.statefulset.spec.ordinals
        return (ordinals.start if ordinals else 0) or 0

    @property
    def replicas(self) -> int:
        return 1 if self.statefulset.spec.replicas is None else self.statefulset.spec.replicas

    @property
    def slots(self) -> range:
        return range(self.start, self.start + self.replicas)

    @property
    def condemned(self) -> list[Pod]:
        """The last first."""
        return [self.pods[ordinal] for ordinal in sorted(self.pods, reverse=True) if ordinal not in self.slots]

    @property
    def is_ordered(self) -> bool:
        return self.statefulset.spec.pod_management_policy != "Parallel"

    @property
    def min_ready_seconds(self) -> int:
        return self.statefulset.spec.min_ready_seconds or 0

    @property
    def rolling(self) -> RollingUpdateStatefulSetStrategy | None:
        """None when pods are replaced only after somebody deleted them."""
        strategy = self.statefulset.spec.update_strategy
        if strategy is not None and strategy.type == "OnDelete":
            return None
        return (strategy.rolling_update if strategy else None) or RollingUpdateStatefulSetStrategy()

    def is_up(self, pod: Pod) -> bool:
        return (
            pod.status.phase == "Running"
            and pod.metadata.deletion_timestamp is None
            and is_available(pod, self.min_ready_seconds, self.now)
        )

    def revision_for(self, ordinal: int) -> str:
        """A pod that comes back in the middle of a rollout comes back as the version it was."""
        if self.rolling is None:
            return self.update
        if self.rolling.partition is None:
            keeps = ordinal < self.start + (self.statefulset.status.current_replicas or 0)
        else:
            keeps = ordinal < self.start + self.rolling.partition
        return self.current if keeps else self.update


def ensemble(statefulset: StatefulSet, pods: Sequence[Pod], current: str, update: str, now: float) -> Ensemble:
    return Ensemble(statefulset, {ordinal_of(pod): pod for pod in pods}, current, update, now)


def plan(found: Ensemble) -> Plan:
    step = Plan()
    if not fill(found, step) and found.is_ordered:
        return step
    if not shrink(found, step) and found.is_ordered:
        return step
    if not (step.create or step.delete):
        step.delete = outdated(found)
    return step


def fill(found: Ensemble, step: Plan) -> bool:
    """Every slot has its pod. False when there is something to wait for."""
    settled = True
    for ordinal in found.slots:
        pod = found.pods.get(ordinal)
        if pod is None:
            step.create.append(ordinal)
        elif pod.metadata.deletion_timestamp is None and is_finished(pod):
            step.delete.append(pod)
        elif found.is_up(pod):
            continue
        settled = False
        if found.is_ordered:
            return False
    return settled


def shrink(found: Ensemble, step: Plan) -> bool:
    unhealthy = [pod for pod in found.condemned if not found.is_up(pod)]
    for pod in found.condemned:
        if pod.metadata.deletion_timestamp is None:
            if found.is_ordered and unhealthy and not (pod is unhealthy[-1] or found.is_up(pod)):
                return False
            step.delete.append(pod)
        if found.is_ordered:
            return False
    return not found.condemned


def outdated(found: Ensemble) -> list[Pod]:
    """The pods to replace now, from the last to the partition: those that serve nobody anyway, and as many others as may
    be missing."""
    if found.rolling is None:
        return []
    limit = found.rolling.max_unavailable
    most = max(scaled(1 if limit is None else limit, found.replicas, up=False), 1)
    missing = sum(not found.is_up(pod) for ordinal, pod in found.pods.items() if ordinal in found.slots)
    first = found.start + (found.rolling.partition or 0)
    old = [
        found.pods[ordinal]
        for ordinal in reversed(found.slots)
        if ordinal >= first and ordinal in found.pods and hash_of(found.pods[ordinal]) != found.update
    ]
    broken = [pod for pod in old if not found.is_up(pod) and pod.metadata.deletion_timestamp is None]
    healthy = [pod for pod in old if found.is_up(pod)]
    return [*broken, *healthy[: max(most - missing, 0)]]


def status_of(found: Ensemble) -> StatefulSetStatus:
    pods = list(found.pods.values())
    living = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    ready = sum(pod.status.phase == "Running" and is_ready(pod) for pod in pods)
    current = sum(hash_of(pod) == found.current for pod in living)
    updated = sum(hash_of(pod) == found.update for pod in living)
    complete = updated == ready == found.replicas == len(pods)
    return StatefulSetStatus(
        observed_generation=found.statefulset.metadata.generation,
        replicas=len(pods),
        ready_replicas=ready or None,
        available_replicas=sum(map(found.is_up, pods)),
        current_replicas=(updated if complete else current) or None,
        updated_replicas=updated or None,
        current_revision=found.update if complete else found.current,
        update_revision=found.update,
        collision_count=found.statefulset.status.collision_count or 0,
        conditions=found.statefulset.status.conditions,
    )
