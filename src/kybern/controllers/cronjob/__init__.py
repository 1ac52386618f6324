"""CronJob: start a Job whenever the schedule says so. What was missed while nobody looked is started once, not often."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.batch_v1 import CronJob, CronJobStatus, Job
from kybern.api.core_v1 import ObjectReference
from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.controllers.cronjob import schedule
from kybern.controllers.cronjob.schedule import MISSED_COUNTED_MAX, Schedule
from kybern.reconcile import After, Context, Controller, controller_ref, controls
from kybern.reconcile.pods import is_namespace_terminating

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
CLOCK_SKEW_SECONDS = 0.1  # never wake a moment too early for the time that was waited for


async def reconcile(cronjob: CronJob, view: View, client: Client, context: Context) -> After | None:
    jobs = view.owned_by(cronjob, Job)
    status = await followed(cronjob, jobs, client, context)
    await clean_up(cronjob, jobs, client, context)
    going = cronjob.metadata.deletion_timestamp is not None
    found = None if going else understood(cronjob, context)
    after = None
    if found is not None:
        times, tz = found
        step = plan(cronjob, status, times, tz, context.now)
        for type, reason, message in step.told:
            context.events.event(cronjob, type, reason, message)
        if step.start is not None:
            status = await start(cronjob, status, step, client, context)
        after = step.after
    if status != cronjob.status:
        await client.update_status(replace(cronjob, status=status))
    return after


def understood(cronjob: CronJob, context: Context) -> tuple[Schedule, ZoneInfo] | None:
    """None while it is suspended, and for a schedule that can never work, which is told and not tried again: of a time zone
    that is none, whoever suspended it is told too."""
    try:
        tz = schedule.zone(cronjob.spec.time_zone)
    except ValueError as error:
        message = f'invalid timeZone: "{cronjob.spec.time_zone}": {error}'
        context.events.event(cronjob, "Warning", "UnknownTimeZone", message)
        return None
    if cronjob.spec.suspend:
        return None
    try:
        return schedule.parse(cronjob.spec.schedule), tz
    except ValueError as error:
        message = f'unparseable schedule: "{cronjob.spec.schedule}" : {error}'
        context.events.event(cronjob, "Warning", "UnparseableSchedule", message)
        return None


def ending(job: Job) -> str:
    """Complete, Failed, or empty while it runs."""
    return next(
        (c.type for c in job.status.conditions or () if c.type in ("Complete", "Failed") and c.status == "True"), ""
    )


async def followed(cronjob: CronJob, jobs: Sequence[Job], client: Client, context: Context) -> CronJobStatus:
    """The status without what has ended."""
    by_uid = {job.metadata.uid: job for job in jobs}
    active, last_success = [], cronjob.status.last_successful_time
    for ref in cronjob.status.active or ():
        job = by_uid.get(ref.uid)
        if job is None and await is_there(ref, client):
            active.append(ref)
        elif job is None:
            said = f"Active job went missing: {ref.name}"
            context.events.event(cronjob, "Normal", "MissingJob", said)
        elif ending(job):
            said = f"Saw completed job: {ref.name}, condition: {ending(job)}"
            context.events.event(cronjob, "Normal", "SawCompletedJob", said)
        else:
            active.append(ref)
    known = {ref.uid for ref in active}
    for job in jobs:
        done = job.status.completion_time
        if ending(job) == "Complete" and done and (last_success is None or done > last_success):
            last_success = done
        if not ending(job) and job.metadata.uid not in known:
            said = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
            context.events.event(cronjob, "Warning", "UnexpectedJob", said)
    return replace(cronjob.status, active=tuple(active) or None, last_successful_time=last_success)


async def is_there(ref: ObjectReference, client: Client) -> bool:
    """Asked of the server: the View may be late, and a Job that is forgotten would be started beside."""
    try:
        return (await client.get(Job, ref.name or "", ref.namespace or "")).metadata.uid == ref.uid
    except NotFound:
        return False


@dataclass(slots=True)
class Step:
    after: After | None = None
    start: float | None = None
    """The time to start a Job for."""
    replaces: tuple[ObjectReference, ...] = ()
    told: list[tuple[str, str, str]] = field(default_factory=list)


def plan(cronjob: CronJob, status: CronJobStatus, times: Schedule, tz: ZoneInfo, now: float) -> Step:
    step = Step()
    deadline = cronjob.spec.starting_deadline_seconds
    since = from_rfc3339(status.last_schedule_time or cronjob.metadata.creation_timestamp or rfc3339(now))
    if deadline is not None:
        since = max(since, now - deadline)
    found = schedule.missed(times, since, now, tz)
    if found.next is not None:
        step.after = After(found.next - now + CLOCK_SKEW_SECONDS)
    if found.count > MISSED_COUNTED_MAX:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        step.told.append(("Warning", "TooManyMissedTimes", message))
    if found.last is None:
        return step
    if deadline is not None and found.last + deadline < now:
        message = f"Missed scheduled time to start a job: {format_datetime(datetime.fromtimestamp(found.last, UTC))}"
        step.told.append(("Warning", "MissSchedule", message))
        return step
    if cronjob.spec.concurrency_policy == "Forbid" and status.active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        step.told.append(("Normal", "JobAlreadyActive", message))
        return step
    step.start = found.last
    if cronjob.spec.concurrency_policy == "Replace":
        step.replaces = status.active or ()
    return step


async def start(cronjob: CronJob, status: CronJobStatus, step: Step, client: Client, context: Context) -> CronJobStatus:
    for ref in step.replaces:
        await delete_job(cronjob, ref.name or "", ref.uid or "", client, context)
    active = () if step.replaces else status.active or ()
    wanted = new_job(cronjob, step.start or 0.0)
    try:
        job = await client.create(wanted)
    except AlreadyExists:  # an earlier pass made it, and could not say so; or it is somebody else's, and nothing to us
        job = await client.get(Job, wanted.metadata.name or "", cronjob.metadata.namespace or "")
        if not controls(cronjob, job):
            return replace(status, active=active or None)
    except ApiError as error:
        if not is_namespace_terminating(error):
            context.events.event(cronjob, "Warning", "FailedCreate", f"Error creating job: {error.message}")
        raise
    else:
        context.events.event(cronjob, "Normal", "SuccessfulCreate", f"Created job {job.metadata.name}")
    if not ending(job) and all(ref.uid != job.metadata.uid for ref in active):
        active = (*active, reference_to(job))
    return replace(status, active=active or None, last_schedule_time=rfc3339(step.start or 0.0))


def new_job(cronjob: CronJob, scheduled_at: float) -> Job:
    """Named after its minute, so that it can be made only once."""
    template = cronjob.spec.job_template
    return Job(
        metadata=ObjectMeta(
            name=f"{cronjob.metadata.name}-{int(scheduled_at // 60)}",
            namespace=cronjob.metadata.namespace,
            labels=template.metadata.labels,
            annotations={**(template.metadata.annotations or {}), SCHEDULED_AT: rfc3339(scheduled_at)},
            owner_references=(controller_ref(cronjob),),
        ),
        spec=template.spec,
    )


def reference_to(job: Job) -> ObjectReference:
    meta = job.metadata
    return ObjectReference(
        kind="Job", api_version="batch/v1", name=meta.name, namespace=meta.namespace, uid=meta.uid,
        resource_version=meta.resource_version,
    )  # fmt: skip


async def clean_up(cronjob: CronJob, jobs: Sequence[Job], client: Client, context: Context) -> None:
    for type, limit, usual in (
        ("Complete", cronjob.spec.successful_jobs_history_limit, 3),
        ("Failed", cronjob.spec.failed_jobs_history_limit, 1),
    ):
        for job in beyond(jobs, type, usual if limit is None else limit):
            await delete_job(cronjob, job.metadata.name or "", job.metadata.uid or "", client, context)


def beyond(jobs: Sequence[Job], type: str, limit: int) -> list[Job]:
    """The oldest Jobs that ended this way, beyond the limit."""
    ended = [job for job in jobs if ending(job) == type and job.metadata.deletion_timestamp is None]
    ended.sort(key=lambda job: (job.status.start_time or "", job.metadata.name or ""))
    return ended[: max(len(ended) - limit, 0)]


async def delete_job(cronjob: CronJob, name: str, uid: str, client: Client, context: Context) -> None:
    try:
        await client.delete(Job, name, cronjob.metadata.namespace or "", uid=uid, propagation="Background")
    except NotFound:
        return
    except ApiError as error:
        context.events.event(cronjob, "Warning", "FailedDelete", f"Deleted job: {error.message}")
        raise
    context.events.event(cronjob, "Normal", "SuccessfulDelete", f"Deleted job {name}")


CRONJOB = Controller(name="cronjob", component="cronjob-controller", reconciles=CronJob, owns=(Job,), by=reconcile)
