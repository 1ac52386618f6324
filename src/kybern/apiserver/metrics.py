"""/metrics: what the server counts while it works, as Prometheus reads it.

Counting is a dict and an addition; names and labels are put together only when somebody scrapes.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from kybern.apiserver.request import ApiRequest
from kybern.observe.histogram import Histogram
from kybern.web.http import Response

BUCKETS_SECONDS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)

Labels = tuple[str, str, str, str, str]
"""verb, group, version, resource, subresource."""


class Metrics:
    def __init__(self) -> None:
        self.requests: dict[tuple[Labels, int], int] = {}
        self.durations: dict[Labels, Histogram] = {}
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def count(self, request: ApiRequest, code: int, seconds: float) -> None:
        at = request.attributes
        labels = (at.verb, at.group, at.version, at.resource, at.subresource) if request.resource else NOTHING
        key = labels, code
        self.requests[key] = self.requests.get(key, 0) + 1
        if at.verb == "watch":
            return
        found = self.durations.get(labels)
        if found is None:
            found = self.durations[labels] = Histogram(BUCKETS_SECONDS)
        found.observe(seconds)

    def collect(self) -> Iterator[Any]:
        names = ["verb", "group", "version", "resource", "subresource"]
        requests = CounterMetricFamily("apiserver_request", "Requests answered.", labels=[*names, "code"])
        for (labels, code), count in self.requests.items():
            requests.add_metric([labels[0].upper(), *labels[1:], str(code)], count)
        yield requests
        durations = HistogramMetricFamily("apiserver_request_duration_seconds", "Time to an answer.", labels=names)
        for labels, found in self.durations.items():
            durations.add_metric([labels[0].upper(), *labels[1:]], found.buckets(), found.sum)
        yield durations

    async def answer(self, request: ApiRequest) -> Response:
        return Response(
            200, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}, generate_latest(self.registry)
        )


NOTHING: Labels = ("other", "", "", "", "")
