"""How horizontalpodautoscalers are printed: each metric as it is and as it shall be, the first two of them."""

from dataclasses import replace
from typing import Any

from kybern.api.autoscaling_v2 import HorizontalPodAutoscaler, MetricSpec, MetricTarget
from kybern.registry.autoscaler_v1 import to_v2
from kybern.registry.columns import AGE, NAME, UNKNOWN, UNSET
from kybern.registry.resource import Column

SHOWN_MAX = 2
SOURCES = {
    "Object": "object", "External": "external", "Pods": "pods", "Resource": "resource",
    "ContainerResource": "container_resource",
}  # fmt: skip
"""Where a metric of each type keeps what it is of, in the order in which upstream looks."""


def targets_cell(scaler: HorizontalPodAutoscaler, now: float) -> str:
    metrics = scaler.spec.metrics or ()
    if not metrics:
        return "<none>"
    current = scaler.status.current_metrics or ()
    texts = [
        metric_text(metric, current[index] if index < len(current) else None) for index, metric in enumerate(metrics)
    ]
    shown = ", ".join(texts[:SHOWN_MAX])
    return f"{shown} + {len(texts) - SHOWN_MAX} more..." if len(texts) > SHOWN_MAX else shown


def metric_text(metric: MetricSpec, current: Any) -> str:
    """One metric as `cpu: 12%/80%`, or `250m/1 (avg)`."""
    name = SOURCES.get(metric.type, "")
    source = getattr(metric, name, None)
    if source is None:
        return "<unknown type>"
    found = getattr(getattr(current, name, None), "current", None)
    target = source.target
    if name in ("resource", "container_resource"):
        return f"{source.name}: {resource_text(target, found)}"
    if name == "pods":
        return f"{amount(found, 'average_value')}/{target.average_value}"
    if target.average_value is not None:
        return f"{amount(found, 'average_value', lacking=UNKNOWN)}/{target.average_value} (avg)"
    return f"{amount(found, 'value')}/{target.value}"


def amount(found: Any, name: str, *, lacking: str = "<nil>") -> Any:
    """What a status says; `lacking`: how upstream prints one that tells of the metric, but not this."""
    if found is None:
        return UNKNOWN
    value = getattr(found, name)
    return lacking if value is None else value


def resource_text(target: MetricTarget, found: Any) -> str:
    if target.average_value is not None:
        return f"{amount(found, 'average_value')}/{target.average_value}"
    current = UNKNOWN
    if found is not None and found.average_utilization is not None:
        current = f"{found.average_utilization}%"
    wanted = f"{target.average_utilization}%" if target.average_utilization is not None else "<auto>"
    return f"{current}/{wanted}"


COLUMNS = (
    NAME,
    Column(
        "Reference",
        lambda s, now: f"{s.spec.scale_target_ref.kind}/{s.spec.scale_target_ref.name}",
        of="autoscaling_v2.HorizontalPodAutoscalerSpec.scaleTargetRef",
    ),
    Column("Targets", targets_cell, of="autoscaling_v2.HorizontalPodAutoscalerSpec.metrics"),
    Column(
        "MinPods",
        lambda s, now: UNSET if s.spec.min_replicas is None else str(s.spec.min_replicas),
        of="autoscaling_v2.HorizontalPodAutoscalerSpec.minReplicas",
    ),
    Column("MaxPods", lambda s, now: s.spec.max_replicas, of="autoscaling_v2.HorizontalPodAutoscalerSpec.maxReplicas"),
    Column(
        "Replicas",
        lambda s, now: s.status.current_replicas or 0,
        of="autoscaling_v2.HorizontalPodAutoscalerStatus.currentReplicas",
    ),
    AGE,
)


def of_v2(column: Column) -> Column:
    cell = column.cell
    return replace(column, cell=lambda scaler, now: cell(to_v2(scaler), now))
