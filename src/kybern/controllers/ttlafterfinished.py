"""TTL after finished: a finished Job with `ttlSecondsAfterFinished` is deleted that long after its end."""

from kybern.aio.clock import from_rfc3339
from kybern.api.batch_v1 import Job
from kybern.api.errors import Conflict, NotFound
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller


async def reconcile(job: Job, view: View, client: Client, context: Context) -> After | None:
    wait = seconds_left(job, context.now)
    if wait is None or wait > 0:
        return None if wait is None else After(wait)
    meta = job.metadata
    try:
        fresh = await client.get(Job, meta.name or "", meta.namespace or "")
        if seconds_left(fresh, context.now) != 0.0:
            return None  # somebody has given it more time, which the View has not heard of yet
        await client.delete(Job, meta.name or "", meta.namespace or "", uid=meta.uid or "", propagation="Foreground")
    except (NotFound, Conflict):
        pass
    return None


def seconds_left(job: Job, now: float) -> float | None:
    """Until its deletion; None while it runs, or when it is to stay."""
    ttl = job.spec.ttl_seconds_after_finished
    ended = finished_at(job)
    if ttl is None or ended is None or job.metadata.deletion_timestamp is not None:
        return None
    return max(ended + ttl - now, 0.0)


def finished_at(job: Job) -> float | None:
    for found in job.status.conditions or ():
        if found.type in ("Complete", "Failed") and found.status == "True" and found.last_transition_time:
            return from_rfc3339(found.last_transition_time)
    return None


TTLAFTERFINISHED = Controller(
    name="ttl-after-finished",
    reconciles=Job,
    concerns=lambda job: job.spec.ttl_seconds_after_finished is not None,
    by=reconcile,
)
