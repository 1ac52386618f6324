"""ReplicationController: what ReplicaSet was before selectors could be expressions. Same pods, same order, older words."""

from kybern.api.core_v1 import (
    Pod,
    ReplicationController,
    ReplicationControllerCondition,
    ReplicationControllerStatus,
)
from kybern.api.selectors import NOTHING, Selector, of_labels
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller, claim
from kybern.reconcile.controller import REST_SECONDS
from kybern.reconcile.pods import is_active
from kybern.reconcile.replicas import Counts, Failure, keep, with_failure


async def reconcile(rc: ReplicationController, view: View, client: Client, context: Context) -> After | None:
    pods = await claim(rc, Pod, selector_of(rc), view, client, adoptable=is_active)

    def told(counts: Counts, failure: Failure | None) -> ReplicationControllerStatus:
        return status_of(rc, counts, failure, context.now)

    return await keep(rc, pods, filter(is_active, pods), told, client, context)


def selector_of(rc: ReplicationController) -> Selector:
    return of_labels(rc.spec.selector) if rc.spec.selector else NOTHING


def status_of(
    rc: ReplicationController, counts: Counts, failure: Failure | None, now: float
) -> ReplicationControllerStatus:
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
