"""Is a Job done? How it ends is decided once, noted as a condition, and final when its last pod has stopped.

running ── enough succeeded ──▶ SuccessCriteriaMet ── no pod left ──▶ Complete
   └────── will not succeed ──▶ FailureTarget ──────── no pod left ──▶ Failed
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kybern.aio.clock import from_rfc3339
from kybern.api.batch_v1 import Job
from kybern.api.core_v1 import Pod
from kybern.api.numbers import INT32_MAX
from kybern.controllers.job import indexes
from kybern.controllers.job.failure import FAIL_JOB, action_for, message_for
from kybern.controllers.job.tally import Tally, has_failed, is_indexed

INTERIM = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}


@dataclass(frozen=True, slots=True)
class Verdict:
    type: str
    """Complete or Failed."""
    reason: str
    message: str


def noted(job: Job) -> Verdict | None:
    """What an earlier pass decided."""
    for found in job.status.conditions or ():
        for final, interim in INTERIM.items():
            if found.type == interim and found.status == "True":
                return Verdict(final, found.reason or "", found.message or "")
    return None


def is_finished(job: Job) -> bool:
    return any(found.type in INTERIM and found.status == "True" for found in job.status.conditions or ())


def decide(job: Job, count: Tally, pods: Sequence[Pod], now: float) -> Verdict | None:
    return noted(job) or failure(job, count, pods, now) or success(job, count)


def failure(job: Job, count: Tally, pods: Sequence[Pod], now: float) -> Verdict | None:
    for pod in pods:
        if has_failed(job, pod) and action_for(job, pod) == FAIL_JOB:
            return Verdict("Failed", "PodFailurePolicy", message_for(job, pod))
    if too_many_failures(job, count):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = deadline_left(job, now)
    if left is not None and left <= 0:
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    if is_indexed(job) and job.spec.backoff_limit_per_index is not None:
        return failed_indexes(job, count)
    return None


def failed_indexes(job: Job, count: Tally) -> Verdict | None:
    most = job.spec.max_failed_indexes
    if most is not None and len(count.failed_indexes) > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Verdict("Failed", "MaxFailedIndexesExceeded", message)
    if count.failed_indexes and len(count.failed_indexes | count.completed) >= (job.spec.completions or 0):
        return Verdict("Failed", "FailedIndexes", "Job has failed indexes")
    return None


def too_many_failures(job: Job, count: Tally) -> bool:
    limit = backoff_limit(job)
    if count.failed > limit:
        return True
    if job.spec.template.spec.restart_policy != "OnFailure":
        return False
    restarts = sum(
        status.restart_count
        for pod in count.active
        if pod.status.phase in ("Running", "Pending")
        for status in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ()))
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def backoff_limit(job: Job) -> int:
    """Without one, six; where each index has its own limit, none."""
    if job.spec.backoff_limit is not None:
        return job.spec.backoff_limit
    return 6 if job.spec.backoff_limit_per_index is None else INT32_MAX


def deadline_left(job: Job, now: float) -> float | None:
    limit, start = job.spec.active_deadline_seconds, job.status.start_time
    if limit is None or start is None or job.spec.suspend:
        return None
    return from_rfc3339(start) + limit - now


def success(job: Job, count: Tally) -> Verdict | None:
    policy = success_policy(job, count)
    if policy is not None:
        return policy
    if job.spec.completions is None:
        reached = count.succeeded > 0 and not count.active
    else:
        reached = count.succeeded >= job.spec.completions
    return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if reached else None


def success_policy(job: Job, count: Tally) -> Verdict | None:
    rules = job.spec.success_policy.rules if job.spec.success_policy is not None else ()
    for number, rule in enumerate(rules):
        watched = indexes.parse(rule.succeeded_indexes) if rule.succeeded_indexes else None
        done = count.completed if watched is None else count.completed & watched
        needed = rule.succeeded_count if rule.succeeded_count is not None else len(watched or ())
        if needed and len(done) >= needed:
            return Verdict("Complete", "SuccessPolicy", f"Matched rules at index {number}")
    return None
