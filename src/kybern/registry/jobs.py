"""jobs: pods that are to succeed so many times. Their selector is their own uid, unless somebody insists on another."""

from collections.abc import Iterator

from kybern.api import names, selectors
from kybern.api.batch_v1 import Job, JobSpec, PodFailurePolicy, PodFailurePolicyRule
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required, too_long
from kybern.api.meta_v1 import LabelSelector
from kybern.api.numbers import INT32_MAX
from kybern.registry.checks import domain_path, immutable, label_selector
from kybern.registry.columns import AGE, NAME, TEMPLATE_COLUMNS, between, selector_column
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.jobpolicies import validate_failure_policy, validate_success_policy
from kybern.registry.jobstatus import validate_status
from kybern.registry.jobtemplates import may_change_directives, with_directives_of
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.podspec.defaults import default_template
from kybern.registry.podspec.spec import validate_template
from kybern.registry.podspec.warnings import template_warnings
from kybern.registry.resource import Column, Resource
from kybern.registry.workloads import DO_NOT_MATCH, matches, validate_counts

BACKOFF_LIMIT_DEFAULT = 6
NO_LIMIT = INT32_MAX
PARALLELISM_MAX = 100_000
MANY_INDEXES_MAX = 10_000
MANAGER_BYTES_MAX = 63
TOO_MANY_INDEXES = (
    f"must be less than or equal to {MANY_INDEXES_MAX} when completions are above {PARALLELISM_MAX} "
    "and used with backoff limit per index"
)
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
COUNTS = (
    ("parallelism", "parallelism"), ("completions", "completions"),
    ("activeDeadlineSeconds", "active_deadline_seconds"), ("backoffLimit", "backoff_limit"),
    ("ttlSecondsAfterFinished", "ttl_seconds_after_finished"), ("backoffLimitPerIndex", "backoff_limit_per_index"),
    ("maxFailedIndexes", "max_failed_indexes"),
)  # fmt: skip
FIXED = (
    ("selector", "selector"), ("completionMode", "completion_mode"), ("podFailurePolicy", "pod_failure_policy"),
    ("backoffLimitPerIndex", "backoff_limit_per_index"), ("managedBy", "managed_by"),
    ("successPolicy", "success_policy"),
)  # fmt: skip


def default(job: Job) -> Job:
    labels = job.spec.template.metadata.labels
    if labels and not job.metadata.labels:
        job = changed(job, metadata=changed(job.metadata, labels=labels))
    return part(job, "spec", default_spec)


def default_spec(spec: JobSpec) -> JobSpec:
    if spec.completions is None and spec.parallelism is None:
        spec = changed(spec, completions=1, parallelism=1)
    spec = filled(
        spec,
        parallelism=1,
        backoff_limit=BACKOFF_LIMIT_DEFAULT if spec.backoff_limit_per_index is None else NO_LIMIT,
        completion_mode="NonIndexed",
        suspend=False,
        manual_selector=False,
        pod_replacement_policy="Failed" if spec.pod_failure_policy is not None else "TerminatingOrFailed",
    )
    return part(part(spec, "pod_failure_policy", default_failures), "template", default_template)


def default_failures(policy: PodFailurePolicy) -> PodFailurePolicy:
    return parts(policy, "rules", default_failure_rule)


def default_failure_rule(rule: PodFailurePolicyRule) -> PodFailurePolicyRule:
    return parts(rule, "on_pod_conditions", lambda pattern: filled(pattern, status="True"))


def on_create(job: Job) -> Job:
    job = clear_status(job)
    return job if job.spec.manual_selector else default(with_own_selector(job))


def own_labels(uid: str, name: str) -> dict[str, str]:
    """By which a job finds its pods, in the order in which they are asked for."""
    return {"controller-uid": uid, "job-name": name, CONTROLLER_UID: uid, JOB_NAME: name}


