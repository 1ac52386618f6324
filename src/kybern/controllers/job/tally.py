"""Counting a Job's finished pods, each exactly once, whatever is lost or restarted in between.

A pod carries a finalizer until it is counted. A pass notes the finished pods in the status (`uncountedTerminatedPods`),
then takes their finalizers away; a later pass that finds a noted pod without its finalizer moves it into the counters.
Whatever fails between two of these steps, the next pass goes on from what the status says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.api.batch_v1 import Job, JobStatus, UncountedTerminatedPods
from kybern.api.core_v1 import Pod
from kybern.controllers.job import indexes
from kybern.controllers.job.failure import FAIL_INDEX, IGNORE, action_for
from kybern.reconcile.pods import is_active, is_finished, is_ready

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"


@dataclass(frozen=True, slots=True)
class Tally:
    status: JobStatus
    """With the counters and the noted pods brought up to date."""
    active: list[Pod]
    terminating: int
    succeeded: int
    """Counted and noted together."""
    failed: int
    completed: set[int]
    failed_indexes: set[int]
    release: list[Pod]
    """Noted pods, to be freed of the finalizer once the status is written."""


def is_indexed(job: Job) -> bool:
    return job.spec.completion_mode == "Indexed"


def is_tracked(pod: Pod) -> bool:
    return FINALIZER in (pod.metadata.finalizers or ())


def has_failed(job: Job, pod: Pod) -> bool:
    """A pod that is being deleted has failed, unless the Job waits for it to end first."""
    if pod.status.phase == "Failed":
        return True
    waits = job.spec.pod_replacement_policy == "Failed" or job.spec.pod_failure_policy is not None
    return pod.metadata.deletion_timestamp is not None and pod.status.phase != "Succeeded" and not waits


def tally(job: Job, pods: Sequence[Pod]) -> Tally:
    noted = job.status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded, failed = dict.fromkeys(noted.succeeded or ()), dict.fromkeys(noted.failed or ())
    tracked = {pod.metadata.uid or "": pod for pod in pods if is_tracked(pod)}
    counted = job.status.succeeded or 0, job.status.failed or 0
    settled = [uid for uid in succeeded if uid not in tracked], [uid for uid in failed if uid not in tracked]
    completed = indexes.parse(job.status.completed_indexes)
    lost = indexes.parse(job.status.failed_indexes)
    release = []
    for uid, pod in tracked.items():
        index = indexes.index_of(pod)
        if uid in succeeded or uid in failed:
            release.append(pod)
        elif pod.status.phase == "Succeeded":
            release.append(pod)
            if not is_indexed(job):
                succeeded[uid] = None
            elif 0 <= index < (job.spec.completions or 0):
                completed.add(index)
        elif has_failed(job, pod):
            release.append(pod)
            action = action_for(job, pod)
            if action != IGNORE:
                failed[uid] = None
            if index >= 0 and index_is_lost(job, pod, action):
                lost.add(index)
    lost -= completed
    for uid in settled[0]:
        del succeeded[uid]
    for uid in settled[1]:
        del failed[uid]
    total = len(completed) if is_indexed(job) else counted[0] + len(settled[0])
    total_failed = counted[1] + len(settled[1])
    active = [pod for pod in pods if is_active(pod)]
    terminating = sum(pod.metadata.deletion_timestamp is not None and not is_finished(pod) for pod in pods)
    status = replace(
        job.status,
        succeeded=total or None,
        failed=total_failed or None,
        active=len(active) or None,
        ready=sum(map(is_ready, active)),
        terminating=terminating,
        completed_indexes=indexes.format(completed) or None,
        failed_indexes=indexes.format(lost) if job.spec.backoff_limit_per_index is not None else None,
        uncounted_terminated_pods=UncountedTerminatedPods(
            succeeded=tuple(succeeded) or None, failed=tuple(failed) or None
        ),
    )
    return Tally(
        status=status,
        active=active,
        terminating=terminating,
        succeeded=total + (0 if is_indexed(job) else len(succeeded)),
        failed=total_failed + len(failed),
        completed=completed,
        failed_indexes=lost,
        release=release,
    )


def index_is_lost(job: Job, pod: Pod, action: str) -> bool:
    """No pod is tried for the index any more."""
    limit = job.spec.backoff_limit_per_index
    return limit is not None and (action == FAIL_INDEX or (action != IGNORE and failures_of(pod) >= limit))


def failures_of(pod: Pod) -> int:
    """How often the pod's index had failed before it."""
    text = (pod.metadata.annotations or {}).get(INDEX_FAILURES, "")
    return int(text) if text.isdecimal() else 0
