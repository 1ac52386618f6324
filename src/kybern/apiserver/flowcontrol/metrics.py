"""What flow control does, as upstream's metrics name it; put together when somebody scrapes."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from kybern.apiserver.flowcontrol.control import FlowControl
from kybern.apiserver.flowcontrol.level import Level

PREFIX = "apiserver_flowcontrol"
BY_SCHEMA = ["flow_schema", "priority_level"]


class FlowMetrics:
    def __init__(self, control: FlowControl) -> None:
        self.control = control

    def collect(self) -> Iterator[Any]:
        dispatched = CounterMetricFamily(
            f"{PREFIX}_dispatched_requests", "Requests that were served.", labels=BY_SCHEMA
        )
        rejected = CounterMetricFamily(
            f"{PREFIX}_rejected_requests", "Requests that were turned away.", labels=[*BY_SCHEMA, "reason"]
        )
        waited = SummaryMetricFamily(
            f"{PREFIX}_request_wait_duration_seconds", "Time in a queue, of those that waited.", labels=BY_SCHEMA
        )
        for labels, counts in self.control.counts.items():
            dispatched.add_metric(labels, counts.dispatched)
            waited.add_metric(labels, counts.waited, counts.waited_seconds)
            for reason, count in counts.rejected.items():
                rejected.add_metric([*labels, reason], count)
        yield from (dispatched, rejected, waited)
        for name, text, value in GAUGES:
            gauge = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["priority_level"])
            for level in self.control.levels.values():
                if not level.exempt:
                    gauge.add_metric([level.name], value(level))
            yield gauge


def waiting_seats(level: Level) -> int:
    return level.queues.seats if level.queues is not None else 0


GAUGES: tuple[tuple[str, str, Any], ...] = (
    ("current_inqueue_requests", "Requests that wait.", lambda level: level.waiting),
    ("current_inqueue_seats", "Seats that the waiting want.", waiting_seats),
    ("current_executing_requests", "Requests that are served.", lambda level: level.executing),
    ("current_executing_seats", "Seats in use.", lambda level: level.in_use),
    ("nominal_limit_seats", "The level's share of the server's seats.", lambda level: level.bounds.nominal),
    ("lower_limit_seats", "What the level always keeps.", lambda level: level.bounds.least),
    ("upper_limit_seats", "The most that it may borrow up to.", lambda level: level.bounds.most),
    ("current_limit_seats", "The seats it has now.", lambda level: level.limit),
    ("demand_seats_smoothed", "What it lately wanted.", lambda level: level.demand.smooth),
)
