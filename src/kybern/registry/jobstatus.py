"""What a job's status may become: its end is final, its counters only grow, and what it tells fits together.

Whoever controls a job may write its status (`spec.managedBy`), so the API server holds them all to the same rules. A rule is
asked only where what it looks at is not what it was: a status that breaks one may still be mended elsewhere, and one that
a change of the spec has made wrong is its controller's to mend.
"""

from collections.abc import Iterator

from kybern.api.batch_v1 import Job, JobStatus, UncountedTerminatedPods
from kybern.api.invalid import FieldError, duplicate, invalid_value, required
from kybern.registry.jobpolicies import counted, first_common, without_value
from kybern.registry.workloads import Counts

COUNTS = Counts(
    (("active", "active"), ("succeeded", "succeeded"), ("failed", "failed"), ("ready", "ready"),
     ("terminating", "terminating"))
)  # fmt: skip
FIELDS = JobStatus.__struct_fields__
CONDITIONS = ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet")
FINAL = ("Failed", "Complete", "FailureTarget")
EXCLUSIVE = (
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
    ("SuccessCriteriaMet", "FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
)
NEEDED_FIRST = (
    ("Failed", "FailureTarget", "cannot set Failed=True condition without the FailureTarget=true condition"),
    ("Complete", "SuccessCriteriaMet", "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
)  # fmt: skip


def validate_status(job: Job, old: Job) -> Iterator[FieldError]:
    differs = differences(job.status, old.status)
    yield from COUNTS(job, old)
    yield from validate_uncounted(job.status.uncounted_terminated_pods)
    yield from validate_conditions(job, old, differs)
    yield from validate_times(job, old, differs)
    yield from validate_pods(job, old, differs)
    yield from validate_indexes(job, differs)


def differences(status: JobStatus, old: JobStatus) -> frozenset[str]:
    """The fields that are not what they were, the conditions that came or went, and `finished`."""
    fields = {name for name in FIELDS if (getattr(status, name) or None) != (getattr(old, name) or None)}
    if status.failed_indexes != old.failed_indexes:  # none, and an empty list of them, are two things
        fields.add("failed_indexes")
    conditions = {name for name in CONDITIONS if holds(status, name) != holds(old, name)}
    return frozenset(fields | conditions | ({"finished"} if is_finished(status) != is_finished(old) else set()))


def holds(status: JobStatus, condition: str) -> bool:
    return any(found.type == condition and found.status == "True" for found in status.conditions or ())


def is_finished(status: JobStatus) -> bool:
    return holds(status, "Complete") or holds(status, "Failed")


def validate_uncounted(uncounted: UncountedTerminatedPods | None) -> Iterator[FieldError]:
    seen: set[str] = set()
    for field in ("succeeded", "failed") if uncounted is not None else ():
        for index, uid in enumerate(getattr(uncounted, field) or ()):
            at = f"status.uncountedTerminatedPods.{field}[{index}]"
            if not uid:
                yield invalid_value(at, uid, "must not be empty")
            elif uid in seen:
                yield duplicate(at, uid)
            seen.add(uid)


def counts_more(uncounted: UncountedTerminatedPods | None) -> bool:
    return uncounted is not None and bool(uncounted.failed or uncounted.succeeded)


def validate_conditions(job: Job, old: Job, differs: frozenset[str]) -> Iterator[FieldError]:
    """How it ends is said once, and before it has ended."""
    status, before, at = job.status, old.status, "status.conditions"
    for one, other, why in EXCLUSIVE:
        if differs & {one, other} and holds(status, one) and holds(status, other):
            yield without_value(at, why)
    for final, interim, why in NEEDED_FIRST:
        if differs & {final, interim} and holds(status, final) and not holds(status, interim):
            yield without_value(at, why)
    for name in FINAL:
        if holds(before, name) and not holds(status, name):
            yield without_value(at, f"cannot disable the terminal {name}=True condition")
    if holds(before, "SuccessCriteriaMet") and not holds(status, "SuccessCriteriaMet"):
        yield without_value(at, "cannot disable the SuccessCriteriaMet=True condition")
    if holds(before, "Complete") and "SuccessCriteriaMet" in differs and holds(status, "SuccessCriteriaMet"):
        why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        yield without_value(at, why)


def validate_times(job: Job, old: Job, differs: frozenset[str]) -> Iterator[FieldError]:
    status, before = job.status, old.status
    start, end, complete = status.start_time, status.completion_time, holds(status, "Complete")
    if differs & {"Complete", "completion_time"}:
        if end and not complete:
            why = "cannot set completionTime when there is no Complete=True condition"
            yield invalid_value("status.completionTime", end, why)
        if complete and not end:
            yield required("status.completionTime", "completionTime is required for Complete jobs")
    if differs & {"start_time", "completion_time"} and start and end and end < start:
        yield invalid_value("status.completionTime", end, "completionTime cannot be set before startTime")
    if end and before.completion_time and end != before.completion_time:
        yield invalid_value("status.completionTime", end, "completionTime cannot be mutated")
    if "start_time" in differs and before.start_time and not job.spec.suspend:
        yield required("status.startTime", "startTime cannot be removed for unsuspended job")
    never_runs = bool(job.spec.suspend) and job.spec.completions == 0
    if differs & {"finished", "start_time"} and is_finished(status) and not start and not never_runs:
        yield required("status.startTime", "startTime is required for finished job")


def validate_pods(job: Job, old: Job, differs: frozenset[str]) -> Iterator[FieldError]:
    """What is counted of its pods; those of an indexed job that shrinks may be fewer than before."""
    status, before = job.status, old.status
    uncounted = status.uncounted_terminated_pods
    finished = is_finished(status)
    if (status.failed or 0) < (before.failed or 0):
        yield invalid_value("status.failed", status.failed or 0, "cannot decrease the failed counter")
    elastic = job.spec.completion_mode == "Indexed" and job.spec.completions == job.spec.parallelism
    if (status.succeeded or 0) < (before.succeeded or 0) and not elastic:
        yield invalid_value("status.succeeded", status.succeeded or 0, "cannot decrease the succeeded counter")
    for field in ("active", "terminating"):
        count = getattr(status, field) or 0
        if differs & {"finished", field} and count > 0 and finished:
            yield invalid_value(f"status.{field}", count, f"{field}>0 is invalid for finished job")
    if differs & {"finished", "uncounted_terminated_pods"} and finished and counts_more(uncounted):
        why = "uncountedTerminatedPods needs to be empty for finished job"
        yield invalid_value("status.uncountedTerminatedPods", uncounted, why)
    if differs & {"ready", "active"} and status.ready is not None and status.ready > (status.active or 0):
        yield invalid_value("status.ready", status.ready, "cannot set more ready pods than active")


def validate_indexes(job: Job, differs: frozenset[str]) -> Iterator[FieldError]:
    done, failed, spec = job.status.completed_indexes or "", job.status.failed_indexes, job.spec
    if "completed_indexes" in differs:
        yield from validate_format("completedIndexes", done, spec.completions)
        if done and spec.completion_mode != "Indexed":
            why = "cannot set non-empty completedIndexes when non-indexed completion mode"
            yield invalid_value("status.completedIndexes", done, why)
    if "failed_indexes" in differs and failed is not None:
        if spec.backoff_limit_per_index is None:
            why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            yield invalid_value("status.failedIndexes", failed, why)
        else:
            yield from validate_format("failedIndexes", failed, spec.completions)
    if differs & {"completed_indexes", "failed_indexes"} and failed and done:
        both = first_common(done, failed)
        if both is not None:
            why = f"failedIndexes and completedIndexes overlap at index: {both}"
            yield invalid_value("status.failedIndexes", failed, why)


def validate_format(field: str, text: str, completions: int | None) -> Iterator[FieldError]:
    if completions is None:
        return
    try:
        counted(text, completions)
    except ValueError as error:
        yield invalid_value(f"status.{field}", text, f"error parsing {field}: {error}")
