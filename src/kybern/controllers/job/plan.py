"""Which pods of a Job to start and to stop, while it runs. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kybern.aio.backoff import Backoff
from kybern.aio.clock import from_rfc3339
from kybern.api.batch_v1 import Job
from kybern.api.core_v1 import Pod
from kybern.controllers.job import indexes
from kybern.controllers.job.tally import (
    IGNORED_INDEX_FAILURES,
    Tally,
    failures_of,
    has_failed,
    is_indexed,
    number_of,
    waits_for_end,
)
from kybern.reconcile.pods import condition, is_terminating
from kybern.reconcile.replicas import standing

BURST_PODS_MAX = 500
RETRY = Backoff(first_seconds=10.0, max_seconds=600.0)


@dataclass(slots=True)
class Plan:
    create: list[int] = field(default_factory=list)
    """Completion indexes; -1 for a pod that has none."""
    delete: list[Pod] = field(default_factory=list)
    wait_seconds: float | None = None


def plan(job: Job, count: Tally, pods: Sequence[Pod], now: float) -> Plan:
    if job.spec.suspend:
        return Plan(delete=count.active)
    wanted = wanted_active(job, count)
    surplus = superfluous(job, count)
    keeping = [pod for pod in count.active if pod not in surplus]
    if len(keeping) > wanted:
        surplus += sorted(keeping, key=standing)[: len(keeping) - wanted]
    missing = wanted - len(keeping)
    if waits_for_end(job):
        missing -= count.terminating
    if missing <= 0 or surplus:
        return Plan(delete=surplus[:BURST_PODS_MAX])
    if job.spec.backoff_limit_per_index is not None:
        return retry_each(count, next_indexes(job, count, pods, min(missing, BURST_PODS_MAX)), now)
    wait = seconds_to_wait(job, pods, now)
    if wait > 0:
        return Plan(wait_seconds=wait)
    return Plan(create=next_indexes(job, count, pods, min(missing, BURST_PODS_MAX)))


def retry_each(count: Tally, wanted: Sequence[int], now: float) -> Plan:
    """Each index waits for itself; when all wait, look again when the first one is due."""
    waits = {index: seconds_to_wait_for(count.replaceable.get(index), now) for index in wanted}
    due = [index for index, wait in waits.items() if wait <= 0]
    return Plan(create=due, wait_seconds=min((wait for wait in waits.values() if wait > 0), default=None))


def wanted_active(job: Job, count: Tally) -> int:
    parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
    if job.spec.completions is None:
        return len(count.active) if count.succeeded else parallelism
    left = job.spec.completions - count.succeeded - len(count.failed_indexes)
    return max(min(left, parallelism), 0)


def superfluous(job: Job, count: Tally) -> list[Pod]:
    """Pods of an index that has another one, is done, or is none of the Job's any more."""
    if not is_indexed(job):
        return []
    seen = count.completed | count.failed_indexes
    found = []
    for pod in sorted(count.active, key=standing, reverse=True):
        index = indexes.index_of(pod)
        if index in seen or not 0 <= index < (job.spec.completions or 0):
            found.append(pod)
        seen = seen | {index}
    return found


def next_indexes(job: Job, count: Tally, pods: Sequence[Pod], missing: int) -> list[int]:
    if not is_indexed(job):
        return [-1] * missing
    held = [pod for pod in pods if is_terminating(pod)] if waits_for_end(job) else []
    taken = count.completed | count.failed_indexes | {indexes.index_of(pod) for pod in (*count.active, *held)}
    free = (index for index in range(job.spec.completions or 0) if index not in taken)
    return [index for index, _ in zip(free, range(missing), strict=False)]


def seconds_to_wait(job: Job, pods: Sequence[Pod], now: float) -> float:
    """After each failure since the last success, longer each time."""
    last_success = max((ended_at(pod) for pod in pods if pod.status.phase == "Succeeded"), default=0.0)
    failures = [ended for ended in (ended_at(pod) for pod in pods if has_failed(job, pod)) if ended > last_success]
    return max(max(failures) + RETRY.delay(len(failures)) - now, 0.0) if failures else 0.0


def seconds_to_wait_for(failed: Pod | None, now: float) -> float:
    """Until the successor of a failed pod may start; none has failed before a first one."""
    if failed is None:
        return 0.0
    failures = failures_of(failed) + number_of(failed, IGNORED_INDEX_FAILURES) + 1
    return max(ended_at(failed) + RETRY.delay(failures) - now, 0.0)


def ended_at(pod: Pod) -> float:
    """When its last container ended, or else it was no longer ready, was deleted, or was made."""
    states = [status.state for status in pod.status.container_statuses or () if status.state is not None]
    times = [state.terminated.finished_at for state in states if state.terminated and state.terminated.finished_at]
    if times and len(times) == len(states):
        return max(map(from_rfc3339, times))
    ready, meta = condition(pod, "Ready"), pod.metadata
    if ready is not None and ready.status == "False" and ready.last_transition_time:
        return from_rfc3339(ready.last_transition_time)
    if meta.deletion_timestamp is not None:
        return from_rfc3339(meta.deletion_timestamp) - (meta.deletion_grace_period_seconds or 0)
    return from_rfc3339(meta.creation_timestamp) if meta.creation_timestamp else 0.0
