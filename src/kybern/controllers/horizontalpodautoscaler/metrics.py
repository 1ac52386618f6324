"""The three metrics APIs, asked as upstream asks them: of pods' resources, of pods and objects, of what lies outside.

Somebody else serves them (metrics-server, an adapter), behind the aggregator; while nobody does, every question is a
`NoProposal` that says so.
"""

import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote

import msgspec

from kybern.aio.clock import from_rfc3339
from kybern.api import quantity
from kybern.api.autoscaling_v2 import CrossVersionObjectReference, MetricIdentifier
from kybern.api.codec import decode
from kybern.api.errors import ApiError, NotFound
from kybern.api.kind import Kind
from kybern.api.meta_v1 import APIGroup, LabelSelector, ObjectMeta
from kybern.api.selectors import of_label_selector
from kybern.api.shape import Quantity
from kybern.client import Client
from kybern.client.paths import query_of
from kybern.controllers.horizontalpodautoscaler.replicas import NoProposal, Sample

RESOURCE_API = "/apis/metrics.k8s.io/v1beta1"
CUSTOM_API = "/apis/custom.metrics.k8s.io"
CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
EXTERNAL_API = "/apis/external.metrics.k8s.io/v1beta1"
WINDOW_SECONDS = 60.0
ZERO = Quantity("0")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
DURATION = re.compile(r"([0-9.]+)(h|ms|us|µs|ns|m|s)")

A = TypeVar("A")

Samples = Mapping[str, Sample]
"""By the pod's name."""


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    pass


class ContainerUsage(Answer, frozen=True):
    name: str = ""
    usage: Mapping[str, Quantity] = {}


class PodUsage(Answer, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    timestamp: str = ""
    window: str = ""
    containers: tuple[ContainerUsage, ...] = ()


class PodUsages(Answer, frozen=True):
    items: tuple[PodUsage, ...] = ()


class Named(Answer, frozen=True):
    name: str = ""


class Value(Answer, frozen=True):
    described_object: Named = Named()
    timestamp: str = ""
    window_seconds: int | None = None
    value: Quantity = ZERO


class Values(Answer, frozen=True):
    items: tuple[Value, ...] = ()


class Metrics:
    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace

    async def of_resource(self, resource: str, container: str, selector: str) -> Samples:
        """What each pod uses of a resource, all its containers or one of them."""
        path = f"{RESOURCE_API}/namespaces/{self.namespace}/pods?{query_of(labelSelector=selector)}"
        found = await self._ask(PodUsages, path, "resource", "pods.metrics.k8s.io")
        if not found.items:
            raise NoProposal("no metrics returned from resource metrics API")
        samples = {pod.metadata.name or "": used(pod, resource, container) for pod in found.items}
        return {pod: sample for pod, sample in samples.items() if sample is not None}

    async def of_pods(self, metric: MetricIdentifier, selector: str) -> Samples:
        path = f"namespaces/{self.namespace}/pods/*/{quote(metric.name, safe='')}"
        query = query_of(labelSelector=selector, metricLabelSelector=text_of(metric.selector))
        what = f"{metric.name}.custom.metrics.k8s.io"
        found = await self._ask(Values, f"{await self._custom()}/{path}?{query}", "custom", what)
        if not found.items:
            raise NoProposal("no metrics returned from custom metrics API")
        return {value.described_object.name: sample_of(value) for value in found.items}

    async def of_object(self, metric: MetricIdentifier, described: CrossVersionObjectReference, kind: Kind) -> int:
        within = f"namespaces/{self.namespace}/" if kind.namespaced and kind.kind != "Namespace" else ""
        resource = "metrics" if kind.kind == "Namespace" else quote(described.name, safe="")
        owner = f"namespaces/{self.namespace}" if kind.kind == "Namespace" else f"{within}{kind.group_resource}"
        query = query_of(metricLabelSelector=text_of(metric.selector))
        path = f"{await self._custom()}/{owner}/{resource}/{quote(metric.name, safe='')}?{query}"
        found = await self._ask(Values, path, "custom", f"{metric.name}.custom.metrics.k8s.io")
        if not found.items:
            raise NoProposal("no metrics returned from custom metrics API")
        return quantity.milli(found.items[0].value)

    async def of_outside(self, metric: MetricIdentifier) -> int:
        query = query_of(labelSelector=text_of(metric.selector))
        path = f"{EXTERNAL_API}/namespaces/{self.namespace}/{quote(metric.name, safe='')}?{query}"
        found = await self._ask(Values, path, "external", f"{metric.name}.external.metrics.k8s.io")
        if not found.items:
            raise NoProposal("no metrics returned from external metrics API")
        return sum(quantity.milli(value.value) for value in found.items)

    async def _custom(self) -> str:
        """The API in the newest version that is served and known here."""
        try:
            group = decode(APIGroup, await self.client.request("GET", CUSTOM_API))
        except (ApiError, msgspec.MsgspecError):
            group = APIGroup()
        served = {version.version for version in group.versions}
        version = next((known for known in CUSTOM_VERSIONS if known in served), None)
        if version is None:
            message = "no custom metrics API (custom.metrics.k8s.io) registered"
            raise NoProposal(f"unable to fetch metrics from custom metrics API: {message}")
        return f"{CUSTOM_API}/{version}"

    async def _ask(self, of: type[A], address: str, api: str, what: str) -> A:
        path, _, query = address.partition("?")
        try:
            return decode(of, await self.client.request("GET", path, query))
        except NotFound as error:
            raise NoProposal(f"unable to fetch metrics from {api} metrics API: {error} (get {what})") from error
        except (ApiError, msgspec.MsgspecError) as error:
            raise NoProposal(f"unable to fetch metrics from {api} metrics API: {error}") from error


def text_of(selector: LabelSelector | None) -> str:
    return str(of_label_selector(selector)) if selector is not None else ""


def used(pod: PodUsage, resource: str, container: str) -> Sample | None:
    """None while a container has not told yet: half a pod's usage would mislead."""
    asked = [found for found in pod.containers if container in ("", found.name)]
    if not asked or any(resource not in found.usage for found in asked):
        return None
    total = sum(quantity.milli(found.usage[resource]) for found in asked)
    return Sample(total, moment(pod.timestamp), seconds_of(pod.window))


def sample_of(value: Value) -> Sample:
    window = WINDOW_SECONDS if value.window_seconds is None else float(value.window_seconds)
    return Sample(quantity.milli(value.value), moment(value.timestamp), window)


def moment(text: str) -> float:
    return from_rfc3339(text) if text else 0.0


def seconds_of(duration: str) -> float:
    """`1m30s`, as Go writes durations."""
    parts = DURATION.findall(duration)
    return sum(float(number) * UNITS[unit] for number, unit in parts) if parts else WINDOW_SECONDS
