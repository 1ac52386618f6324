"""What a DaemonSet needs next: pods to create on nodes, pods to delete, and why. No I/O.

A rolling update replaces pods on at most maxUnavailable nodes at once, or, with maxSurge, starts the new pod first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kybern.api.apps_v1 import DaemonSet, DaemonSetStatus, RollingUpdateDaemonSet
from kybern.api.core_v1 import Node, Pod
from kybern.controllers.daemonset.placing import by_node, judge
from kybern.reconcile.history import hash_of
from kybern.reconcile.pods import is_available, is_finished, is_ready
from kybern.reconcile.rounding import scaled


@dataclass(slots=True)
class Plan:
    create: list[str] = field(default_factory=list)
    """Names of nodes."""
    delete: list[Pod] = field(default_factory=list)
    failed: list[Pod] = field(default_factory=list)
    """Of those to delete, the ones that ended by themselves."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The DaemonSet, what is there, and how it sees it."""

    daemonset: DaemonSet
    nodes: Sequence[Node]
    pods: Mapping[str, Sequence[Pod]]
    revision: str
    now: float

    def available(self, pod: Pod) -> bool:
        return is_available(pod, self.daemonset.spec.min_ready_seconds or 0, self.now)

    @property
    def wanted_nodes(self) -> list[str]:
        return [node.metadata.name or "" for node in self.nodes if judge(self.daemonset, node).should_run]

    @property
    def is_rolling(self) -> bool:
        strategy = self.daemonset.spec.update_strategy
        return strategy is None or strategy.type != "OnDelete"

    @property
    def limits(self) -> RollingUpdateDaemonSet:
        strategy = self.daemonset.spec.update_strategy
        return (strategy.rolling_update if strategy else None) or RollingUpdateDaemonSet()

    @property
    def surge(self) -> int:
        return scaled(self.limits.max_surge or 0, len(self.wanted_nodes), up=True) if self.is_rolling else 0

    @property
    def unavailable(self) -> int:
        found = self.limits.max_unavailable
        most = scaled(1 if found is None else found, len(self.wanted_nodes), up=True)
        return most if most or self.surge else 1


def fleet(daemonset: DaemonSet, nodes: Sequence[Node], pods: Sequence[Pod], revision: str, now: float) -> Fleet:
    ordered = sorted(nodes, key=lambda node: node.metadata.name or "")
    return Fleet(daemonset, ordered, by_node(pods), revision, now)


def place(found: Fleet) -> Plan:
    """One pod for every node that should have one, none elsewhere."""
    plan = Plan()
    for node in found.nodes:
        place_on(node, found, plan)
    existing = {node.metadata.name for node in found.nodes}
    unplaced = [pod for node, pods in found.pods.items() if node not in existing for pod in pods]
    plan.delete += [pod for pod in unplaced if not pod.spec.node_name and pod.metadata.deletion_timestamp is None]
    return plan


def place_on(node: Node, found: Fleet, plan: Plan) -> None:
    verdict, name = judge(found.daemonset, node), node.metadata.name or ""
    pods = found.pods.get(name, ())
    living = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    if not verdict.may_stay:
        plan.delete += living
        return
    ended = [pod for pod in living if is_finished(pod)]
    plan.delete += ended
    plan.failed += ended
    running = [pod for pod in living if not is_finished(pod)]
    if verdict.should_run and not pods:
        plan.create.append(name)
    if len(running) > 1:
        plan.delete += superfluous(running, found)


def superfluous(running: Sequence[Pod], found: Fleet) -> list[Pod]:
    """All but the oldest; with a surge an old and a new one may be there until the new one is available."""
    ordered = sorted(running, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name or ""))
    if not found.surge:
        return ordered[1:]
    new = [pod for pod in ordered if hash_of(pod) == found.revision]
    old = [pod for pod in ordered if hash_of(pod) != found.revision]
    done = bool(new) and found.available(new[0])
    return [*new[1:], *(old if done else old[1:])]


def roll(found: Fleet) -> Plan:
    """The next step of a rolling update, once every node has its pods."""
    return surging(found) if found.surge else replacing(found)


def replacing(found: Fleet) -> Plan:
    """Delete old pods; those that are not available anyway at once, others while few enough are missing."""
    missing, free, candidates = 0, [], []
    for name in found.wanted_nodes:
        old, new = versions(found, name)
        if old is None and new is None:
            missing += 1
        elif new is not None:
            missing += not found.available(new)
        elif old is not None and old.metadata.deletion_timestamp is not None:
            missing += 1
        elif old is not None and not found.available(old):
            missing += 1
            free.append(old)
        elif old is not None:
            candidates.append(old)
    return Plan(delete=[*free, *candidates[: max(found.unavailable - missing, 0)]])


def surging(found: Fleet) -> Plan:
    """Create new pods beside old ones, on as many nodes as the surge allows."""
    surged, delete, candidates = 0, [], []
    for name in found.wanted_nodes:
        old, new = versions(found, name)
        if old is None or old.metadata.deletion_timestamp is not None:
            continue
        if new is not None:
            surged += 1
            if found.available(new):
                delete.append(old)
        elif not found.available(old):
            delete.append(old)
        else:
            candidates.append(name)
    return Plan(create=candidates[: max(found.surge - surged, 0)], delete=delete)


def versions(found: Fleet, node: str) -> tuple[Pod | None, Pod | None]:
    """The old and the new pod of a node; a new one that is being deleted does not count."""
    old = new = None
    for pod in found.pods.get(node, ()):
        if hash_of(pod) != found.revision:
            old = pod
        elif pod.metadata.deletion_timestamp is None:
            new = pod
    return old, new


def status_of(found: Fleet) -> DaemonSetStatus:
    desired = current = ready = available = updated = misscheduled = 0
    for node in found.nodes:
        pods = [pod for pod in found.pods.get(node.metadata.name or "", ()) if pod.metadata.deletion_timestamp is None]
        if not judge(found.daemonset, node).should_run:
            misscheduled += bool(pods)
            continue
        desired += 1
        current += bool(pods)
        ready += any(map(is_ready, pods))
        available += any(map(found.available, pods))
        updated += any(hash_of(pod) == found.revision for pod in pods)
    status = found.daemonset.status
    return DaemonSetStatus(
        collision_count=status.collision_count,
        conditions=status.conditions,
        observed_generation=found.daemonset.metadata.generation,
        desired_number_scheduled=desired,
        current_number_scheduled=current,
        number_misscheduled=misscheduled,
        number_ready=ready,
        number_available=available or None,
        number_unavailable=(desired - available) or None,
        updated_number_scheduled=updated or None,
    )
