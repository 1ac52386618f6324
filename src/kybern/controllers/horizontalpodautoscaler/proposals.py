"""What each metric of an autoscaler asks for: a number of replicas, the metric's status, and its name for the user.

Every kind of metric has one function here. A metric that cannot be had is a `Failed`, which carries the reason of the
event and of the condition.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kybern.api import quantity
from kybern.api.autoscaling_v2 import (
    ContainerResourceMetricStatus,
    CrossVersionObjectReference,
    ExternalMetricSource,
    ExternalMetricStatus,
    MetricIdentifier,
    MetricSpec,
    MetricStatus,
    MetricTarget,
    MetricValueStatus,
    ObjectMetricSource,
    ObjectMetricStatus,
    PodsMetricSource,
    PodsMetricStatus,
    ResourceMetricStatus,
)
from kybern.api.core_v1 import Pod
from kybern.api.go_selectors import selector_text
from kybern.api.kind import Kind
from kybern.api.numbers import INT32_MAX
from kybern.api.shape import Quantity
from kybern.controllers.horizontalpodautoscaler.metrics import Metrics, Samples
from kybern.controllers.horizontalpodautoscaler.replicas import (
    NoProposal,
    Tolerance,
    by_average,
    by_share,
    by_utilization,
    by_value,
    grouped,
    requests_of,
)

MILLI = 1_000_000  # in billionths
NO_TARGET = "invalid {} metric source: neither {} target nor an {} target was set"
FAILED = {
    "ContainerResource": "FailedGetContainerResourceMetric",
    "External": "FailedGetExternalMetric",
    "Object": "FailedGetObjectMetric",
    "Pods": "FailedGetPodsMetric",
    "Resource": "FailedGetResourceMetric",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled, as it is now."""

    wanted: int
    """`spec.replicas`"""
    running: int
    """`status.replicas`"""
    selector: str
    pods: Sequence[Pod]


@dataclass(frozen=True, slots=True)
class Proposal:
    replicas: int
    name: str
    status: MetricStatus


@dataclass(frozen=True, slots=True)
class Failed:
    reason: str
    message: str
    """Of the condition."""
    whole: str
    """With what failed, as the first error of all metrics is told."""


