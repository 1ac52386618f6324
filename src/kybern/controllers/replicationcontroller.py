"""ReplicationController: what ReplicaSet was before selectors could be expressions. Same pods, same order, older words."""

from collections.abc import Sequence

from msgspec.structs import replace

from kybern.api.core_v1 import (
    Pod,
    PodTemplateSpec,
    ReplicationController,
    ReplicationControllerCondition,
    ReplicationControllerStatus,
)
from kybern.api.selectors import NOTHING, Selector, of_labels
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller, claim
from kybern.reconcile.controller import REST_SECONDS
from kybern.reconcile.pods import is_active, next_available
from kybern.reconcile.replicas import Failure, carry_out, count, plan, with_failure


async def reconcile(rc: ReplicationController, view: View, client: Client, context: Context) -> After | None:
    pods = await claim(rc, Pod, selector_of(rc), view, client, adoptable=is_active)
    active = [pod for pod in pods if is_active(pod)]
    replicas = 1 if rc.spec.replicas is None else rc.spec.replicas

    failure = None
    if rc.metadata.deletion_timestamp is None:
        wanted = plan(replicas, active, active, context.now)
        failure = await carry_out(wanted, rc, rc.spec.template or PodTemplateSpec(), client, context)

    status = status_of(rc, pods, active, failure, context.now)
    if status != rc.status:
        await client.update_status(replace(rc, status=status))
    if failure is not None:
        raise failure.error
    wait = next_available(active, rc.spec.min_ready_seconds or 0, context.now)
    return None if wait is None else After(wait)


def selector_of(rc: ReplicationController) -> Selector:
    return of_labels(rc.spec.selector) if rc.spec.selector else NOTHING


def status_of(
    rc: ReplicationController, pods: Sequence[Pod], active: Sequence[Pod], failure: Failure | None, now: float
) -> ReplicationControllerStatus:
    counts = count(pods, active, rc.spec.template or PodTemplateSpec(), rc.spec.min_ready_seconds or 0, now)
    return ReplicationControllerStatus(
        replicas=counts.replicas,
        fully_labeled_replicas=counts.fully_labeled or None,
        ready_replicas=counts.ready or None,
        available_replicas=counts.available or None,
        observed_generation=rc.metadata.generation,
        conditions=with_failure(ReplicationControllerCondition, rc.status.conditions, failure, now),
    )


REPLICATIONCONTROLLER = Controller(
    name="replication",
    rest_seconds=REST_SECONDS,
    component="replication-controller",
    reconciles=ReplicationController,
    owns=(Pod,),
    selects=selector_of,
    by=reconcile,
)
