"""Keep a number of like pods: what ReplicaSet and ReplicationController do, whatever the owner's type.

Which pod goes first when there are too many: the one whose loss costs least, in upstream's order.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.apps_v1 import ReplicaSetCondition
from kybern.api.core_v1 import Pod, PodTemplateSpec, ReplicationControllerCondition
from kybern.api.errors import ApiError, NotFound
from kybern.api.numbers import integer
from kybern.client import Client
from kybern.reconcile.bursts import at_once, slow_start
from kybern.reconcile.controller import After, Context
from kybern.reconcile.pods import (
    is_active,
    is_available,
    is_namespace_terminating,
    is_ready,
    is_terminating,
    next_available,
    pod_from,
    ready_since,
)

C = TypeVar("C", bound=ReplicaSetCondition | ReplicationControllerCondition)

BURST_PODS_MAX = 500  # Per pass: a broken template should fail 500 times, not 50 000 times.
PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


async def keep(
    owner: Any,
    pods: Sequence[Pod],
    neighbours: Iterable[Pod],
    told: Callable[["Counts", "Failure | None"], Any],
    client: Client,
    context: Context,
) -> After | None:
    """One pass over an owner of pods that are all alike: as many as it wants, and its status, which `told` makes of their
    numbers. `neighbours`: see `plan`."""
    spec, now = owner.spec, context.now
    template, min_ready = spec.template or PodTemplateSpec(), spec.min_ready_seconds or 0
    active = [pod for pod in pods if is_active(pod)]
    failure = None
    if owner.metadata.deletion_timestamp is None:
        wanted = plan(1 if spec.replicas is None else spec.replicas, active, neighbours, now)
        failure = await carry_out(wanted, owner, template, client, context)
    status = told(count(pods, active, template, min_ready, now), failure)
    if status != owner.status:
        await client.update_status(replace(owner, status=status))
    if failure is not None:
        raise failure.error
    wait = next_available(active, min_ready, now)
    return None if wait is None else After(wait)


@dataclass(frozen=True, slots=True)
class Plan:
    create: int = 0
    delete: tuple[Pod, ...] = ()


def plan(replicas: int, active: Sequence[Pod], neighbours: Iterable[Pod] = (), now: float = 0.0) -> Plan:
    """What leaves `replicas` pods. `neighbours` are the active pods of the same kind of work: a node that has many of
    them loses one first."""
    surplus = len(active) - replicas
    if surplus <= 0:
        return Plan(create=min(-surplus, BURST_PODS_MAX))
    crowd = Counter(pod.spec.node_name for pod in neighbours)
    cheapest_first = sorted(active, key=lambda pod: cost_of_losing(pod, crowd, now))
    return Plan(delete=tuple(cheapest_first[: min(surplus, BURST_PODS_MAX)]))


def cost_of_losing(pod: Pod, crowd: Counter[str | None], now: float) -> tuple[float, ...]:
    """Cheapest first: without a node, not running, not ready, marked as cheap, one of many on its node, ready for a
    short time, restarted often, young."""
    since = ready_since(pod)
    return (
        *_state(pod),
        deletion_cost(pod),
        -crowd[pod.spec.node_name],
        magnitude(now - since) if since is not None else 0,
        *_age(pod),
    )


def standing(pod: Pod) -> tuple[float, ...]:
    """The same order for pods that are not all alike: nobody marks them, and who was ready first stays longest."""
    since = ready_since(pod)
    return (*_state(pod), -since if since is not None else 0, *_age(pod))


def _state(pod: Pod) -> tuple[float, ...]:
    return (bool(pod.spec.node_name), PHASES.get(pod.status.phase or "Pending", 0), is_ready(pod))


def _age(pod: Pod) -> tuple[float, ...]:
    created = from_rfc3339(pod.metadata.creation_timestamp) if pod.metadata.creation_timestamp else math.inf
    return (-restarts(pod), -created)


def deletion_cost(pod: Pod) -> int:
    return integer((pod.metadata.annotations or {}).get(DELETION_COST), bits=32) or 0


def magnitude(seconds: float) -> float:
    """Ages count by their order of magnitude, so that it is not always the very youngest."""
    return math.floor(math.log2(seconds)) + 1 if seconds >= 1 else 0


def restarts(pod: Pod) -> int:
    return max((status.restart_count for status in pod.status.container_statuses or ()), default=0)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a plan could not be carried out, as its owner's condition tells."""

    reason: str
    error: Exception


async def carry_out(
    wanted: Plan, owner: Any, template: PodTemplateSpec, client: Client, context: Context
) -> Failure | None:
    pod = pod_from(template, owner)

    async def create(_: int) -> None:
        made = await client.create(pod)
        context.events.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {made.metadata.name}")

    async def delete(doomed: Pod) -> None:
        meta = doomed.metadata
        try:
            await client.delete(Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "")
        except NotFound:
            return
        context.events.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name}")

    _, refused = await slow_start(range(wanted.create), create)
    if refused is not None:
        return told(owner, "FailedCreate", "Error creating", refused, context)
    _, stuck = await at_once(wanted.delete, delete)
    return None if stuck is None else told(owner, "FailedDelete", "Error deleting", stuck, context)


def told(owner: Any, reason: str, doing: str, error: Exception, context: Context) -> Failure | None:
    if not isinstance(error, ApiError):
        raise error
    if is_namespace_terminating(error):
        return None
    context.events.event(owner, "Warning", reason, f"{doing}: {error.message}")
    return Failure(reason, error)


def with_failure(
    made: Callable[..., C], known: Iterable[C] | None, failure: Failure | None, now: float
) -> tuple[C, ...] | None:
    """The owner's conditions: ReplicaFailure, of the type `made`, is there exactly while something fails."""
    conditions: list[C] = list(known or ())
    others = [condition for condition in conditions if condition.type != "ReplicaFailure"]
    before = next((condition for condition in conditions if condition.type == "ReplicaFailure"), None)
    if failure is None:
        return tuple(others) or None
    if before is None or before.reason != failure.reason:
        before = made(
            type="ReplicaFailure",
            status="True",
            reason=failure.reason,
            message=str(failure.error),
            last_transition_time=rfc3339(now),
        )
    return (*others, before)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a status tells of the pods."""

    replicas: int
    fully_labeled: int
    ready: int
    available: int
    terminating: int


def count(pods: Sequence[Pod], active: Sequence[Pod], template: PodTemplateSpec, min_ready: int, now: float) -> Counts:
    wanted = (template.metadata.labels or {}).items()
    return Counts(
        replicas=len(active),
        fully_labeled=sum(wanted <= (pod.metadata.labels or {}).items() for pod in active),
        ready=sum(map(is_ready, active)),
        available=sum(is_available(pod, min_ready, now) for pod in active),
        terminating=sum(map(is_terminating, pods)),
    )
