"""ReplicaSet: keep exactly `spec.replicas` pods alive for every ReplicaSet.

A pass compares what is wanted with what exists; which event woke it is unknown and irrelevant.
A pass that runs twice does no harm, and a wake-up that is lost is repaired by the next one.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from kybern.api.apps_v1 import ReplicaSet, ReplicaSetCondition, ReplicaSetStatus
from kybern.api.core_v1 import Pod, PodTemplateSpec
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.client.cache import controller_uid
from kybern.reconcile import After, Context, Controller, claim
from kybern.reconcile.controller import REST_SECONDS
from kybern.reconcile.pods import is_active, next_available
from kybern.reconcile.replicas import Failure, carry_out, count, plan, with_failure


async def reconcile(rs: ReplicaSet, view: View, client: Client, context: Context) -> After | None:
    pods = await claim(rs, Pod, of_label_selector(rs.spec.selector), view, client, adoptable=is_active)
    active = [pod for pod in pods if is_active(pod)]
    template = rs.spec.template or PodTemplateSpec()

    failure = None
    if rs.metadata.deletion_timestamp is None:
        wanted = plan(replicas_of(rs), active, neighbours(rs, view), context.now)
        failure = await carry_out(wanted, rs, template, client, context)

    status = status_of(rs, pods, active, failure, context.now)
    if status != rs.status:
        await client.update_status(replace(rs, status=status))
    if failure is not None:
        raise failure.error
    wait = next_available(active, rs.spec.min_ready_seconds or 0, context.now)
    return None if wait is None else After(wait)


def replicas_of(rs: ReplicaSet) -> int:
    return 1 if rs.spec.replicas is None else rs.spec.replicas


def neighbours(rs: ReplicaSet, view: View) -> Iterator[Pod]:
    """The active pods of all ReplicaSets with the same controller, which do the same work in other versions."""
    deployment = controller_uid(rs)
    siblings = [other for other in view.list(ReplicaSet, rs.metadata.namespace) if controller_uid(other) == deployment]
    related = siblings if deployment else [rs]
    for sibling in related:
        yield from filter(is_active, view.owned_by(sibling, Pod))


def status_of(
    rs: ReplicaSet, pods: Sequence[Pod], active: Sequence[Pod], failure: Failure | None, now: float
) -> ReplicaSetStatus:
    counts = count(pods, active, rs.spec.template or PodTemplateSpec(), rs.spec.min_ready_seconds or 0, now)
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
