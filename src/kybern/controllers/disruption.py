"""disruption: how many pods of a PodDisruptionBudget may be evicted right now.

The API server lets an eviction through as long as `status.disruptionsAllowed` is not used up; here it is kept true.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.apps_v1 import Deployment, ReplicaSet, StatefulSet
from kybern.api.core_v1 import Pod, ReplicationController
from kybern.api.meta_v1 import Condition, OwnerReference
from kybern.api.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller, Key
from kybern.reconcile.controller import REST_SECONDS, Watch
from kybern.reconcile.ownership import controller_of
from kybern.reconcile.pods import is_active, is_ready
from kybern.reconcile.rounding import scaled

EVICTION_SECONDS_MAX = 120.0  # an eviction that was allowed and has deleted nothing by then has failed
SCALED: dict[str, type[Any]] = {
    "ReplicaSet": ReplicaSet,
    "ReplicationController": ReplicationController,
    "StatefulSet": StatefulSet,
}


class Uncountable(Exception):
    """A share of the pods is asked for, and nobody says how many there are to be."""


async def reconcile(budget: PodDisruptionBudget, view: View, client: Client, context: Context) -> After | None:
    selector = of_label_selector(budget.spec.selector)
    namespace = budget.metadata.namespace or ""
    pods = [pod for pod in view.list(Pod, namespace) if is_active(pod) and selector.matches(pod.metadata.labels)]
    pending = unsettled(budget, view, context.now)
    try:
        status = status_of(budget, pods, pending, view, context.now)
    except Uncountable as error:
        context.events.event(budget, "Warning", "CalculateExpectedPodCountFailed", str(error))
        status = failed(budget, str(error), context.now)
    if status != budget.status:
        await client.update_status(replace(budget, status=status))
    ends = [from_rfc3339(since) + EVICTION_SECONDS_MAX - context.now for since in pending.values()]
    return After(max(min(ends), 0.0)) if ends else None


def unsettled(budget: PodDisruptionBudget, view: View, now: float) -> Mapping[str, str]:
    """Pods whose eviction was allowed and has not shown yet."""
    found = {}
    for name, since in (budget.status.disrupted_pods or {}).items():
        pod = view.get(Pod, name, budget.metadata.namespace or "")
        recent = from_rfc3339(since) + EVICTION_SECONDS_MAX > now
        if pod is not None and pod.metadata.deletion_timestamp is None and recent:
            found[name] = since
    return found


@dataclass(frozen=True, slots=True)
class Demand:
    expected: int
    healthy: int


def demand(spec: PodDisruptionBudgetSpec, pods: Sequence[Pod], view: View) -> Demand:
    if spec.max_unavailable is not None:
        expected = expected_scale(pods, view)
        return Demand(expected, max(expected - scaled(spec.max_unavailable, expected, up=True), 0))
    least = 0 if spec.min_available is None else spec.min_available
    if isinstance(least, int):
        return Demand(len(pods), least)
    expected = expected_scale(pods, view)
    return Demand(expected, scaled(least, expected, up=True))


def expected_scale(pods: Sequence[Pod], view: View) -> int:
    """What the controllers of these pods are to have, each counted once."""
    found: dict[str, int] = {}
    for pod in pods:
        owner = controller_of(pod)
        if owner is None:
            raise Uncountable(f'found no controller ref for pod "{pod.metadata.name}"')
        if owner.uid not in found:
            uid, replicas = scale_of(owner, pod.metadata.namespace or "", view)
            found[uid] = replicas
            found.setdefault(owner.uid, 0)
    return sum(found.values())


def scale_of(owner: OwnerReference, namespace: str, view: View) -> tuple[str, int]:
    """The uid that counts, and its replicas: a Deployment stands for its ReplicaSets."""
    of: type[Any] | None = SCALED.get(owner.kind)
    scaled_by = view.get(of, owner.name, namespace) if of is not None else None
    if scaled_by is None:
        raise Uncountable(f"found no controllers for pod's owner {owner.kind} {owner.name}")
    above = controller_of(scaled_by)
    if above is not None and above.kind == "Deployment":
        deployment = view.get(Deployment, above.name, namespace)
        if deployment is not None:
            return above.uid, 1 if deployment.spec.replicas is None else deployment.spec.replicas
    replicas = scaled_by.spec.replicas
    return owner.uid, 1 if replicas is None else replicas


def status_of(
    budget: PodDisruptionBudget, pods: Sequence[Pod], pending: Mapping[str, str], view: View, now: float
) -> PodDisruptionBudgetStatus:
    wanted = demand(budget.spec, pods, view)
    healthy = sum(is_ready(pod) and pod.metadata.name not in pending for pod in pods)
    allowed = max(healthy - wanted.healthy, 0) if wanted.expected > 0 else 0
    reason = "SufficientPods" if allowed else "InsufficientPods"
    return PodDisruptionBudgetStatus(
        conditions=conditions_of(budget, "True" if allowed else "False", reason, "", now),
        current_healthy=healthy,
        desired_healthy=wanted.healthy,
        disruptions_allowed=allowed,
        disrupted_pods=pending or None,
        expected_pods=wanted.expected,
        observed_generation=budget.metadata.generation,
    )


def failed(budget: PodDisruptionBudget, message: str, now: float) -> PodDisruptionBudgetStatus:
    """What cannot be counted cannot be spared."""
    conditions = conditions_of(budget, "False", "SyncFailed", message, now)
    return replace(budget.status, disruptions_allowed=0, conditions=conditions)


def conditions_of(
    budget: PodDisruptionBudget, status: str, reason: str, message: str, now: float
) -> tuple[Condition, ...]:
    known = {found.type: found for found in budget.status.conditions or ()}
    before = known.get("DisruptionAllowed")
    same = before is not None and before.status == status
    known["DisruptionAllowed"] = Condition(
        type="DisruptionAllowed",
        status=status,
        reason=reason,
        message=message,
        observed_generation=budget.metadata.generation,
        last_transition_time=before.last_transition_time if before is not None and same else rfc3339(now),
    )
    return tuple(known.values())


def budgets_of_pod(pod: Pod, view: View) -> Iterable[Key]:
    for budget in view.list(PodDisruptionBudget, pod.metadata.namespace or ""):
        if of_label_selector(budget.spec.selector).matches(pod.metadata.labels):
            yield Key.of(budget)


def budgets_of_namespace(scaled_by: ReplicaSet | Deployment | StatefulSet, view: View) -> Iterable[Key]:
    """Its scale may be what a budget takes a share of."""
    return map(Key.of, view.list(PodDisruptionBudget, scaled_by.metadata.namespace or ""))


DISRUPTION = Controller(
    name="disruption",
    component="controllermanager",
    rest_seconds=REST_SECONDS,
    reconciles=PodDisruptionBudget,
    watches=(
        Watch(Pod, budgets_of_pod),
        Watch(Deployment, budgets_of_namespace),
        Watch(StatefulSet, budgets_of_namespace),
    ),
    reads=(ReplicaSet, ReplicationController),
    by=reconcile,
)
