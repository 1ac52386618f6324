"""HorizontalPodAutoscaler between autoscaling/v1 and v2, without loss in either direction."""

from typing import Any

import msgspec

from kybern.api import autoscaling_v1, autoscaling_v2
from kybern.api.autoscaling_v2 import (
    HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerCondition,
    MetricSpec,
    MetricStatus,
    MetricTarget,
    MetricValueStatus,
    ResourceMetricSource,
    ResourceMetricStatus,
)
from kybern.api.codec import decode, encode
from kybern.registry.parts import changed

PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS = f"{PREFIX}metrics"
BEHAVIOR = f"{PREFIX}behavior"
CURRENT_METRICS = f"{PREFIX}current-metrics"
CONDITIONS = f"{PREFIX}conditions"


def to_v2(old: autoscaling_v1.HorizontalPodAutoscaler) -> autoscaling_v2.HorizontalPodAutoscaler:
    notes = old.metadata.annotations or {}
    metrics: tuple[MetricSpec, ...] = remembered(notes, METRICS, tuple[MetricSpec, ...]) or ()
    percent = old.spec.target_cpu_utilization_percentage
    if percent is not None:
        target = MetricTarget(type="Utilization", average_utilization=percent)
        metrics = (MetricSpec(type="Resource", resource=ResourceMetricSource(name="cpu", target=target)), *metrics)
    current: tuple[MetricStatus, ...] = remembered(notes, CURRENT_METRICS, tuple[MetricStatus, ...]) or ()
    usage = old.status.current_cpu_utilization_percentage
    if usage is not None:
        found = ResourceMetricStatus(name="cpu", current=MetricValueStatus(average_utilization=usage))
        current = (MetricStatus(type="Resource", resource=found), *current)
    kept = {key: text for key, text in notes.items() if key not in (METRICS, BEHAVIOR, CURRENT_METRICS, CONDITIONS)}
    return autoscaling_v2.HorizontalPodAutoscaler(
        metadata=old.metadata if kept == notes else changed(old.metadata, annotations=kept or None),
        spec=autoscaling_v2.HorizontalPodAutoscalerSpec(
            behavior=remembered(notes, BEHAVIOR, HorizontalPodAutoscalerBehavior),
            max_replicas=old.spec.max_replicas,
            metrics=metrics or None,
            min_replicas=old.spec.min_replicas,
            scale_target_ref=msgspec.convert(
                old.spec.scale_target_ref, autoscaling_v2.CrossVersionObjectReference, from_attributes=True
            ),
        ),
        status=autoscaling_v2.HorizontalPodAutoscalerStatus(
            conditions=remembered(notes, CONDITIONS, tuple[HorizontalPodAutoscalerCondition, ...]),
            current_metrics=current or None,
            current_replicas=old.status.current_replicas or None,
            desired_replicas=old.status.desired_replicas,
            last_scale_time=old.status.last_scale_time,
            observed_generation=old.status.observed_generation,
        ),
    )


def remembered(notes: Any, key: str, type_: Any) -> Any:
    """What an annotation holds; a broken one is as good as none."""
    try:
        return decode(type_, notes[key].encode())
    except (KeyError, ValueError):
        return None


def from_v2(new: autoscaling_v2.HorizontalPodAutoscaler) -> autoscaling_v1.HorizontalPodAutoscaler:
    percent, metrics = without_cpu(new.spec.metrics or (), "target")
    usage, current = without_cpu(new.status.current_metrics or (), "current")
    notes = dict(new.metadata.annotations or {})
    for key, value in (
        (METRICS, metrics), (CURRENT_METRICS, current), (CONDITIONS, new.status.conditions),
        (BEHAVIOR, new.spec.behavior),
    ):  # fmt: skip
        if value:
            notes[key] = encode(value).decode()
    return autoscaling_v1.HorizontalPodAutoscaler(
        metadata=changed(new.metadata, annotations=notes or None),
        spec=autoscaling_v1.HorizontalPodAutoscalerSpec(
            max_replicas=new.spec.max_replicas,
            min_replicas=new.spec.min_replicas,
            scale_target_ref=msgspec.convert(
                new.spec.scale_target_ref, autoscaling_v1.CrossVersionObjectReference, from_attributes=True
            ),
            target_cpu_utilization_percentage=percent,
        ),
        status=autoscaling_v1.HorizontalPodAutoscalerStatus(
            current_cpu_utilization_percentage=usage,
            current_replicas=new.status.current_replicas or 0,
            desired_replicas=new.status.desired_replicas,
            last_scale_time=new.status.last_scale_time,
            observed_generation=new.status.observed_generation,
        ),
    )


def without_cpu(metrics: Any, part: str) -> tuple[int | None, tuple[Any, ...]]:
    """The CPU utilization, which v1 has a field for, and everything else."""
    percent: int | None = None
    others = []
    for metric in metrics:
        found: Any = getattr(metric.resource, part) if metric.resource is not None else None
        is_cpu = found is not None and metric.resource.name == "cpu" and found.average_utilization is not None
        if is_cpu and found is not None and percent is None:
            percent = found.average_utilization
        else:
            others.append(metric)
    return percent, tuple(others)