def with_own_selector(job: Job) -> Job:
    """What somebody has put there stays: whether it is right, as of a job's copy it is not, the rules say."""
    uid, name = job.metadata.uid or "", job.metadata.name or ""
    template = job.spec.template
    given = template.metadata.labels or {}
    labels = {**given, **own_labels(uid, name), **given}
    template = changed(template, metadata=changed(template.metadata, labels=labels))
    selector = job.spec.selector or LabelSelector()
    selector = changed(selector, match_labels={CONTROLLER_UID: uid, **(selector.match_labels or {})})
    return changed(job, spec=changed(job.spec, template=template, selector=selector))


def validate(job: Job) -> Iterator[FieldError]:
    yield from validate_own_labels(job)
    yield from validate_job_spec(job.spec, "spec")
    selector = job.spec.selector
    if selector is None:
        yield required("spec.selector")
        return
    wrong = list(label_selector(selector, "spec.selector"))
    yield from wrong
    if not wrong and not matches(selector, job.spec.template):
        labels = job.spec.template.metadata.labels
        yield invalid_value("spec.template.metadata.labels", labels, DO_NOT_MATCH)


def validate_own_labels(job: Job) -> Iterator[FieldError]:
    """The labels by which a job finds its pods, unless somebody insists on others."""
    name, uid = job.metadata.name or "", job.metadata.uid or ""
    if job.spec.completion_mode == "Indexed" and (job.spec.completions or 0) > 0:
        last = f"{name}-{(job.spec.completions or 0) - 1}"
        if names.dns1123_label(last):
            why = f"will not able to create pod with invalid DNS label: {last}"
            yield invalid_value("metadata.name", name, why)
    if job.spec.manual_selector or job.spec.selector is None:
        return
    if not uid:
        yield required("metadata.uid")
    labels = job.spec.template.metadata.labels or {}
    own = own_labels(uid, name)
    for key, value in own.items():
        here = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            yield required(here, f"must be '{value}'")
        elif labels[key] != value:
            yield invalid_value(here, labels, f"must be '{value}'")
    if not list(label_selector(job.spec.selector, "")) and not selectors.of_label_selector(job.spec.selector).matches(
        own
    ):
        yield invalid_value("spec.selector", job.spec.selector, "`selector` not auto-generated")


