"""Progress: a Deployment's status and its conditions, in upstream's reasons and words."""

from collections.abc import Sequence

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.apps_v1 import Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet
from kybern.api.numbers import INT32_MAX
from kybern.controllers.deployment.sizes import desired, fenceposts, size_of

Conditions = dict[str, DeploymentCondition]

NO_DEADLINE = INT32_MAX


def set_condition(conditions: Conditions, type: str, status: str, reason: str, message: str, now: float) -> None:
    """Nothing changes while status and reason stay; the transition's time stays while the status does."""
    before = conditions.get(type)
    if before is not None and (before.status, before.reason) == (status, reason):
        return
    same = before is not None and before.status == status
    conditions.pop(type, None)
    conditions[type] = DeploymentCondition(
        type=type,
        status=status,
        reason=reason,
        message=message,
        last_update_time=rfc3339(now),
        last_transition_time=before.last_transition_time if before is not None and same else rfc3339(now),
    )


def deadline_of(deployment: Deployment) -> int | None:
    seconds = deployment.spec.progress_deadline_seconds
    return None if seconds is None or seconds == NO_DEADLINE else seconds


def counted(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> DeploymentStatus:
    """The numbers; conditions as they were."""
    everything = [*old, *([new] if new is not None else [])]
    available = sum(rs.status.available_replicas or 0 for rs in everything)
    return replace(
        deployment.status,
        observed_generation=deployment.metadata.generation,
        replicas=sum(rs.status.replicas for rs in everything) or None,
        updated_replicas=(new.status.replicas if new is not None else 0) or None,
        ready_replicas=sum(rs.status.ready_replicas or 0 for rs in everything) or None,
        available_replicas=available or None,
        unavailable_replicas=max(sum(map(size_of, everything)) - available, 0) or None,
        terminating_replicas=sum(rs.status.terminating_replicas or 0 for rs in everything) or None,
    )


def status_of(
    deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet], conditions: Conditions, now: float
) -> DeploymentStatus:
    """Numbers and availability."""
    status = counted(deployment, new, old)
    if (status.available_replicas or 0) >= desired(deployment) - fenceposts(deployment).unavailable:
        has, reason, message = "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    else:
        has, reason = "False", "MinimumReplicasUnavailable"
        message = "Deployment does not have minimum availability."
    set_condition(conditions, "Available", has, reason, message, now)
    return replace(status, conditions=tuple(conditions.values()))


def rollout_status(
    deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet], conditions: Conditions, now: float
) -> DeploymentStatus:
    """Numbers, availability and how the rollout goes on."""
    status = status_of(deployment, new, old, conditions, now)
    progressing = conditions.get("Progressing")
    settled = (status.replicas or 0) == (status.updated_replicas or 0) and (
        progressing is not None and progressing.reason == "NewReplicaSetAvailable"
    )
    if deadline_of(deployment) is None:
        conditions.pop("Progressing", None)
    elif not settled:
        note_progress(deployment, new, status, conditions, now)
    note_failures(new, old, conditions)
    return replace(status, conditions=tuple(conditions.values()))


def note_progress(
    deployment: Deployment, new: ReplicaSet | None, status: DeploymentStatus, conditions: Conditions, now: float
) -> None:
    who = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        message = f"{who} has successfully progressed."
        set_condition(conditions, "Progressing", "True", "NewReplicaSetAvailable", message, now)
    elif has_progressed(deployment.status, status):
        before = conditions.pop("Progressing", None)  # each step forward starts the deadline anew
        set_condition(conditions, "Progressing", "True", "ReplicaSetUpdated", f"{who} is progressing.", now)
        if before is not None and before.status == "True":
            since = before.last_transition_time
            conditions["Progressing"] = replace(conditions["Progressing"], last_transition_time=since)
    elif is_overdue(deployment, conditions, now):
        message = f"{who} has timed out progressing."
        set_condition(conditions, "Progressing", "False", "ProgressDeadlineExceeded", message, now)


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    wanted = desired(deployment)
    return (
        (status.updated_replicas or 0) == wanted
        and (status.replicas or 0) == wanted
        and (status.available_replicas or 0) == wanted
        and (status.observed_generation or 0) >= (deployment.metadata.generation or 0)
    )


def has_progressed(before: DeploymentStatus, now: DeploymentStatus) -> bool:
    old_before = (before.replicas or 0) - (before.updated_replicas or 0)
    old_now = (now.replicas or 0) - (now.updated_replicas or 0)
    return (
        (now.updated_replicas or 0) > (before.updated_replicas or 0)
        or old_now < old_before
        or (now.ready_replicas or 0) > (before.ready_replicas or 0)
        or (now.available_replicas or 0) > (before.available_replicas or 0)
    )


def is_overdue(deployment: Deployment, conditions: Conditions, now: float) -> bool:
    progressing = conditions.get("Progressing")
    if progressing is None or progressing.reason == "NewReplicaSetAvailable":
        return False
    return progressing.reason == "ProgressDeadlineExceeded" or seconds_left(deployment, progressing, now) < 0


def seconds_left(deployment: Deployment, progressing: DeploymentCondition, now: float) -> float:
    updated = from_rfc3339(progressing.last_update_time) if progressing.last_update_time else now
    return updated + (deadline_of(deployment) or 0) - now


def seconds_until_overdue(deployment: Deployment, status: DeploymentStatus, now: float) -> float | None:
    """When to look again, should nothing move; None when that would tell nothing new."""
    progressing = next((found for found in status.conditions or () if found.type == "Progressing"), None)
    if deadline_of(deployment) is None or progressing is None or is_complete(deployment, status):
        return None
    if progressing.reason in ("ProgressDeadlineExceeded", "DeploymentPaused", "NewReplicaSetAvailable"):
        return None  # what was complete once is never overdue
    return max(seconds_left(deployment, progressing, now), 0.0) + 1.0


def note_failures(new: ReplicaSet | None, old: Sequence[ReplicaSet], conditions: Conditions) -> None:
    """The new ReplicaSet's failure, else an old one's."""
    conditions.pop("ReplicaFailure", None)
    for rs in [*([new] if new is not None else []), *old]:
        for failed in rs.status.conditions or ():
            if failed.type == "ReplicaFailure":
                conditions["ReplicaFailure"] = DeploymentCondition(
                    type="ReplicaFailure",
                    status=failed.status,
                    reason=failed.reason,
                    message=failed.message,
                    last_transition_time=failed.last_transition_time,
                    last_update_time=failed.last_transition_time,
                )
                return


def note_pause(deployment: Deployment, conditions: Conditions, now: float) -> None:
    """A pause stops the deadline's clock, going on starts it anew."""
    if deadline_of(deployment) is None:
        return
    progressing = conditions.get("Progressing")
    if progressing is not None and progressing.reason == "ProgressDeadlineExceeded":
        return
    noted = progressing is not None and progressing.reason == "DeploymentPaused"
    if deployment.spec.paused and not noted:
        set_condition(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    elif not deployment.spec.paused and noted:
        set_condition(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
