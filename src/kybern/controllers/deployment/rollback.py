"""Going back by annotation: `deprecated.deployment.rollback.to` names a revision, 0 the one before, and is taken away once
it was followed. What `kubectl rollout undo` does with a patch today, older clients still ask for in this way.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from kybern.api.apps_v1 import Deployment, ReplicaSet
from kybern.api.numbers import integer
from kybern.controllers.deployment.revisions import (
    NOT_COPIED,
    annotations_of,
    revision_of,
    same_template,
    without_hash,
)

ROLLBACK_TO = "deprecated.deployment.rollback.to"

Told = tuple[str, str, str]
"""Type, reason and message of an event."""


def wanted_revision(deployment: Deployment) -> int | None:
    """None for an annotation that is missing, or no number."""
    return integer(annotations_of(deployment).get(ROLLBACK_TO))


def rolled_back(deployment: Deployment, sets: Sequence[ReplicaSet], wanted: int) -> tuple[Deployment, Told]:
    """The Deployment without the annotation and, where that is possible, with the template of the revision."""
    annotations = {name: value for name, value in annotations_of(deployment).items() if name != ROLLBACK_TO}
    done = replace(deployment, metadata=replace(deployment.metadata, annotations=annotations or None))
    revision = wanted or last_revision(sets)
    if not revision:
        return done, ("Warning", "DeploymentRollbackRevisionNotFound", "Unable to find last revision.")
    target = next((rs for rs in sets if revision_of(rs) == revision), None)
    if target is None:
        message = "Unable to find the revision to rollback to."
        return done, ("Warning", "DeploymentRollbackRevisionNotFound", message)
    name = deployment.metadata.name
    if same_template(deployment, target):
        message = f'The rollback revision contains the same template as current deployment "{name}"'
        return done, ("Warning", "DeploymentRollbackTemplateUnchanged", message)
    kept = {name: value for name, value in annotations.items() if name in NOT_COPIED}
    of_target = {name: value for name, value in annotations_of(target).items() if name not in NOT_COPIED}
    done = replace(
        done,
        metadata=replace(done.metadata, annotations={**kept, **of_target} or None),
        spec=replace(done.spec, template=without_hash(target.spec.template)),
    )
    return done, ("Normal", "DeploymentRollback", f'Rolled back deployment "{name}" to revision {revision}')


def last_revision(sets: Sequence[ReplicaSet]) -> int:
    """The one before the current one; 0 where there is none."""
    numbers = sorted(map(revision_of, sets))
    return numbers[-2] if len(numbers) > 1 else 0