def validate_job_spec(spec: JobSpec, at: str) -> Iterator[FieldError]:
    """What holds for a job, and for the template of one."""
    yield from validate_counts(spec, at, *COUNTS)
    yield from validate_indexes(spec, at)
    if spec.managed_by is not None:
        yield from domain_path(f"{at}.managedBy", spec.managed_by)
        if len(spec.managed_by) > MANAGER_BYTES_MAX:
            yield too_long(f"{at}.managedBy", "", MANAGER_BYTES_MAX)
    yield from validate_failure_policy(spec, at)
    yield from validate_success_policy(spec, f"{at}.successPolicy")
    if spec.pod_failure_policy is not None and spec.pod_replacement_policy not in (None, "Failed"):
        yield not_supported(f"{at}.podReplacementPolicy", spec.pod_replacement_policy, ("Failed",))
    if spec.pod_replacement_policy not in (None, "Failed", "TerminatingOrFailed"):
        here = f"{at}.podReplacementPolicy"
        yield not_supported(here, spec.pod_replacement_policy, ("Failed", "TerminatingOrFailed"))
    yield from validate_template(spec.template, f"{at}.template")
    policy = spec.template.spec.restart_policy
    if policy in (None, "", "Always"):
        yield required(f"{at}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield not_supported(f"{at}.template.spec.restartPolicy", policy, ("OnFailure", "Never"))
    elif spec.pod_failure_policy is not None and policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid_value(f"{at}.template.spec.restartPolicy", policy, why)


def validate_indexes(spec: JobSpec, at: str) -> Iterator[FieldError]:
    """How many pods with an index there may be, and how many of them may fail."""
    failed, limit, completions = spec.max_failed_indexes, spec.backoff_limit_per_index, spec.completions
    if failed is not None and limit is None:
        yield required(f"{at}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if spec.completion_mode not in (None, "NonIndexed", "Indexed"):
        yield not_supported(f"{at}.completionMode", spec.completion_mode, ("NonIndexed", "Indexed"))
    if spec.completion_mode != "Indexed":
        for field, value in (("backoffLimitPerIndex", limit), ("maxFailedIndexes", failed)):
            if value is not None:
                yield invalid_value(f"{at}.{field}", value, "requires indexed completion mode")
        return
    if completions is None:
        yield required(f"{at}.completions", "when completion mode is Indexed")
    parallelism = spec.parallelism or 0
    if parallelism > PARALLELISM_MAX:
        why = f"must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed"
        yield invalid_value(f"{at}.parallelism", parallelism, why)
    if completions is not None and failed is not None and failed > completions:
        yield invalid_value(f"{at}.maxFailedIndexes", failed, "must be less than or equal to completions")
    if failed is not None and failed > PARALLELISM_MAX:
        yield invalid_value(f"{at}.maxFailedIndexes", failed, f"must be less than or equal to {PARALLELISM_MAX}")
    if (completions or 0) > PARALLELISM_MAX and limit is not None:
        if failed is None:
            yield required(f"{at}.maxFailedIndexes", f"must be specified when completions is above {PARALLELISM_MAX}")
        for field, value in (("parallelism", parallelism), ("maxFailedIndexes", failed or 0)):
            if value > MANY_INDEXES_MAX:
                yield invalid_value(f"{at}.{field}", value, TOO_MANY_INDEXES)


def validate_update(job: Job, old: Job) -> Iterator[FieldError]:
    yield from validate(job)
    new, before = job.spec, old.spec
    for field, name in FIXED:
        yield from immutable(f"spec.{field}", getattr(new, name), getattr(before, name))
    if new.completions != before.completions:
        if new.completion_mode != "Indexed" or new.completions is None or new.parallelism is None:
            yield from immutable("spec.completions", new.completions, before.completions)
        elif new.completions != new.parallelism:
            why = "can only be modified in tandem with spec.parallelism"
            yield invalid_value("spec.completions", new.completions, why)
    template = with_directives_of(new.template, before.template) if may_change_directives(old) else before.template
    yield from immutable("spec.template", new.template, template)
    if new.manual_selector != before.manual_selector and before.manual_selector is not None:
        yield forbidden_field("spec.manualSelector", "field is immutable")


# --- columns ----------------------------------------------------------------------------------------------------------


STATUS_BY_CONDITION = (("Complete", "Complete"), ("Failed", "Failed"))
LATER_CONDITIONS = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def status_cell(job: Job, now: float) -> str:
    true = {condition.type for condition in job.status.conditions or () if condition.status == "True"}
    for name, word in STATUS_BY_CONDITION:
        if name in true:
            return word
    if job.metadata.deletion_timestamp:
        return "Terminating"
    return next((name for name in LATER_CONDITIONS if name in true), "Running")


def completions_cell(job: Job, now: float) -> str:
    done = job.status.succeeded or 0
    if job.spec.completions is not None:
        return f"{done}/{job.spec.completions}"
    parallelism = job.spec.parallelism or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def duration_cell(job: Job, now: float) -> str:
    if not job.status.start_time:
        return ""
    return between(job.status.start_time, job.status.completion_time, now)


JOBS = Resource(
    kind=kind_of(Job),
    warnings=template_warnings(lambda found: found.spec.template, "spec.template"),
    categories=("all",),
    default=default,
    on_create=on_create,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    generation=spec_of,
    subresources=(status(validate=validate_status),),
    selectable={"status.successful": lambda job: str(job.status.succeeded or 0)},
    not_selectable='field label "{}" not supported for batchv1.Job',
    columns=(
        NAME,
        Column("Status", status_cell, description="Status of the job."),
        Column("Completions", completions_cell, of="batch_v1.JobStatus.succeeded"),
        Column("Duration", duration_cell, description="Time required to complete the job."),
        AGE,
        *TEMPLATE_COLUMNS,
        selector_column("batch_v1.JobSpec.selector"),
    ),
)
