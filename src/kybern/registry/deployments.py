"""deployments: replicas of one template, and how a new template replaces the old one."""

from collections.abc import Iterator

from kybern.api.apps_v1 import Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported
from kybern.registry.checks import immutable, int_or_percent, is_nothing, not_above_all
from kybern.registry.columns import AGE, NAME, TEMPLATE_COLUMNS, selector_column
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, scale, status
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
    TERMINATING,
    UPDATED,
    Counts,
    selector_of,
    validate_counts,
    validate_lasting_template,
    validate_selected,
)

PROGRESS_SECONDS_DEFAULT = 600
ROLLING = RollingUpdateDeployment(max_surge="25%", max_unavailable="25%")
STRATEGY = DeploymentStrategy(type="RollingUpdate", rolling_update=ROLLING)


def default(deployment: Deployment) -> Deployment:
    return part(deployment, "spec", default_spec)


def default_spec(spec: DeploymentSpec) -> DeploymentSpec:
    spec = filled(
        spec,
        replicas=REPLICAS_DEFAULT,
        strategy=STRATEGY,
        revision_history_limit=REVISION_HISTORY_DEFAULT,
        progress_deadline_seconds=PROGRESS_SECONDS_DEFAULT,
    )
    return part(part(spec, "strategy", default_strategy), "template", default_template)


def default_strategy(strategy: DeploymentStrategy) -> DeploymentStrategy:
    strategy = filled(strategy, type="RollingUpdate")
    if strategy.type != "RollingUpdate":
        return strategy
    if strategy.rolling_update is None:
        return changed(strategy, rolling_update=ROLLING)
    return part(strategy, "rolling_update", lambda rolling: filled(rolling, max_surge="25%", max_unavailable="25%"))


def validate(deployment: Deployment) -> Iterator[FieldError]:
    spec = deployment.spec
    yield from validate_counts(spec, "spec", ("replicas", "replicas"))
    yield from validate_selected(spec)
    yield from validate_lasting_template(spec.template, "spec.template", "ReplicaSet")
    if spec.strategy is not None:
        yield from validate_strategy(spec.strategy, "spec.strategy")
    yield from validate_counts(
        spec,
        "spec",
        ("minReadySeconds", "min_ready_seconds"),
        ("revisionHistoryLimit", "revision_history_limit"),
        ("progressDeadlineSeconds", "progress_deadline_seconds"),
    )
    deadline = spec.progress_deadline_seconds
    if deadline is not None and deadline <= (spec.min_ready_seconds or 0):
        yield invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def validate_strategy(strategy: DeploymentStrategy, at: str) -> Iterator[FieldError]:
    rolling = strategy.rolling_update
    if strategy.type == "Recreate":
        if rolling is not None:
            why = "may not be specified when strategy `type` is 'Recreate'"
            yield forbidden_field(f"{at}.rollingUpdate", why)
    elif strategy.type != "RollingUpdate":
        yield not_supported(at, strategy, ("Recreate", "RollingUpdate"))
    elif rolling is not None:
        yield from validate_rolling(rolling, f"{at}.rollingUpdate")


def validate_rolling(rolling: RollingUpdateDeployment, at: str) -> Iterator[FieldError]:
    yield from int_or_percent(f"{at}.maxUnavailable", rolling.max_unavailable)
    yield from int_or_percent(f"{at}.maxSurge", rolling.max_surge)
    if is_nothing(rolling.max_unavailable) and is_nothing(rolling.max_surge):
        yield invalid_value(f"{at}.maxUnavailable", rolling.max_unavailable, "may not be 0 when `maxSurge` is 0")
    yield from not_above_all(f"{at}.maxUnavailable", rolling.max_unavailable)


def validate_update(deployment: Deployment, old: Deployment) -> Iterator[FieldError]:
    yield from validate(deployment)
    yield from immutable("spec.selector", deployment.spec.selector, old.spec.selector)


def ready_cell(deployment: Deployment, now: float) -> str:
    return f"{deployment.status.ready_replicas or 0}/{deployment.spec.replicas or 0}"


STATUS_COUNTS = Counts(
    (
        OBSERVED, REPLICAS, UPDATED, READY, AVAILABLE, ("unavailableReplicas", "unavailable_replicas"), TERMINATING,
        COLLISIONS,
    ),
    (UPDATED, READY, AVAILABLE),
    "readyReplicas",
)  # fmt: skip

DEPLOYMENTS = Resource(
    kind=kind_of(Deployment),
    warnings=template_warnings(lambda found: found.spec.template, "spec.template"),
    short_names=("deploy",),
    categories=("all",),
    default=default,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    # An annotation makes another generation too: rollbacks are told by annotations.
    generation=lambda deployment: (deployment.spec, deployment.metadata.annotations),
    subresources=(scale(selector_of), status("labels", validate=STATUS_COUNTS)),
    columns=(
        NAME,
        Column("Ready", ready_cell, description="Number of the pod with ready state"),
        Column(
            "Up-to-date",
            lambda deployment, now: deployment.status.updated_replicas or 0,
            of="apps_v1.DeploymentStatus.updatedReplicas",
        ),
        Column(
            "Available",
            lambda deployment, now: deployment.status.available_replicas or 0,
            of="apps_v1.DeploymentStatus.availableReplicas",
        ),
        AGE,
        *TEMPLATE_COLUMNS,
        selector_column("apps_v1.DeploymentSpec.selector"),
    ),
)