class Proposing:
    """One look at the metrics, for one target."""

    def __init__(
        self,
        target: Target,
        metrics: Metrics,
        tolerance: Tolerance,
        kind_of: Callable[[CrossVersionObjectReference], Kind | None],
        now: float,
    ) -> None:
        self.target, self.metrics, self.tolerance, self.kind_of, self.now = target, metrics, tolerance, kind_of, now

    async def propose(self, spec: MetricSpec) -> Proposal | Failed:
        try:
            if spec.resource is not None:
                return await self.resource(spec.resource.name, "", spec.resource.target)
            if spec.container_resource is not None:
                found = spec.container_resource
                return await self.resource(found.name, found.container, found.target)
            if spec.pods is not None:
                return await self.pods(spec.pods)
            if spec.object is not None:
                return await self.object(spec.object)
            if spec.external is not None:
                return await self.external(spec.external)
        except NoProposal as error:
            return Failed(FAILED[spec.type], str(error), f"failed to get {called(spec)} metric value: {error}")
        message = f'unknown metric source type "{spec.type}"'
        return Failed("InvalidMetricSourceType", message, message)

    async def resource(self, name: str, container: str, target: MetricTarget) -> Proposal:
        if target.average_value is None and target.average_utilization is None:
            raise NoProposal(NO_TARGET.format("resource", "an average utilization", "average value (usage)"))
        doing = "usage" if target.average_value is not None else "utilization"
        try:
            replicas, value = await self._resource(name, container, target)
        except NoProposal as error:
            raise NoProposal(f"failed to get {name} {doing}: {error}") from error
        whose = "container resource" if container else "resource"
        told = f"{name} resource" if doing == "usage" else f"{name} {whose} utilization (percentage of request)"
        if container:
            status = ContainerResourceMetricStatus(name=name, container=container, current=value)
            return Proposal(replicas, told, MetricStatus(type="ContainerResource", container_resource=status))
        whole = ResourceMetricStatus(name=name, current=value)
        return Proposal(replicas, told, MetricStatus(type="Resource", resource=whole))

    async def _resource(self, name: str, container: str, target: MetricTarget) -> tuple[int, MetricValueStatus]:
        try:
            samples = await self.metrics.of_resource(name, container, self.target.selector)
        except NoProposal as error:
            raise NoProposal(f"unable to get metrics for resource {name}: {error}") from error
        if target.average_value is not None:
            return self._average(samples, quantity.milli(target.average_value), name)
        groups = grouped(self._known(), samples, name, self.now)
        asked = requests_of(self.target.pods, name, container)
        percent, wanted = target.average_utilization or 0, self.target.wanted
        replicas, rate = by_utilization(wanted, percent, samples, asked, groups, self.tolerance)
        shown = max(-INT32_MAX, min(rate.utilization, INT32_MAX))  # a metrics API may lie beyond what a status can say
        value = MetricValueStatus(average_utilization=shown, average_value=thousandths(rate.average, name))
        return replicas, value

    def _average(self, samples: Samples, target: int, resource: str = "") -> tuple[int, MetricValueStatus]:
        groups = grouped(self._known(), samples, resource, self.now)
        replicas, rate = by_average(self.target.wanted, target, samples, groups, self.tolerance)
        return replicas, MetricValueStatus(average_value=thousandths(rate.average, resource))

    def _known(self) -> Sequence[Pod]:
        if not self.target.pods:
            raise NoProposal("no pods returned by selector while calculating replica count")
        return self.target.pods

    async def pods(self, source: PodsMetricSource) -> Proposal:
        name = source.metric.name
        try:
            samples = await self.metrics.of_pods(source.metric, self.target.selector)
        except NoProposal as error:
            raise NoProposal(f"unable to get metric {name}: {error}") from error
        replicas, value = self._average(samples, quantity.milli(source.target.average_value or "0"))
        status = MetricStatus(type="Pods", pods=PodsMetricStatus(metric=source.metric, current=value))
        return Proposal(replicas, f"pods metric {name}", status)

    async def object(self, source: ObjectMetricSource) -> Proposal:
        described, metric = source.described_object, source.metric
        replicas, value = self._together("object", source.target, await self._of_object(source))
        shown = ObjectMetricStatus(metric=metric, described_object=described, current=value)
        shared = source.target.average_value is not None
        told = outside(metric) if shared else f"{described.kind} metric {metric.name}"
        return Proposal(replicas, told, MetricStatus(type="Object", object=shown))

    async def _of_object(self, source: ObjectMetricSource) -> int:
        described = source.described_object
        kind = self.kind_of(described)
        where = f"{described.kind} {self.metrics.namespace}/{described.name}"
        try:
            if kind is None:
                raise NoProposal(f'no matches for kind "{described.kind}" in version "{described.api_version}"')
            return await self.metrics.of_object(source.metric, described, kind)
        except NoProposal as error:
            raise NoProposal(f"unable to get metric {source.metric.name} on {where}: {error}") from error

    async def external(self, source: ExternalMetricSource) -> Proposal:
        metric = source.metric
        try:
            value = await self.metrics.of_outside(metric)
        except NoProposal as error:
            which = f"{self.metrics.namespace}/{metric.name}/{selector_text(metric.selector)}"
            raise NoProposal(f"unable to get external metric {which}: {error}") from error
        replicas, told = self._together("external", source.target, value)
        status = MetricStatus(type="External", external=ExternalMetricStatus(metric=metric, current=told))
        return Proposal(replicas, outside(metric), status)

    def _together(self, source: str, target: MetricTarget, value: int) -> tuple[int, MetricValueStatus]:
        """One value for all pods: against a target of its own, or shared out among them."""
        if target.average_value is not None:
            each = quantity.milli(target.average_value)
            replicas, share = by_share(self.target.running, each, value, self.tolerance)
            return replicas, MetricValueStatus(average_value=thousandths(share))
        if target.value is None:
            raise NoProposal(NO_TARGET.format(source, "a value", "average value"))
        most = quantity.milli(target.value)
        replicas = by_value(self.target.wanted, most, value, self.target.pods, self.tolerance)
        return replicas, MetricValueStatus(value=thousandths(value))


def called(spec: MetricSpec) -> str:
    """The metric in a message about what failed."""
    if spec.resource is not None:
        return f"{spec.resource.name} resource"
    if spec.container_resource is not None:
        return f"{spec.container_resource.container} container"
    if spec.external is not None:
        return f"{spec.external.metric.name} external"
    return spec.type.lower()


def outside(metric: MetricIdentifier) -> str:
    """A metric that belongs to no pod, in a message."""
    return f"external metric {metric.name}({selector_text(metric.selector)})"


def thousandths(value: int, resource: str = "") -> Quantity:
    """Memory is told in powers of 1,024, as metrics-server does."""
    if resource == "memory":
        return quantity.of_value(-(-value // 1000), "binary")
    return quantity.from_amount(value * MILLI)
