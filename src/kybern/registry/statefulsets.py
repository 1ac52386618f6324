"""statefulsets: pods with names, an order, and volumes of their own."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.apps_v1 import (
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec,
    StatefulSetUpdateStrategy,
)
from kybern.api.core_v1 import PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported
from kybern.registry.checks import int_or_percent, is_nothing, judged, not_above_all, not_negative
from kybern.registry.columns import AGE, NAME, TEMPLATE_COLUMNS
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, scale, spec_of, status
from kybern.registry.persistentvolumeclaims import claim_spec_warnings, default_claim
from kybern.registry.podspec.defaults import default_template
from kybern.registry.podspec.warnings import template_warnings
from kybern.registry.resource import Column, Resource
from kybern.registry.workloads import (
    AVAILABLE,
    COLLISIONS,
    OBSERVED,
    READY,
    REPLICAS,
    REPLICAS_DEFAULT,
    REVISION_HISTORY_DEFAULT,
    UPDATED,
    Counts,
    selector_of,
    validate_counts,
    validate_lasting_template,
    validate_selected,
)

ROLLING = StatefulSetUpdateStrategy(type="RollingUpdate", rolling_update=RollingUpdateStatefulSetStrategy(partition=0))
RETAIN = StatefulSetPersistentVolumeClaimRetentionPolicy(when_deleted="Retain", when_scaled="Retain")
CHANGEABLE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def default(statefulset: StatefulSet) -> StatefulSet:
    return part(statefulset, "spec", default_spec)


def default_spec(spec: StatefulSetSpec) -> StatefulSetSpec:
    spec = filled(
        spec,
        pod_management_policy="OrderedReady",
        update_strategy=ROLLING,
        replicas=REPLICAS_DEFAULT,
        revision_history_limit=REVISION_HISTORY_DEFAULT,
        persistent_volume_claim_retention_policy=RETAIN,
    )
    spec = part(spec, "update_strategy", default_strategy)
    spec = part(
        spec,
        "persistent_volume_claim_retention_policy",
        lambda policy: filled(policy, when_deleted="Retain", when_scaled="Retain"),
    )
    return part(parts(spec, "volume_claim_templates", default_claim), "template", default_template)


def default_strategy(strategy: StatefulSetUpdateStrategy) -> StatefulSetUpdateStrategy:
    strategy = filled(strategy, type="RollingUpdate")
    if strategy.type != "RollingUpdate":
        return strategy
    if strategy.rolling_update is None:
        return changed(strategy, rolling_update=ROLLING.rolling_update)
    return part(strategy, "rolling_update", lambda rolling: filled(rolling, partition=0))


def validate(statefulset: StatefulSet) -> Iterator[FieldError]:
    """Of a new one; the Service that an old one names may have a name that is none by now."""
    yield from judged("spec.serviceName", statefulset.spec.service_name, names.dns1123_label)
    yield from validate_spec(statefulset.spec)


def validate_spec(spec: StatefulSetSpec) -> Iterator[FieldError]:
    if spec.pod_management_policy not in ("OrderedReady", "Parallel"):
        why = "must be 'OrderedReady' or 'Parallel'"
        yield invalid_value("spec.podManagementPolicy", spec.pod_management_policy, why)
    if spec.update_strategy is not None:
        yield from validate_strategy(spec.update_strategy, "spec.updateStrategy")
    policy = spec.persistent_volume_claim_retention_policy
    if policy is not None:
        for field, value in (("whenDeleted", policy.when_deleted), ("whenScaled", policy.when_scaled)):
            if value not in ("Delete", "Retain"):
                here = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
                yield not_supported(here, value, ("Delete", "Retain"))
    yield from validate_counts(spec, "spec", ("replicas", "replicas"), ("minReadySeconds", "min_ready_seconds"))
    if spec.ordinals is not None:
        yield from not_negative("spec.ordinals.start", spec.ordinals.start)
    yield from validate_selected(spec, "statefulset", unreadable="")
    template = spec.template
    claims = {claim.metadata.name for claim in spec.volume_claim_templates or ()}
    yield from validate_lasting_template(with_claim_volumes(template, claims), "spec.template", "StatefulSet")


def with_claim_volumes(template: PodTemplateSpec, claims: set[str | None]) -> PodTemplateSpec:
    """The template as its pods will be: each claim template is also a volume that containers may mount."""
    if not claims:
        return template
    volumes = [volume for volume in template.spec.volumes or () if volume.name not in claims]
    made = [
        Volume(name=name, persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=name))
        for name in sorted(claim or "" for claim in claims)
    ]
    return changed(template, spec=changed(template.spec, volumes=(*volumes, *made)))


def validate_strategy(strategy: StatefulSetUpdateStrategy, at: str) -> Iterator[FieldError]:
    rolling = strategy.rolling_update
    if strategy.type == "OnDelete":
        if rolling is not None:
            why = "only allowed for updateStrategy 'RollingUpdate'"
            yield invalid_value(f"{at}.rollingUpdate", rolling, why)
    elif strategy.type != "RollingUpdate":
        yield invalid_value(at, strategy, "must be 'RollingUpdate' or 'OnDelete'")
    elif rolling is not None:
        yield from not_negative(f"{at}.rollingUpdate.partition", rolling.partition)
        yield from int_or_percent(f"{at}.rollingUpdate.maxUnavailable", rolling.max_unavailable)
        if rolling.max_unavailable is not None and is_nothing(rolling.max_unavailable):
            yield invalid_value(f"{at}.rollingUpdate.maxUnavailable", rolling.max_unavailable, "cannot be 0")
        yield from not_above_all(f"{at}.rollingUpdate.maxUnavailable", rolling.max_unavailable)


def validate_update(statefulset: StatefulSet, old: StatefulSet) -> Iterator[FieldError]:
    yield from validate_spec(statefulset.spec)
    spec = old.spec
    leftover = changed(
        statefulset.spec,
        replicas=spec.replicas,
        ordinals=spec.ordinals,
        template=spec.template,
        update_strategy=spec.update_strategy,
        revision_history_limit=spec.revision_history_limit,
        persistent_volume_claim_retention_policy=spec.persistent_volume_claim_retention_policy,
        min_ready_seconds=spec.min_ready_seconds,
    )
    if leftover != spec:
        yield forbidden_field("spec", CHANGEABLE)


OF_TEMPLATE = template_warnings(lambda found: found.spec.template, "spec.template")
KEEPS_ALL = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"


def warnings(statefulset: StatefulSet, old: StatefulSet | None) -> Iterator[str]:
    yield from OF_TEMPLATE(statefulset, old)
    part = ".Spec" if old is not None else ""  # as upstream calls it, once so and once so
    for index, claim in enumerate(statefulset.spec.volume_claim_templates or ()):
        yield from claim_spec_warnings(claim.spec, f"spec.volumeClaimTemplates[{index}]{part}")
    if (statefulset.spec.revision_history_limit or 0) < 0:
        yield KEEPS_ALL


CURRENT = ("currentReplicas", "current_replicas")
STATUS_COUNTS = Counts(
    (REPLICAS, READY, CURRENT, UPDATED, OBSERVED, COLLISIONS, AVAILABLE),
    (READY, CURRENT, UPDATED, AVAILABLE),
    "status.readyReplicas",
)

STATEFULSETS = Resource(
    kind=kind_of(StatefulSet),
    warnings=warnings,
    short_names=("sts",),
    categories=("all",),
    default=default,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    validate_name=names.dns1123_label,
    generation=spec_of,
    subresources=(scale(selector_of), status(validate=STATUS_COUNTS)),
    columns=(
        NAME,
        Column(
            "Ready",
            lambda s, now: f"{s.status.ready_replicas or 0}/{s.spec.replicas or 0}",
            description="Number of the pod with ready state",
        ),
        AGE,
        *TEMPLATE_COLUMNS,
    ),
)
