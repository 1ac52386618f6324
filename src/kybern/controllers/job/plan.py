"""Which pods of a Job to start and to stop, while it runs. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kybern.aio.backoff import Backoff
from kybern.aio.clock import from_rfc3339
from kybern.api.batch_v1 import Job
from kybern.api.core_v1 import Pod
from kybern.controllers.job import indexes
from kybern.controllers.job.tally import Tally, failures_of, has_failed, is_indexed
from kybern.reconcile.pods import is_ready

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
        surplus += sorted(keeping, key=cost_of_losing)[: len(keeping) - wanted]
    missing = wanted - len(keeping)
    if job.spec.pod_replacement_policy == "Failed" or job.spec.pod_failure_policy is not None:
        missing -= count.terminating
    if missing <= 0 or surplus:
        return Plan(delete=surplus)
    wait = seconds_to_wait(job, count, pods, now)
    if wait > 0:
        return Plan(wait_seconds=wait)
    return Plan(create=next_indexes(job, count, min(missing, BURST_PODS_MAX)))


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
    for pod in sorted(count.active, key=cost_of_losing, reverse=True):
        index = indexes.index_of(pod)
        if index in seen or not 0 <= index < (job.spec.completions or 0):
            found.append(pod)
        seen = seen | {index}
    return found


def next_indexes(job: Job, count: Tally, missing: int) -> list[int]:
    if not is_indexed(job):
        return [-1] * missing
    taken = count.completed | count.failed_indexes | {indexes.index_of(pod) for pod in count.active}
    free = (index for index in range(job.spec.completions or 0) if index not in taken)
    return [index for index, _ in zip(free, range(missing), strict=False)]


def cost_of_losing(pod: Pod) -> tuple[bool, bool, bool]:
    return (bool(pod.spec.node_name), pod.status.phase == "Running", is_ready(pod))


def seconds_to_wait(job: Job, count: Tally, pods: Sequence[Pod], now: float) -> float:
    """After a failure, longer each time; a Job of many indexes retries each on its own."""
    if not count.failed or job.spec.backoff_limit_per_index is not None:
        return 0.0
    last = max((ended_at(pod) for pod in pods if has_failed(job, pod)), default=0.0)
    return max(last + RETRY.delay(count.failed) - now, 0.0) if last else 0.0


def ended_at(pod: Pod) -> float:
    """When its last container ended; 0 when that is not known."""
    states = [status.state for status in pod.status.container_statuses or () if status.state is not None]
    times = [state.terminated.finished_at for state in states if state.terminated and state.terminated.finished_at]
    return max(map(from_rfc3339, times), default=0.0)


def failures_before(index: int, pods: Sequence[Pod], job: Job) -> int:
    """How often this index has failed, by the pods that are still there to tell."""
    found = [pod for pod in pods if indexes.index_of(pod) == index and has_failed(job, pod)]
    return max((failures_of(pod) + 1 for pod in found), default=0)
