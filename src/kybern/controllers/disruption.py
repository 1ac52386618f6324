"""disruption: how many pods of a PodDisruptionBudget may be evicted right now.

The API server lets an eviction through as long as `status.disruptionsAllowed` is not used up; here it is kept true.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.apps_v1 import Deployment, ReplicaSet, StatefulSet
from kybern.api.autoscaling_v1 import Scale
from kybern.api.codec import decode
from kybern.api.core_v1 import Pod, ReplicationController
from kybern.api.errors import NotFound
from kybern.api.go_selectors import selector_text
from kybern.api.meta_v1 import Condition, LabelSelector, OwnerReference
from kybern.api.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.client.discovery import Kinds
from kybern.client.paths import path_of
from kybern.reconcile import After, Context, Controller, Key
from kybern.reconcile.controller import REST_SECONDS, Watch
from kybern.reconcile.ownership import controller_of
from kybern.reconcile.pods import is_ready
from kybern.reconcile.rounding import scaled

EVICTION_SECONDS_MAX = 120.0  # an eviction that was allowed and has deleted nothing by then has failed
SCALED: dict[str, type[Any]] = {
    "ReplicaSet": ReplicaSet,
    "ReplicationController": ReplicationController,
    "StatefulSet": StatefulSet,
}


UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the "
    "PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set "
    '".spec.minAvailable" field of the PDB to an integer value.'
)


CONTESTED = 'Pod "{}"/"{}" matches multiple PodDisruptionBudgets.  Chose "{}" arbitrarily.'

ScaleOf = Callable[[OwnerReference, Pod], tuple[str, int]]
"""The uid that counts for a pod's controller, and how many pods it is to have."""


class Uncountable(Exception):
    """A share of the pods is asked for, and nobody says how many there are to be."""


def disruption() -> Controller[PodDisruptionBudget]:
    kinds = Kinds()

    async def reconcile(budget: PodDisruptionBudget, view: View, client: Client, context: Context) -> After | None:
        selector = of_label_selector(budget.spec.selector)
        pods = [pod for pod in view.list(Pod, budget.metadata.namespace) if selector.matches(pod.metadata.labels)]
        for pod in contested(budget, pods, view.list(PodDisruptionBudget, budget.metadata.namespace)):
            message = CONTESTED.format(pod.metadata.namespace, pod.metadata.name, budget.metadata.name)
            context.events.event(pod, "Warning", "MultiplePodDisruptionBudgets", message)
        scales = await foreign_scales(pods, kinds, client, context.monotonic) if counts_owners(budget.spec) else {}
        return await tell(budget, pods, scales, view, client, context)

    return Controller(
        name="disruption",
        component="controllermanager",
        rest_seconds=REST_SECONDS,
        reconciles=PodDisruptionBudget,
        watches=(Watch(Pod, budgets_of_pod), *(Watch(of, budgets_of_namespace) for of in (Deployment, StatefulSet))),
        reads=(ReplicaSet, ReplicationController),
        by=reconcile,
    )


def contested(
    budget: PodDisruptionBudget, pods: Sequence[Pod], budgets: Iterable[PodDisruptionBudget]
) -> Iterator[Pod]:
    """The pods that other budgets select too, so that nobody may evict them. Of these budgets the first one tells."""
    labels = {label for pod in pods for label in (pod.metadata.labels or {}).items()}
    others = [
        (Key.of(one) < Key.of(budget), of_label_selector(one.spec.selector))
        for one in budgets
        if one.metadata.name != budget.metadata.name and may_select(one, labels)
    ]
    for pod in pods if others else ():
        comes_before = [before for before, selector in others if selector.matches(pod.metadata.labels)]
        if comes_before and not any(comes_before):
            yield pod


def may_select(budget: PodDisruptionBudget, labels: Set[tuple[str, str]]) -> bool:
    """Told without making its selector: most budgets of a namespace are about other pods."""
    selector = budget.spec.selector
    return selector is not None and (selector.match_labels or {}).items() <= labels


async def foreign_scales(pods: Sequence[Pod], kinds: Kinds, client: Client, now: float) -> Mapping[str, int]:
    """By uid, how many pods the controllers of other kinds are to have: whatever is served and has a scale."""
    found: dict[str, int] = {}
    for owner in {ref.uid: ref for ref in map(controller_of, pods) if ref and ref.kind not in SCALED}.values():
        await kinds.refresh(client, now)
        kind = kinds.of(owner)
        if kind is None:
            continue
        try:
            path = path_of(kind, pods[0].metadata.namespace or "", owner.name, "scale")
            scale = decode(Scale, await client.request("GET", path))
        except NotFound:
            continue
        if scale.metadata.uid == owner.uid:
            found[owner.uid] = scale.spec.replicas or 0
    return found


