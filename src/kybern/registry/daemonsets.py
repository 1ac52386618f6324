"""daemonsets: one pod on every node that fits."""

from collections.abc import Iterator

from kybern.api.apps_v1 import DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet
from kybern.api.invalid import FieldError, invalid_value, not_supported, required
from kybern.api.numbers import integer
from kybern.registry.checks import immutable, int_or_percent, is_nothing, label_selector, not_above_all
from kybern.registry.columns import AGE, NAME, TEMPLATE_COLUMNS, labels_text, selector_column
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.podspec.defaults import default_template
from kybern.registry.podspec.warnings import template_warnings
from kybern.registry.resource import Column, Resource
from kybern.registry.workloads import (
    COLLISIONS,
    OBSERVED,
    REVISION_HISTORY_DEFAULT,
    Counts,
    empty_selector,
    is_empty,
    is_missing,
    matches,
    mismatch,
    validate_counts,
    validate_lasting_template,
)

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
ROLLING = DaemonSetUpdateStrategy(
    type="RollingUpdate", rolling_update=RollingUpdateDaemonSet(max_unavailable=1, max_surge=0)
)


def default(daemonset: DaemonSet) -> DaemonSet:
    return part(daemonset, "spec", default_spec)


def default_spec(spec: DaemonSetSpec) -> DaemonSetSpec:
    spec = filled(spec, update_strategy=ROLLING, revision_history_limit=REVISION_HISTORY_DEFAULT)
    return part(part(spec, "update_strategy", default_strategy), "template", default_template)


def default_strategy(strategy: DaemonSetUpdateStrategy) -> DaemonSetUpdateStrategy:
    strategy = filled(strategy, type="RollingUpdate")
    if strategy.type != "RollingUpdate":
        return strategy
    if strategy.rolling_update is None:
        return changed(strategy, rolling_update=ROLLING.rolling_update)
    return part(strategy, "rolling_update", lambda rolling: filled(rolling, max_unavailable=1, max_surge=0))


def on_create(daemonset: DaemonSet) -> DaemonSet:
    return with_template_generation(clear_status(daemonset), 1)


def on_update(daemonset: DaemonSet, old: DaemonSet) -> DaemonSet:
    """The annotation counts templates, and is the server's alone."""
    count = integer((old.metadata.annotations or {}).get(TEMPLATE_GENERATION)) or 0
    if daemonset.spec.template != old.spec.template:
        count += 1
    daemonset = keep_status(daemonset, old)
    return with_template_generation(daemonset, count) if count else daemonset


def with_template_generation(daemonset: DaemonSet, count: int) -> DaemonSet:
    annotations = daemonset.metadata.annotations or {}
    if annotations.get(TEMPLATE_GENERATION) == str(count):
        return daemonset
    annotations = {**annotations, TEMPLATE_GENERATION: str(count)}
    return changed(daemonset, metadata=changed(daemonset.metadata, annotations=annotations))


def validate(daemonset: DaemonSet) -> Iterator[FieldError]:
    spec = daemonset.spec
    yield from validate_selector(spec)
    yield from validate_lasting_template(spec.template, "spec.template", "DaemonSet")
    counts = (("minReadySeconds", "min_ready_seconds"), ("revisionHistoryLimit", "revision_history_limit"))
    yield from validate_counts(spec, "spec", *counts)
    if spec.update_strategy is not None:
        yield from validate_strategy(spec.update_strategy, "spec.updateStrategy")


def validate_selector(spec: DaemonSetSpec) -> Iterator[FieldError]:
    """Of a selector that is missing upstream says only that it selects nothing."""
    wrong = list(label_selector(spec.selector, "spec.selector"))
    yield from wrong
    if is_missing(spec) or (not wrong and not matches(spec.selector, spec.template)):
        yield mismatch(spec.template)
    elif is_empty(spec.selector):
        yield empty_selector(spec.selector, "daemonset")


def validate_strategy(strategy: DaemonSetUpdateStrategy, at: str) -> Iterator[FieldError]:
    if strategy.type == "OnDelete":
        return
    if strategy.type != "RollingUpdate":
        yield not_supported(at, strategy, ("RollingUpdate", "OnDelete"))
        return
    rolling = strategy.rolling_update
    if rolling is None:
        yield required(f"{at}.rollingUpdate")
        return
    limits = (("maxUnavailable", rolling.max_unavailable), ("maxSurge", rolling.max_surge))
    for check in (int_or_percent, not_above_all):
        for field, value in limits:
            yield from check(f"{at}.rollingUpdate.{field}", value)
    unavailable, surge = not is_nothing(rolling.max_unavailable), not is_nothing(rolling.max_surge)
    if unavailable and surge:
        why = "may not be set when maxUnavailable is non-zero"
        yield invalid_value(f"{at}.rollingUpdate.maxSurge", rolling.max_surge, why)
    if not unavailable and not surge:
        yield required(f"{at}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")


def validate_update(daemonset: DaemonSet, old: DaemonSet) -> Iterator[FieldError]:
    yield from validate(daemonset)
    yield from immutable("spec.selector", daemonset.spec.selector, old.spec.selector)


STATUS_COUNTS = Counts(
    (
        ("currentNumberScheduled", "current_number_scheduled"), ("numberMisscheduled", "number_misscheduled"),
        ("desiredNumberScheduled", "desired_number_scheduled"), ("numberReady", "number_ready"), OBSERVED,
        ("updatedNumberScheduled", "updated_number_scheduled"), ("numberAvailable", "number_available"),
        ("numberUnavailable", "number_unavailable"), COLLISIONS,
    )
)  # fmt: skip

DAEMONSETS = Resource(
    kind=kind_of(DaemonSet),
    warnings=template_warnings(lambda found: found.spec.template, "spec.template", named=False),
    short_names=("ds",),
    categories=("all",),
    default=default,
    on_create=on_create,
    on_update=on_update,
    validate=validate,
    validate_update=validate_update,
    generation=spec_of,
    subresources=(status(validate=STATUS_COUNTS),),
    columns=(
        NAME,
        Column(
            "Desired",
            lambda d, now: d.status.desired_number_scheduled,
            type="integer",
            of="apps_v1.DaemonSetStatus.desiredNumberScheduled",
        ),
        Column(
            "Current",
            lambda d, now: d.status.current_number_scheduled,
            type="integer",
            of="apps_v1.DaemonSetStatus.currentNumberScheduled",
        ),
        Column("Ready", lambda d, now: d.status.number_ready, type="integer", of="apps_v1.DaemonSetStatus.numberReady"),
        Column(
            "Up-to-date",
            lambda d, now: d.status.updated_number_scheduled or 0,
            type="integer",
            of="apps_v1.DaemonSetStatus.updatedNumberScheduled",
        ),
        Column(
            "Available",
            lambda d, now: d.status.number_available or 0,
            type="integer",
            of="apps_v1.DaemonSetStatus.numberAvailable",
        ),
        Column(
            "Node Selector",
            lambda d, now: labels_text(d.spec.template.spec.node_selector),
            of="core_v1.PodSpec.nodeSelector",
        ),
        AGE,
        *TEMPLATE_COLUMNS,
        selector_column("apps_v1.DaemonSetSpec.selector"),
    ),
)
