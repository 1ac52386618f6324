"""horizontalpodautoscalers: replicas by load, told in autoscaling/v2 and, as far as it goes, in v1. Stored as v2.

What v1 cannot say (other metrics than CPU, behavior) travels in annotations, so that a v1 client does not lose it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kybern.api import autoscaling_v1, names, quantity
from kybern.api.autoscaling_v2 import (
    CrossVersionObjectReference,
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerSpec,
    HPAScalingPolicy,
    HPAScalingRules,
    MetricSpec,
    MetricTarget,
    ResourceMetricSource,
)
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.registry.autoscaler_columns import COLUMNS, SOURCES, of_v2
from kybern.registry.autoscaler_v1 import METRICS, from_v2, to_v2
from kybern.registry.checks import NOT_NEGATIVE, judged, named, not_negative
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.podspec.amounts import STANDARD, validate_container_resource_name
from kybern.registry.resource import Resource

CPU_PERCENT_DEFAULT = 80
METRIC_TYPES = ("ContainerResource", "External", "Object", "Pods", "Resource")
CPU = MetricSpec(
    type="Resource",
    resource=ResourceMetricSource(
        name="cpu", target=MetricTarget(type="Utilization", average_utilization=CPU_PERCENT_DEFAULT)
    ),
)
SCALE_UP = HPAScalingRules(
    stabilization_window_seconds=0,
    select_policy="Max",
    policies=(
        HPAScalingPolicy(type="Pods", value=4, period_seconds=15),
        HPAScalingPolicy(type="Percent", value=100, period_seconds=15),
    ),
)
SCALE_DOWN = HPAScalingRules(
    select_policy="Max", policies=(HPAScalingPolicy(type="Percent", value=100, period_seconds=15),)
)


@dataclass(frozen=True, slots=True)
class Leniency:
    """What is let pass since the stored object is as it is: the version of an unchanged target, other wrong versions."""

    target: bool = False
    described: bool = False


def default(scaler: HorizontalPodAutoscaler) -> HorizontalPodAutoscaler:
    return part(scaler, "spec", default_spec)


def default_spec(spec: HorizontalPodAutoscalerSpec) -> HorizontalPodAutoscalerSpec:
    spec = filled(spec, min_replicas=1)
    if not spec.metrics:
        spec = changed(spec, metrics=(CPU,))
    if spec.behavior is not None:
        up = filled_rules(spec.behavior.scale_up, SCALE_UP)
        down = filled_rules(spec.behavior.scale_down, SCALE_DOWN)
        spec = changed(spec, behavior=changed(spec.behavior, scale_up=up, scale_down=down))
    return spec


def filled_rules(rules: HPAScalingRules | None, defaults: HPAScalingRules) -> HPAScalingRules:
    if rules is None:
        return defaults
    rules = filled(rules, select_policy=defaults.select_policy, policies=defaults.policies)
    if defaults.stabilization_window_seconds is None:
        return rules
    return filled(rules, stabilization_window_seconds=defaults.stabilization_window_seconds)


def default_v1(scaler: autoscaling_v1.HorizontalPodAutoscaler) -> autoscaling_v1.HorizontalPodAutoscaler:
    scaler = part(scaler, "spec", lambda spec: filled(spec, min_replicas=1))
    if scaler.spec.target_cpu_utilization_percentage is not None or METRICS in (scaler.metadata.annotations or {}):
        return scaler
    return part(scaler, "spec", lambda spec: filled(spec, target_cpu_utilization_percentage=CPU_PERCENT_DEFAULT))


def validate(scaler: HorizontalPodAutoscaler) -> Iterator[FieldError]:
    yield from validate_spec(scaler.spec, Leniency())


def validate_update(scaler: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler) -> Iterator[FieldError]:
    yield from validate_spec(scaler.spec, leniency_of(scaler.spec, old.spec))


def validate_spec(spec: HorizontalPodAutoscalerSpec, lenient: Leniency) -> Iterator[FieldError]:
    low = spec.min_replicas
    if low is not None and low < 0:
        yield invalid_value("spec.minReplicas", low, "must be greater than or equal to 0")
    if spec.max_replicas < 1:
        yield invalid_value("spec.maxReplicas", spec.max_replicas, "must be greater than 0")
    if low is not None and spec.max_replicas < low:
        why = "must be greater than or equal to `minReplicas`"
        yield invalid_value("spec.maxReplicas", spec.max_replicas, why)
    yield from validate_reference(spec.scale_target_ref, "spec.scaleTargetRef")
    if not lenient.target:
        yield from wrong_target_version(spec)
    for index, metric in enumerate(spec.metrics or ()):
        yield from validate_metric(metric, f"spec.metrics[{index}]", lenient)
    if low == 0 and not told_without_pods(spec):
        why = "must specify at least one Object or External metric to support scaling to zero replicas"
        yield forbidden_field("spec.metrics", why)
    for field, rules in (
        ("scaleUp", spec.behavior.scale_up if spec.behavior else None),
        ("scaleDown", spec.behavior.scale_down if spec.behavior else None),
    ):
        if rules is not None:
            yield from validate_rules(rules, f"spec.behavior.{field}")


def told_without_pods(spec: HorizontalPodAutoscalerSpec) -> bool:
    """Whether one of its metrics says something also of what has no pods."""
    return any(metric.type in ("External", "Object") for metric in spec.metrics or ())


def leniency_of(spec: HorizontalPodAutoscalerSpec, old: HorizontalPodAutoscalerSpec) -> Leniency:
    target, before = spec.scale_target_ref, old.scale_target_ref
    described = (metric.object.described_object for metric in old.metrics or () if metric.object is not None)
    return Leniency(
        target=(target.api_version or "", target.kind) == (before.api_version or "", before.kind),
        described=any(any(wrong_version(ref, "")) for ref in described),
    )


def wrong_target_version(spec: HorizontalPodAutoscalerSpec) -> Iterator[FieldError]:
    """What can be scaled is in some group, but for the one kind of the core group."""
    ref = spec.scale_target_ref
    yield from wrong_version(ref, "spec.scaleTargetRef", core=ref.kind == "ReplicationController")


def wrong_version(ref: CrossVersionObjectReference, at: str, *, core: bool = True) -> Iterator[FieldError]:
    version = ref.api_version or ""
    if version.count("/") > 1:
        yield invalid_value(f"{at}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    elif not core and not version.rpartition("/")[0]:
        yield invalid_value(f"{at}.apiVersion", version, "apiVersion must specify API group")


def validate_reference(ref: CrossVersionObjectReference, at: str) -> Iterator[FieldError]:
    for field, value in (("kind", ref.kind), ("name", ref.name)):
        yield from named(f"{at}.{field}", value, names.path_segment)


def validate_metric(metric: MetricSpec, at: str, lenient: Leniency) -> Iterator[FieldError]:
    if not metric.type:
        yield required(f"{at}.type", "must specify a metric source type")
    if metric.type not in METRIC_TYPES:
        yield not_supported(f"{at}.type", metric.type, METRIC_TYPES)
    sources = {field_of(type_): getattr(metric, name) for type_, name in SOURCES.items()}
    found = [field for field, source in sources.items() if source is not None]
    for field in found[:1]:
        yield from validate_source(field, sources[field], f"{at}.{field}", lenient)
    wanted = field_of(metric.type)
    if metric.type in METRIC_TYPES and wanted not in found:
        yield required(f"{at}.{wanted}", "must populate information for the given metric source")
    for field in found if len(found) > 1 else ():
        if field != wanted:
            yield forbidden_field(f"{at}.{field}", "must populate the given metric source only")


def field_of(type_: str) -> str:
    return type_[:1].lower() + type_[1:]


def validate_source(field: str, source: Any, at: str, lenient: Leniency) -> Iterator[FieldError]:
    if field in ("resource", "containerResource"):
        if not source.name:
            yield required(f"{at}.name", "must specify a resource name")
        elif field == "containerResource" and source.name not in STANDARD:
            yield from validate_container_resource_name(source.name, f"{at}.name")
        if field == "containerResource" and not source.container:
            yield required(f"{at}.container", "must specify a container")
        elif field == "containerResource":
            yield from judged(f"{at}.container", source.container, names.dns1123_label)
    else:
        if field == "object":
            yield from validate_reference(source.described_object, f"{at}.describedObject")
            if not lenient.described:
                yield from wrong_version(source.described_object, f"{at}.describedObject")
        yield from named_metric(source.metric.name, f"{at}.metric")
    yield from validate_target(source.target, f"{at}.target")
    yield from validate_asked(field, source.target, f"{at}.target")


def named_metric(name: str, at: str) -> Iterator[FieldError]:
    if not name:
        yield required(f"{at}.name", "must specify a metric name")
    else:
        for wrong in names.path_segment(name):
            yield invalid_value(f"{at}.name", name, wrong)


def validate_asked(field: str, target: MetricTarget, at: str) -> Iterator[FieldError]:
    """A target says one thing, and one that its source can be compared with."""
    match field:
        case "resource" | "containerResource":
            if target.average_utilization is None and target.average_value is None:
                why = "must set either a target raw value or a target utilization"
                yield required(f"{at}.averageUtilization", why)
            if target.average_utilization is not None and target.average_value is not None:
                why = "may not set both a target raw value and a target utilization"
                yield forbidden_field(f"{at}.averageValue", why)
        case "pods":
            if target.average_value is None:
                yield required(f"{at}.averageValue", "must specify a positive target averageValue")
        case "object":
            if target.value is None and target.average_value is None:
                yield required(f"{at}.averageValue", "must set either a target value or averageValue")
        case _:
            if target.value is None and target.average_value is None:
                why = "must set either a target value for metric or a per-pod target"
                yield required(f"{at}.averageValue", why)
            if target.value is not None and target.average_value is not None:
                why = "may not set both a target value for metric and a per-pod target"
                yield forbidden_field(f"{at}.value", why)


def validate_target(target: MetricTarget, at: str) -> Iterator[FieldError]:
    if target.type not in ("Utilization", "Value", "AverageValue"):
        if not target.type:
            yield required(f"{at}.type", "must specify a metric target type")
        yield invalid_value(f"{at}.type", target.type, "must be either Utilization, Value, or AverageValue")
    for field, amount in (("value", target.value), ("averageValue", target.average_value)):
        if amount is not None and quantity.parse(amount).nano <= 0:
            yield invalid_value(f"{at}.{field}", amount, "must be positive")
    if target.average_utilization is not None and target.average_utilization < 1:
        yield invalid_value(f"{at}.averageUtilization", target.average_utilization, "must be greater than 0")


def validate_rules(rules: HPAScalingRules, at: str) -> Iterator[FieldError]:
    window = rules.stabilization_window_seconds
    if window is not None and not 0 <= window <= 3600:
        limit = "must be greater than or equal to zero" if window < 0 else "must be less than or equal to 3600"
        yield invalid_value(f"{at}.stabilizationWindowSeconds", window, limit)
    if rules.select_policy not in (None, "Disabled", "Max", "Min"):
        yield not_supported(f"{at}.selectPolicy", rules.select_policy, ("Disabled", "Max", "Min"))
    if not rules.policies:
        yield required(f"{at}.policies", "must specify at least one Policy")
    for index, policy in enumerate(rules.policies or ()):
        here = f"{at}.policies[{index}]"
        if policy.type not in ("Percent", "Pods"):
            yield not_supported(f"{here}.type", policy.type, ("Percent", "Pods"))
        if policy.value <= 0:
            yield invalid_value(f"{here}.value", policy.value, "must be greater than zero")
        if not 0 < policy.period_seconds <= 1800:
            why = "must be greater than zero" if policy.period_seconds <= 0 else "must be less than or equal to 1800"
            yield invalid_value(f"{here}.periodSeconds", policy.period_seconds, why)
    if rules.tolerance is not None and quantity.parse(rules.tolerance).nano < 0:
        yield invalid_value(f"{at}.tolerance", rules.tolerance, NOT_NEGATIVE)


def validate_v1(scaler: autoscaling_v1.HorizontalPodAutoscaler) -> Iterator[FieldError]:
    yield from validate(to_v2(scaler))


def validate_v1_update(
    scaler: autoscaling_v1.HorizontalPodAutoscaler, old: autoscaling_v1.HorizontalPodAutoscaler
) -> Iterator[FieldError]:
    yield from validate_update(to_v2(scaler), to_v2(old))


def validate_status(scaler: Any, old: Any) -> Iterator[FieldError]:
    """In either version."""
    yield from not_negative("status.currentReplicas", scaler.status.current_replicas)
    yield from not_negative("status.desiredReplicas", scaler.status.desired_replicas)


AUTOSCALERS = Resource(
    kind=kind_of(HorizontalPodAutoscaler),
    short_names=("hpa",),
    categories=("all",),
    default=default,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    generation=spec_of,
    subresources=(status(validate=validate_status),),
    columns=COLUMNS,
)

AUTOSCALERS_V1 = Resource(
    kind=kind_of(autoscaling_v1.HorizontalPodAutoscaler),
    short_names=("hpa",),
    categories=("all",),
    default=default_v1,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_v1,
    validate_update=validate_v1_update,
    generation=spec_of,
    subresources=(status(validate=validate_status),),
    to_storage=lambda scaler: default(to_v2(scaler)),
    from_storage=from_v2,
    columns=tuple(map(of_v2, COLUMNS)),
)
