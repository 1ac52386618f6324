"""Revisions: each version of a Deployment's template is one ReplicaSet, numbered in an annotation.

- The new one is the ReplicaSet whose template equals the Deployment's, whatever its number; going back to an older
  template gives its ReplicaSet the next number, which is how a rollback reads as progress.
- `kubectl rollout history` and `undo` read these annotations, so their names and values are upstream's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from kybern.api.apps_v1 import Deployment, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus
from kybern.api.core_v1 import PodTemplateSpec
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.numbers import integer
from kybern.controllers.deployment.sizes import REVISION, desired, replica_annotations, size_of
from kybern.reconcile import controller_ref
from kybern.reconcile.pods import labelled, short_hash

TEMPLATE_HASH = "pod-template-hash"
HISTORY = "deployment.kubernetes.io/revision-history"
NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
}


def annotations_of(obj: Deployment | ReplicaSet) -> Mapping[str, str]:
    return obj.metadata.annotations or {}


def revision_of(obj: Deployment | ReplicaSet) -> int:
    return integer(annotations_of(obj).get(REVISION)) or 0


def age(rs: ReplicaSet) -> tuple[str, str]:
    return (rs.metadata.creation_timestamp or "", rs.metadata.name or "")


def without_hash(template: PodTemplateSpec | None) -> PodTemplateSpec:
    template = template or PodTemplateSpec()
    labels = {name: value for name, value in (template.metadata.labels or {}).items() if name != TEMPLATE_HASH}
    return replace(template, metadata=replace(template.metadata, labels=labels))


def same_template(deployment: Deployment, rs: ReplicaSet) -> bool:
    return without_hash(deployment.spec.template) == without_hash(rs.spec.template)


def split(deployment: Deployment, sets: Sequence[ReplicaSet]) -> tuple[ReplicaSet | None, list[ReplicaSet]]:
    """The new ReplicaSet (the oldest, should several have the template), and all others, oldest first."""
    ordered = sorted(sets, key=age)
    new = next((rs for rs in ordered if same_template(deployment, rs)), None)
    return new, [rs for rs in ordered if rs is not new]


def next_revision(old: Sequence[ReplicaSet]) -> int:
    return max(map(revision_of, old), default=0) + 1


def first_annotations(deployment: Deployment, revision: int) -> dict[str, str]:
    copied = {name: value for name, value in annotations_of(deployment).items() if name not in NOT_COPIED}
    return {**copied, REVISION: str(revision)}


def renumbered(deployment: Deployment, rs: ReplicaSet, revision: int) -> ReplicaSet:
    """The ReplicaSet as the new one of its Deployment: annotations, revision, minReadySeconds."""
    before = dict(annotations_of(rs))
    known = revision_of(rs)
    wanted = {**before, **first_annotations(deployment, max(revision, known))}
    if known and known < revision:
        past = before.get(HISTORY, "")
        wanted[HISTORY] = f"{past},{known}" if past else str(known)
    spec = rs.spec
    if (spec.min_ready_seconds or 0) != (deployment.spec.min_ready_seconds or 0):
        spec = replace(spec, min_ready_seconds=deployment.spec.min_ready_seconds)
    if wanted == before and spec is rs.spec:
        return rs
    return replace(rs, metadata=replace(rs.metadata, annotations=wanted), spec=spec)


def new_replicaset(deployment: Deployment, sets: Sequence[ReplicaSet], replicas: int) -> ReplicaSet:
    collisions = deployment.status.collision_count or 0
    hashed = short_hash(deployment.spec.template, collisions)
    template = labelled(deployment.spec.template, pod_template_hash=hashed)
    selector = deployment.spec.selector
    return ReplicaSet(
        metadata=ObjectMeta(
            name=f"{deployment.metadata.name}-{hashed}",
            namespace=deployment.metadata.namespace,
            labels=template.metadata.labels,
            annotations={
                **first_annotations(deployment, next_revision(sets)),
                **replica_annotations(deployment),
            },
            owner_references=(controller_ref(deployment),),
        ),
        spec=ReplicaSetSpec(
            replicas=replicas,
            min_ready_seconds=deployment.spec.min_ready_seconds,
            selector=replace(selector, match_labels={**(selector.match_labels or {}), TEMPLATE_HASH: hashed}),
            template=template,
        ),
        status=ReplicaSetStatus(),
    )


def beyond_history(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """The oldest revisions that exceed the limit and that nothing runs of any more."""
    limit = deployment.spec.revision_history_limit
    alive = sorted((rs for rs in old if rs.metadata.deletion_timestamp is None), key=revision_of)
    surplus = len(alive) - (10 if limit is None else limit)
    return [rs for rs in alive[: max(surplus, 0)] if is_idle(rs)]


def is_idle(rs: ReplicaSet) -> bool:
    observed = (rs.metadata.generation or 0) <= (rs.status.observed_generation or 0)
    return rs.status.replicas == 0 and size_of(rs) == 0 and observed


def desired_changed(deployment: Deployment, sets: Sequence[ReplicaSet]) -> bool:
    """Somebody scaled the Deployment since its ReplicaSets were sized."""
    noted: list[Any] = [
        annotations_of(rs).get("deployment.kubernetes.io/desired-replicas") for rs in sets if size_of(rs)
    ]
    return any(text is not None and text != str(desired(deployment)) for text in noted)
