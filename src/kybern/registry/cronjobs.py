"""cronjobs: jobs by the clock."""

import re
from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kybern.api.batch_v1 import CronJob, CronJobSpec
from kybern.api.invalid import FieldError, invalid_value, not_supported, required
from kybern.registry.checks import one_of
from kybern.registry.columns import AGE, NAME, NONE, age, container_columns, selector_text
from kybern.registry.defaulting import filled, part
from kybern.registry.jobs import validate_job_spec
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.podspec.defaults import default_template
from kybern.registry.podspec.warnings import template_warnings
from kybern.registry.resource import Column, Resource
from kybern.registry.workloads import validate_counts

NAME_BYTES_MAX = 52  # the controller adds eleven characters for the time
DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
DURATION = re.compile(r"([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIELDS = (
    (0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, MONTHS), (0, 6, DAYS),
)  # fmt: skip


def default(cronjob: CronJob) -> CronJob:
    return part(cronjob, "spec", default_spec)


def default_spec(spec: CronJobSpec) -> CronJobSpec:
    spec = filled(
        spec,
        concurrency_policy="Allow",
        suspend=False,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=1,
    )
    job = spec.job_template.spec
    template = part(job, "template", default_template)
    return spec if template is job else changed(spec, job_template=changed(spec.job_template, spec=template))


def validate(cronjob: CronJob) -> Iterator[FieldError]:
    spec = cronjob.spec
    if len(cronjob.metadata.name or "") > NAME_BYTES_MAX:
        why = f"must be no more than {NAME_BYTES_MAX} characters"
        yield invalid_value("metadata.name", cronjob.metadata.name, why)
    if not spec.schedule:
        yield required("spec.schedule")
    else:
        yield from validate_schedule(spec.schedule, "spec.schedule")
    yield from validate_zone(spec.time_zone, "spec.timeZone")
    yield from validate_counts(
        spec,
        "spec",
        ("startingDeadlineSeconds", "starting_deadline_seconds"),
        ("successfulJobsHistoryLimit", "successful_jobs_history_limit"),
        ("failedJobsHistoryLimit", "failed_jobs_history_limit"),
    )
    yield from one_of("spec.concurrencyPolicy", spec.concurrency_policy, ("Allow", "Forbid", "Replace"))
    job = spec.job_template.spec
    yield from validate_job_spec(job, "spec.jobTemplate.spec")
    if job.selector is not None:
        yield invalid_value("spec.jobTemplate.spec.selector", job.selector, "`selector` will be auto-generated")
    if job.manual_selector:
        yield not_supported("spec.jobTemplate.spec.manualSelector", job.manual_selector, ("nil", "false"))


def validate_schedule(schedule: str, at: str) -> Iterator[FieldError]:
    if "TZ" in schedule:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield invalid_value(at, schedule, why)
        return
    try:
        check_schedule(schedule)
    except ValueError as error:
        yield invalid_value(at, schedule, str(error))


def check_schedule(schedule: str) -> None:
    if schedule.startswith("@"):
        if schedule in DESCRIPTORS:
            return
        if schedule.startswith("@every ") and DURATION.fullmatch(schedule.removeprefix("@every ")):
            return
        raise ValueError(f"unrecognized descriptor: {schedule}")
    fields = schedule.split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    for text, (low, high, words) in zip(fields, FIELDS, strict=True):
        for item in text.split(","):
            check_range(item, low, high, words)


def check_range(text: str, low: int, high: int, words: tuple[str, ...]) -> None:
    """`*`, `3`, `1-5`, `*/10`, `MON-FRI`."""
    span, slash, step = text.partition("/")
    if slash and (not step.isdecimal() or int(step) == 0):
        raise ValueError(f'failed to parse int from {step}: strconv.Atoi: parsing "{step}": invalid syntax')
    if span in ("*", "?"):
        return
    start, dash, end = span.partition("-")
    first = number(start, low, words)
    last = number(end, low, words) if dash else first
    if first < low:
        raise ValueError(f"beginning of range ({first}) below minimum ({low}): {text}")
    if last > high:
        raise ValueError(f"end of range ({last}) above maximum ({high}): {text}")
    if first > last:
        raise ValueError(f"beginning of range ({first}) beyond end of range ({last}): {text}")


def number(text: str, low: int, words: tuple[str, ...]) -> int:
    if text.upper() in words:
        return words.index(text.upper()) + low
    if not text.isdecimal():
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def validate_zone(zone: str | None, at: str) -> Iterator[FieldError]:
    if zone is None:
        return
    if not zone:
        yield invalid_value(at, zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        yield invalid_value(
            at, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
    else:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield invalid_value(at, zone, f"unknown time zone {zone}")


def last_cell(cronjob: CronJob, now: float) -> str:
    moment = cronjob.status.last_schedule_time
    return age(moment, now) if moment else NONE


CRON_JOBS = Resource(
    kind=kind_of(CronJob),
    warnings=template_warnings(
        lambda found: found.spec.job_template.spec.template, "spec.jobTemplate.spec.template", named=False
    ),
    short_names=("cj",),
    categories=("all",),
    default=default,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate,
    generation=spec_of,
    subresources=(status(),),
    columns=(
        NAME,
        Column("Schedule", lambda cronjob, now: cronjob.spec.schedule, of="batch_v1.CronJobSpec.schedule"),
        Column("Timezone", lambda cronjob, now: cronjob.spec.time_zone or NONE, of="batch_v1.CronJobSpec.timeZone"),
        Column(
            "Suspend",
            lambda cronjob, now: "True" if cronjob.spec.suspend else "False",
            type="boolean",
            of="batch_v1.CronJobSpec.suspend",
        ),
        Column(
            "Active",
            lambda cronjob, now: len(cronjob.status.active or ()),
            type="integer",
            of="batch_v1.CronJobStatus.active",
        ),
        Column("Last Schedule", last_cell, of="batch_v1.CronJobStatus.lastScheduleTime"),
        AGE,
        *container_columns(lambda cronjob: cronjob.spec.job_template.spec.template.spec.containers),
        Column(
            "Selector",
            lambda cronjob, now: selector_text(cronjob.spec.job_template.spec.selector),
            priority=1,
            of="batch_v1.JobSpec.selector",
        ),
    ),
)
