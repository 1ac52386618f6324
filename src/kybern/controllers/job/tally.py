"""Counting a Job's finished pods, each exactly once, whatever is lost or restarted in between.

A pod carries a finalizer until it is counted. A pass notes the finished pods in the status (`uncountedTerminatedPods`),
then takes their finalizers away; a later pass that finds a noted pod without its finalizer moves it into the counters.
Whatever fails between two of these steps, the next pass goes on from what the status says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.api.batch_v1 import Job, JobStatus, UncountedTerminatedPods
from kybern.api.core_v1 import Pod
from kybern.api.numbers import integer
from kybern.controllers.job import indexes
from kybern.controllers.job.failure import FAIL_INDEX, IGNORE, action_for
from kybern.reconcile.pods import is_active, is_finished, is_ready

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_INDEX_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
UNCOUNTED_PODS_MAX = 500  # noted at once: their uids stay under 20 kB of the status


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
    replaceable: dict[int, Pod]
    """The last failed pod of each index that is to be tried again: it is kept until its successor has its numbers."""


def is_indexed(job: Job) -> bool:
    return job.spec.completion_mode == "Indexed"


def is_tracked(pod: Pod) -> bool:
    return FINALIZER in (pod.metadata.finalizers or ())


def is_marked(job: Job) -> bool:
    """Somebody is deleting it: no pod is made any more."""
    return job.metadata.deletion_timestamp is not None


def waits_for_end(job: Job) -> bool:
    """A pod that is being deleted is replaced only after it has ended."""
    return job.spec.pod_replacement_policy == "Failed" or job.spec.pod_failure_policy is not None


def has_failed(job: Job, pod: Pod) -> bool:
    """A pod that is being deleted has failed, unless the Job waits for it to end first."""
    if pod.status.phase == "Failed":
        return True
    return pod.metadata.deletion_timestamp is not None and pod.status.phase != "Succeeded" and not waits_for_end(job)


def is_counted(job: Job, pod: Pod) -> bool:
    """A pod of an index that the Job does not have counts for nothing."""
    return not is_indexed(job) or indexes.index_of(pod) in range(job.spec.completions or 0)


def tally(job: Job, pods: Sequence[Pod], ending: str = "") -> Tally:
    """`ending`: Complete or Failed, once that is decided. Then everybody is let go, and whoever still ran has failed
    where the Job has."""
    tracked = {pod.metadata.uid or "": pod for pod in pods if is_tracked(pod)}
    noted = job.status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded, settled = still_there(noted.succeeded, tracked)
    failed, settled_failed = still_there(noted.failed, tracked)
    active = [pod for pod in pods if is_active(pod)]
    completed, lost = indexes_of(job, tracked.values())
    replaceable = {} if ending or is_marked(job) else last_failures(job, tracked.values(), active, completed | lost)
    release = []
    for uid, pod in tracked.items():
        if len(succeeded) + len(failed) >= UNCOUNTED_PODS_MAX:
            break  # the status stays small; this pass wakes the next
        gone_wrong = has_failed(job, pod) or (ending == "Failed" and pod.status.phase != "Succeeded")
        if not (ending or pod.status.phase == "Succeeded" or gone_wrong):
            continue
        if replaceable.get(indexes.index_of(pod)) is not pod:
            release.append(pod)
        if uid in succeeded or uid in failed or not is_counted(job, pod):
            continue
        if gone_wrong and action_for(job, pod) != IGNORE:
            failed[uid] = None
        elif pod.status.phase == "Succeeded" and not is_indexed(job):
            succeeded[uid] = None
    total = len(completed) if is_indexed(job) else (job.status.succeeded or 0) + settled
    total_failed = (job.status.failed or 0) + settled_failed
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
        replaceable=replaceable,
    )


def still_there(noted: Sequence[str] | None, tracked: Mapping[str, Pod]) -> tuple[dict[str, None], int]:
    """The noted pods that have their finalizer, and how many have lost it: those are counted now."""
    kept = dict.fromkeys(uid for uid in noted or () if uid in tracked)
    return kept, len(noted or ()) - len(kept)


def indexes_of(job: Job, tracked: Iterable[Pod]) -> tuple[set[int], set[int]]:
    """The completed indexes and the lost ones."""
    own = range(job.spec.completions or 0) if is_indexed(job) else range(0)
    completed = {index for index in indexes.parse(job.status.completed_indexes) if index in own}
    lost = {index for index in indexes.parse(job.status.failed_indexes) if index in own}
    for pod in tracked:
        index = indexes.index_of(pod)
        if index in own and pod.status.phase == "Succeeded":
            completed.add(index)
        elif index in own and is_lost(job, pod):
            lost.add(index)
    return completed, lost - completed


def is_lost(job: Job, pod: Pod) -> bool:
    """No pod is tried for its index any more."""
    limit = job.spec.backoff_limit_per_index
    if limit is None or not has_failed(job, pod):
        return False
    action = action_for(job, pod)
    return action == FAIL_INDEX or (action != IGNORE and failures_of(pod) >= limit)


def last_failures(job: Job, tracked: Iterable[Pod], active: Sequence[Pod], done: set[int]) -> dict[int, Pod]:
    if job.spec.backoff_limit_per_index is None:
        return {}
    settled = done | {indexes.index_of(pod) for pod in active}
    failed = (pod for pod in tracked if has_failed(job, pod) and is_counted(job, pod))
    in_order = sorted(failed, key=lambda pod: failures_of(pod) + number_of(pod, IGNORED_INDEX_FAILURES))
    return {indexes.index_of(pod): pod for pod in in_order if indexes.index_of(pod) not in settled}


def failures_of(pod: Pod) -> int:
    """How often the pod's index had failed before it."""
    return number_of(pod, INDEX_FAILURES)


def number_of(pod: Pod, annotation: str) -> int:
    return max(integer((pod.metadata.annotations or {}).get(annotation), bits=32) or 0, 0)


def failures_after(job: Job, failed: Pod | None) -> dict[str, str]:
    """What the successor of a failed pod carries on: how often its index has failed, and how often that was ignored."""
    if failed is None:
        return {INDEX_FAILURES: "0"}
    counts = action_for(job, failed) != IGNORE
    ignored = number_of(failed, IGNORED_INDEX_FAILURES) + (not counts)
    carried = {INDEX_FAILURES: str(failures_of(failed) + counts)}
    return {**carried, IGNORED_INDEX_FAILURES: str(ignored)} if ignored else carried
