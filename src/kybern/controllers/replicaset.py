"""ReplicaSet: keep exactly `spec.replicas` pods alive for every ReplicaSet.

A pass compares what is wanted with what exists; which event woke it is unknown and irrelevant.
A pass that runs twice does no harm, and a wake-up that is lost is repaired by the next one.
"""

from collections.abc import Iterator

from kybern.api.apps_v1 import ReplicaSet, ReplicaSetCondition, ReplicaSetStatus
from kybern.api.core_v1 import Pod
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.client.cache import controller_uid
from kybern.reconcile import After, Context, Controller, claim
from kybern.reconcile.controller import REST_SECONDS
from kybern.reconcile.pods import is_active
from kybern.reconcile.replicas import Counts, Failure, keep, with_failure


async def reconcile(rs: ReplicaSet, view: View, client: Client, context: Context) -> After | None:
    pods = await claim(rs, Pod, of_label_selector(rs.spec.selector), view, client, adoptable=is_active)

    def told(counts: Counts, failure: Failure | None) -> ReplicaSetStatus:
        return status_of(rs, counts, failure, context.now)

    return await keep(rs, pods, neighbours(rs, view), told, client, context)


def neighbours(rs: ReplicaSet, view: View) -> Iterator[Pod]:
    """The active pods of all ReplicaSets with the same controller, which do the same work in other versions."""
    deployment = controller_uid(rs)
    siblings = [other for other in view.list(ReplicaSet, rs.metadata.namespace) if controller_uid(other) == deployment]
    related = siblings if deployment else [rs]
    for sibling in related:
        yield from filter(is_active, view.owned_by(sibling, Pod))


def status_of(rs: ReplicaSet, counts: Counts, failure: Failure | None, now: float) -> ReplicaSetStatus:
    return ReplicaSetStatus(
        replicas=counts.replicas,
        fully_labeled_replicas=counts.fully_labeled or None,
        ready_replicas=counts.ready or None,
        available_replicas=counts.available or None,
        terminating_replicas=counts.terminating or None,
        observed_generation=rs.metadata.generation,
        conditions=with_failure(ReplicaSetCondition, rs.status.conditions, failure, now),
    )


REPLICASET = Controller(
    name="replicaset",
    rest_seconds=REST_SECONDS,
    reconciles=ReplicaSet,
    owns=(Pod,),
    selects=lambda rs: rs.spec.selector,
    by=reconcile,
)