async def tell(
    budget: PodDisruptionBudget,
    pods: Sequence[Pod],
    scales: Mapping[str, int],
    view: View,
    client: Client,
    context: Context,
) -> After | None:
    """Write the status, and look again when an eviction is overdue."""
    if not pods:
        context.events.event(budget, "Normal", "NoPods", "No matching pods found")
    pending = unsettled(budget, pods, context)
    try:
        status = status_of(budget, pods, pending, partial(scale_of, scales, view), context.now)
        if counts_owners(budget.spec) and not all(map(controller_of, pods)):
            whom = selector_text(budget.spec.selector or LabelSelector())
            context.events.event(budget, "Warning", "UnmanagedPods", UNMANAGED.format(whom))
    except Uncountable as error:
        message = f"Failed to calculate the number of expected pods: {error}"
        context.events.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
        status = failed(budget, str(error), context.now)
    if status != budget.status:
        await client.update_status(replace(budget, status=status))
    ends = [from_rfc3339(since) + EVICTION_SECONDS_MAX - context.now for since in pending.values()]
    return After(max(min(ends), 0.0)) if ends else None


def unsettled(budget: PodDisruptionBudget, pods: Sequence[Pod], context: Context) -> Mapping[str, str]:
    """Pods whose eviction was allowed and has not shown yet."""
    found = {}
    allowed = budget.status.disrupted_pods or {}
    for pod in pods:
        since = allowed.get(pod.metadata.name or "")
        if since is None or pod.metadata.deletion_timestamp is not None:
            continue
        if from_rfc3339(since) + EVICTION_SECONDS_MAX > context.now:
            found[pod.metadata.name or ""] = since
        else:
            whose = f"{budget.metadata.namespace}/{budget.metadata.name}"
            message = f"Pod was expected by PDB {whose} to be deleted but it wasn't"
            context.events.event(pod, "Warning", "NotDeleted", message)
    return found


@dataclass(frozen=True, slots=True)
class Demand:
    expected: int
    healthy: int


def counts_owners(spec: PodDisruptionBudgetSpec) -> bool:
    """Whether it asks for a share of what the pods' controllers are to have."""
    return spec.max_unavailable is not None or isinstance(spec.min_available, str)


def demand(spec: PodDisruptionBudgetSpec, pods: Sequence[Pod], scale: ScaleOf) -> Demand:
    if spec.max_unavailable is not None:
        expected = expected_scale(pods, scale)
        return Demand(expected, max(expected - scaled(spec.max_unavailable, expected, up=True), 0))
    least = 0 if spec.min_available is None else spec.min_available
    if isinstance(least, int):
        return Demand(len(pods), least)
    expected = expected_scale(pods, scale)
    return Demand(expected, scaled(least, expected, up=True))


def expected_scale(pods: Sequence[Pod], scale: ScaleOf) -> int:
    """What the controllers of these pods are to have, each counted once."""
    found: dict[str, int] = {}
    for pod in pods:
        owner = controller_of(pod)
        if owner is None:
            continue
        if owner.uid not in found:
            uid, replicas = scale(owner, pod)
            found[uid] = replicas
            found.setdefault(owner.uid, 0)
    return sum(found.values())


def scale_of(scales: Mapping[str, int], view: View, owner: OwnerReference, pod: Pod) -> tuple[str, int]:
    """The uid that counts, and its replicas: a Deployment stands for its ReplicaSets."""
    if owner.uid in scales:
        return owner.uid, scales[owner.uid]
    namespace = pod.metadata.namespace or ""
    of: type[Any] | None = SCALED.get(owner.kind)
    scaled_by = view.get(of, owner.name, namespace) if of is not None else None
    if scaled_by is None:
        raise Uncountable(f'found no controllers for pod "{pod.metadata.name}"')
    above = controller_of(scaled_by)
    if above is not None and above.kind == "Deployment":
        deployment = view.get(Deployment, above.name, namespace)
        if deployment is not None:
            return above.uid, 1 if deployment.spec.replicas is None else deployment.spec.replicas
    replicas = scaled_by.spec.replicas
    return owner.uid, 1 if replicas is None else replicas


def status_of(
    budget: PodDisruptionBudget, pods: Sequence[Pod], pending: Mapping[str, str], scale: ScaleOf, now: float
) -> PodDisruptionBudgetStatus:
    wanted = demand(budget.spec, pods, scale)
    standing = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    healthy = sum(is_ready(pod) and pod.metadata.name not in pending for pod in standing)
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
