"""Job: let pods succeed as often as asked, no matter how often some fail.

Finished pods are counted exactly once (`tally`), what they mean is decided by policy (`failure`, `verdict`), and what runs
is adjusted (`plan`). The end is told only when the last pod has stopped and every pod is counted.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.batch_v1 import Job, JobCondition, JobStatus, UncountedTerminatedPods
from kybern.api.core_v1 import Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodTemplateSpec
from kybern.api.errors import NotFound
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.controllers.job import indexes, verdict
from kybern.controllers.job.plan import Plan, plan
from kybern.controllers.job.tally import FINALIZER, Tally, failures_after, is_marked, is_tracked, tally
from kybern.controllers.job.verdict import INTERIM, Verdict
from kybern.reconcile import After, Context, Controller, Key, at_once, claim, slow_start
from kybern.reconcile.controller import REST_SECONDS, Watch
from kybern.reconcile.ownership import controller_of
from kybern.reconcile.pods import pod_from
from kybern.reconcile.replicas import told

MANAGED_HERE = (None, "", "kubernetes.io/job-controller")
PREFIX_MAX = 58  # letters of a name that the server makes longer: the index is in what is left of it


async def reconcile(job: Job, view: View, client: Client, context: Context) -> After | None:
    if job.spec.managed_by not in MANAGED_HERE:
        return None
    pods = await claim(job, Pod, of_label_selector(job.spec.selector), view, client)
    if verdict.is_finished(job):
        await release(pods, client)
        return None

    count = tally(job, pods)
    ending = verdict.decide(job, count, pods, context.now)
    if ending is not None:
        count = tally(job, pods, ending.type)
    if ending is not None:
        step = Plan(delete=count.active)
    else:  # while it is being deleted, its pods are only counted
        step = Plan() if is_marked(job) else plan(job, count, pods, context.now)
    error = await carry_out(step, job, count, client, context, counting=ending is not None)

    status = with_conditions(job, count, ending, context)
    if status != job.status:
        job = await client.update_status(replace(job, status=status))
    await release(count.release, client)
    tell_end(job, context)
    if error is not None:
        raise error
    waits = [wait for wait in (step.wait_seconds, verdict.deadline_left(job, context.now)) if wait is not None]
    return After(min(waits)) if waits and ending is None else None


async def carry_out(
    step: Plan, job: Job, count: Tally, client: Client, context: Context, *, counting: bool
) -> Exception | None:
    """`counting`: what is deleted has ended with its Job, and is counted. Otherwise it only was one too many."""

    async def create(index: int) -> None:
        made = await client.create(new_pod(job, index, count.replaceable.get(index)))
        context.events.event(job, "Normal", "SuccessfulCreate", f"Created pod: {made.metadata.name}")

    async def delete(pod: Pod) -> None:
        if not counting:
            await release([pod], client)
        try:
            await client.delete(Pod, pod.metadata.name or "", pod.metadata.namespace or "", uid=pod.metadata.uid or "")
        except NotFound:
            return
        context.events.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

    _, stuck = await at_once(step.delete, delete)
    _, refused = await slow_start(step.create, create)
    if refused is not None:
        failure = told(job, "FailedCreate", "Error creating", refused, context)
    else:
        failure = None if stuck is None else told(job, "FailedDelete", "Error deleting", stuck, context)
    return None if failure is None else failure.error


def new_pod(job: Job, index: int, failed: Pod | None = None) -> Pod:
    """`failed` is the one that it takes the place of, where each index has its own limit."""
    template = job.spec.template
    if index < 0:
        pod = pod_from(template, job)
        return replace(pod, metadata=replace(pod.metadata, finalizers=(*(pod.metadata.finalizers or ()), FINALIZER)))
    name = job.metadata.name or ""
    pod = pod_from(indexed(template), job, generate_name=f"{name[: PREFIX_MAX - len(f'-{index}-')]}-{index}-")
    annotations = {**(pod.metadata.annotations or {}), indexes.INDEX: str(index)}
    if job.spec.backoff_limit_per_index is not None:
        annotations |= failures_after(job, failed)
    meta = replace(
        pod.metadata,
        annotations=annotations,
        labels={**(pod.metadata.labels or {}), indexes.INDEX: str(index)},
        finalizers=(*(pod.metadata.finalizers or ()), FINALIZER),
    )
    return replace(pod, metadata=meta, spec=replace(pod.spec, hostname=f"{name}-{index}"))


def indexed(template: PodTemplateSpec) -> PodTemplateSpec:
    """Every container is told its index in its environment."""
    source = EnvVarSource(field_ref=ObjectFieldSelector(field_path=f"metadata.labels['{indexes.INDEX}']"))
    variable = EnvVar(name="JOB_COMPLETION_INDEX", value_from=source)

    def told_index(container: Container) -> Container:
        if any(env.name == variable.name for env in container.env or ()):
            return container
        return replace(container, env=(*(container.env or ()), variable))

    spec = template.spec
    inits = tuple(map(told_index, spec.init_containers or ())) or None
    spec = replace(spec, containers=tuple(map(told_index, spec.containers)), init_containers=inits)
    return replace(template, spec=spec)


def with_conditions(job: Job, count: Tally, ending: Verdict | None, context: Context) -> JobStatus:
    """The status to write: counters, when it started, whether it rests, how it ends."""
    now = rfc3339(context.now)
    conditions = {found.type: found for found in job.status.conditions or ()}
    status = count.status
    suspended = bool(job.spec.suspend) and ending is None
    if not is_marked(job):
        note_suspension(job, conditions, suspended, context)
    if suspended:
        status = replace(status, start_time=None)
    elif status.start_time is None:
        status = replace(status, start_time=now)
    if ending is not None:
        set_condition(conditions, INTERIM[ending.type], "True", ending.reason, ending.message, now)
        waiting = status.uncounted_terminated_pods not in (None, UncountedTerminatedPods())
        if not count.active and not count.terminating and not waiting:
            set_condition(conditions, ending.type, "True", ending.reason, ending.message, now)
            status = replace(status, active=None, completion_time=now if ending.type == "Complete" else None)
    return replace(status, conditions=tuple(conditions.values()) or None)


def note_suspension(job: Job, conditions: dict[str, JobCondition], suspended: bool, context: Context) -> None:
    before = conditions.get("Suspended")
    now = rfc3339(context.now)
    if suspended and (before is None or before.status != "True"):
        set_condition(conditions, "Suspended", "True", "JobSuspended", "Job suspended", now)
        context.events.event(job, "Normal", "Suspended", "Job suspended")
    elif not suspended and before is not None and before.status == "True":
        set_condition(conditions, "Suspended", "False", "JobResumed", "Job resumed", now)
        context.events.event(job, "Normal", "Resumed", "Job resumed")


def set_condition(
    conditions: dict[str, JobCondition], type: str, status: str, reason: str, message: str, now: str
) -> None:
    before = conditions.get(type)
    if before is None or (before.status, before.reason) != (status, reason):
        conditions[type] = JobCondition(
            type=type, status=status, reason=reason, message=message, last_probe_time=now, last_transition_time=now
        )


def tell_end(job: Job, context: Context) -> None:
    """Once: the pass that made it final is the last one that gets here."""
    for found in job.status.conditions or ():
        if found.type == "Complete":
            if job.spec.completions is not None and (job.status.succeeded or 0) > job.spec.completions:
                message = "Too many succeeded pods running after completion count reached"
                context.events.event(job, "Warning", "TooManySucceededPods", message)
            context.events.event(job, "Normal", "Completed", "Job completed")
        elif found.type == "Failed":
            context.events.event(job, "Warning", found.reason or "", found.message or "")


async def release(pods: Sequence[Pod], client: Client) -> None:
    """The pods are counted: they may go."""
    for pod in pods:
        if not is_tracked(pod):
            continue
        patch: dict[str, Any] = {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}
        try:
            name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
            await client.patch(Pod, name, namespace, {"metadata": patch}, how="strategic")
        except NotFound:
            pass


async def release_abandoned(pod: Pod, view: View, client: Client, context: Context) -> After | None:
    """A pod whose Job is gone is not counted by anybody any more."""
    if is_abandoned(pod, view):
        await release([pod], client)
    return None


def is_abandoned(pod: Pod, view: View) -> bool:
    if not is_tracked(pod):
        return False
    owner = controller_of(pod)
    job = view.get(Job, owner.name, pod.metadata.namespace or "") if owner is not None else None
    if job is None or job.metadata.uid != (owner and owner.uid):
        return True
    return job.metadata.deletion_timestamp is not None and pod.metadata.deletion_timestamp is not None


def abandoned(pod: Pod, view: View) -> Iterable[Key]:
    return (Key.of(pod),) if is_abandoned(pod, view) else ()


def abandoned_by(job: Job, view: View) -> Iterable[Key]:
    return [Key.of(pod) for pod in view.owned_by(job, Pod) if is_abandoned(pod, view)]


JOB = Controller(
    name="job",
    rest_seconds=REST_SECONDS,
    reconciles=Job,
    owns=(Pod,),
    selects=lambda job: job.spec.selector,
    by=reconcile,
)

ABANDONED = Controller(
    name="job-abandoned-pods",
    component="job-controller",
    reconciles=Pod,
    concerns=lambda pod: False,  # but for what the two below say: there are many pods, and few are abandoned
    watches=(Watch(Pod, abandoned), Watch(Job, abandoned_by)),
    by=release_abandoned,
)
