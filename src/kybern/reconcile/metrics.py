"""What the queues do, as Prometheus reads it, under the names that upstream's dashboards ask for: `workqueue_*`."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from kybern.reconcile.queue import Queue
from kybern.web.http import Request, Response


class QueueMetrics:
    def __init__(self) -> None:
        self.queues: dict[str, Queue[Any]] = {}
        """By their controllers' names."""
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def collect(self) -> Iterator[Any]:
        depth = GaugeMetricFamily("workqueue_depth", "Keys that wait.", labels=["name"])
        busy = GaugeMetricFamily("workqueue_unfinished_work_seconds", "Work under way.", labels=["name"])
        adds = CounterMetricFamily("workqueue_adds", "Keys added.", labels=["name"])
        retries = CounterMetricFamily("workqueue_retries", "Keys added again after a failure.", labels=["name"])
        waited = HistogramMetricFamily("workqueue_queue_duration_seconds", "Time that keys waited.", labels=["name"])
        worked = HistogramMetricFamily("workqueue_work_duration_seconds", "Time spent on keys.", labels=["name"])
        for name, queue in self.queues.items():
            depth.add_metric([name], len(queue))
            busy.add_metric([name], queue.seconds_under_way())
            adds.add_metric([name], queue.adds)
            retries.add_metric([name], queue.retries)
            waited.add_metric([name], queue.waited.buckets(), queue.waited.sum)
            worked.add_metric([name], queue.worked.buckets(), queue.worked.sum)
        yield from (depth, busy, adds, retries, waited, worked)

    async def answer(self, request: Request) -> Response:
        """Of a server that does nothing else."""
        if request.path != "/metrics":
            return Response(404, {"Content-Type": "text/plain"}, b"not found\n")
        text = generate_latest(self.registry)
        return Response(200, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}, text)
