"""What a DaemonSet needs next: pods to create on nodes, pods to delete, and why. No I/O.

A rolling update replaces pods on at most maxUnavailable nodes at once, or, with maxSurge, starts the new pod first. A pod
that fails on its node again and again is replaced ever later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kybern.api.apps_v1 import DaemonSet, DaemonSetStatus, RollingUpdateDaemonSet
from kybern.api.core_v1 import Node, Pod
from kybern.controllers.daemonset.placing import Verdict, by_node, judge
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
    wait_seconds: float | None = None
    """Until a failed pod may be replaced."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The DaemonSet, what is there, and how it sees it."""

    daemonset: DaemonSet
    nodes: Sequence[Node]
    pods: Mapping[str, Sequence[Pod]]
    """By node, the oldest first; without pods that have ended and are being deleted."""
    verdicts: Mapping[str, Verdict]
    """By node."""
    wanted_nodes: Sequence[str]
    revision: str
    now: float

    def available(self, pod: Pod) -> bool:
        return is_available(pod, self.daemonset.spec.min_ready_seconds or 0, self.now)

    @property
    def nodes_with_pods(self) -> list[str]:
        return sorted(name for name, pods in self.pods.items() if name and pods)

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
    there = (pod for pod in pods if not (is_finished(pod) and pod.metadata.deletion_timestamp is not None))
    verdicts = {node.metadata.name or "": judge(daemonset, node) for node in ordered}
    wanted = [name for name, verdict in verdicts.items() if verdict.should_run]
    return Fleet(daemonset, ordered, by_node(sorted(there, key=oldest_first)), verdicts, wanted, revision, now)


def oldest_first(pod: Pod) -> tuple[bool, str, str]:
    """Those that are on their node before those that wait for it."""
    return (not pod.spec.node_name, pod.metadata.creation_timestamp or "", pod.metadata.name or "")


def living(pods: Sequence[Pod]) -> list[Pod]:
    return [pod for pod in pods if pod.metadata.deletion_timestamp is None]


def at_once(node: str) -> float:
    return 0.0


def place(found: Fleet, wait_for: Callable[[str], float] = at_once) -> Plan:
    """One pod for every node that should have one, none elsewhere. `wait_for` tells how many seconds a failed pod on a
    node has to stay before it is replaced."""
    plan = Plan()
    for node in found.nodes:
        place_on(node, found, plan, wait_for)
    existing = {node.metadata.name for node in found.nodes}
    unplaced = [pod for node, pods in found.pods.items() if node not in existing for pod in living(pods)]
    plan.delete += [pod for pod in unplaced if not pod.spec.node_name]
    return plan


def place_on(node: Node, found: Fleet, plan: Plan, wait_for: Callable[[str], float]) -> None:
    name = node.metadata.name or ""
    verdict = found.verdicts[name]
    pods = found.pods.get(name, ())
    if not verdict.may_stay:
        plan.delete += living(pods)
        return
    running = [pod for pod in living(pods) if not is_finished(pod)]
    replace_ended([pod for pod in living(pods) if is_finished(pod)], name, plan, wait_for)
    if verdict.should_run and not (running if found.surge else pods):
        plan.create.append(name)
    if len(running) > 1:
        plan.delete += superfluous(running, found)


def replace_ended(ended: Sequence[Pod], node: str, plan: Plan, wait_for: Callable[[str], float]) -> None:
    wait = wait_for(node) if any(pod.status.phase == "Failed" for pod in ended) else 0.0
    if wait > 0:
        plan.wait_seconds = min(wait, wait if plan.wait_seconds is None else plan.wait_seconds)
    due = [pod for pod in ended if wait <= 0 or pod.status.phase != "Failed"]
    plan.delete += due
    plan.failed += due


def superfluous(running: Sequence[Pod], found: Fleet) -> list[Pod]:
    """All but the oldest; with a surge an old and a new one may be there while the old one still has to serve."""
    if not found.surge:
        return list(running[1:])
    new = [pod for pod in running if hash_of(pod) == found.revision]
    old = [pod for pod in running if hash_of(pod) != found.revision]
    done = bool(new and old) and (not is_ready(old[0]) or found.available(new[0]))
    return [*new[1:], *(old if done else old[1:])]


def roll(found: Fleet) -> Plan:
    """The next step of a rolling update, once every node has its pods."""
    return surging(found) if found.surge else replacing(found)


def replacing(found: Fleet) -> Plan:
    """Delete old pods; those that are not available anyway at once, others while few enough are missing."""
    missing, free, candidates = 0, [], []
    for name in found.nodes_with_pods:
        old, new = versions(found, name)
        if bool(old) == bool(new):
            missing += 1  # one is on its way, or too many are: placing sees to it
        elif new:
            missing += not found.available(new[0])
        elif found.available(old[0]):
            candidates.append(old[0])
        else:
            missing += 1
            free.append(old[0])
    return Plan(delete=[*free, *candidates[: max(found.unavailable - missing, 0)]])


def surging(found: Fleet) -> Plan:
    """Create new pods beside old ones, on as many nodes as the surge allows. Where none should run any more, an old one
    stays until enough are available elsewhere."""
    surged, available, plan = 0, 0, Plan()
    candidates: list[str] = []
    astray: list[Pod] = []
    wanted = set(found.wanted_nodes)
    for name in found.nodes_with_pods:
        old, new = versions(found, name)
        available += any(map(found.available, (*old, *new)))
        if not old:
            continue
        if new and found.available(new[0]):
            plan.delete.append(old[0])
        elif new:
            surged += 1
        elif name not in wanted:
            (astray if found.available(old[0]) else plan.delete).append(old[0])
        elif found.available(old[0]):
            candidates.append(name)
        else:
            plan.create.append(name)
    plan.create += candidates[: max(found.surge - surged, 0)]
    plan.delete += astray[: max(available - len(wanted), 0)]
    return plan


def versions(found: Fleet, node: str) -> tuple[list[Pod], list[Pod]]:
    """The old and the new pods of a node, without those that are on their way out."""
    pods = living(found.pods.get(node, ()))
    old = [pod for pod in pods if hash_of(pod) != found.revision]
    return old, [pod for pod in pods if hash_of(pod) == found.revision]


def status_of(found: Fleet) -> DaemonSetStatus:
    desired = current = ready = available = updated = misscheduled = 0
    for node in found.nodes:
        pods = found.pods.get(node.metadata.name or "", ())
        if not found.verdicts[node.metadata.name or ""].should_run:
            misscheduled += bool(pods)
            continue
        desired += 1
        for pod in pods[:1]:
            current += 1
            ready += is_ready(pod)
            available += found.available(pod)
            updated += hash_of(pod) == found.revision
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
