"""What webhooks are asked, how long they take and how often they refuse or fail, for /metrics; upstream's names."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from kybern.observe.histogram import Histogram

BUCKETS_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
NO_ANSWER_CODE = 600  # upstream's, where no status came
SERIES_MAX = 10_000  # of the hooks' names, which users choose

PREFIX = "apiserver_admission_webhook"


class WebhookMetrics:
    def __init__(self) -> None:
        self.durations: dict[tuple[str, str, str, str], Histogram] = {}
        """name, type, operation, rejected"""
        self.requests: Counter[tuple[str, str, str, str, str]] = Counter()
        """name, type, operation, code, rejected"""
        self.rejections: Counter[tuple[str, str, str, str, str]] = Counter()
        """name, type, operation, error type, code"""
        self.failed_open: Counter[tuple[str, str]] = Counter()

    def asked(self, name: str, kind: str, operation: str, seconds: float, code: int, *, rejected: bool) -> None:
        """`kind` is admit or validating; an answer that could not be had has NO_ANSWER_CODE."""
        if len(self.durations) >= SERIES_MAX:
            return
        refusal = str(rejected).lower()
        self.durations.setdefault((name, kind, operation, refusal), Histogram(BUCKETS_SECONDS)).observe(seconds)
        self.requests[name, kind, operation, str(code), refusal] += 1
        if rejected:
            failed = code == NO_ANSWER_CODE
            error = "calling_webhook_error" if failed else "no_error"
            self.rejections[name, kind, operation, error, "0" if failed else str(code)] += 1

    def fails_open(self, name: str, kind: str) -> None:
        if len(self.failed_open) < SERIES_MAX:
            self.failed_open[name, kind] += 1

    def collect(self) -> Iterator[Any]:
        durations = HistogramMetricFamily(
            f"{PREFIX}_admission_duration_seconds", "Time that webhooks take.",
            labels=["name", "type", "operation", "rejected"],
        )  # fmt: skip
        for labels, found in self.durations.items():
            durations.add_metric(labels, found.buckets(), found.sum)
        yield durations
        counters: tuple[tuple[str, str, list[str], Counter[Any]], ...] = (
            ("request", "Calls.", ["name", "type", "operation", "code", "rejected"], self.requests),
            ("rejection_count", "Refusals.", ["name", "type", "operation", "error_type", "rejection_code"], self.rejections),
            ("fail_open_count", "Failures that were let pass.", ["name", "type"], self.failed_open),
        )  # fmt: skip
        for name, text, labels_of, counted in counters:
            counter = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels_of)
            for labels, count in counted.items():
                counter.add_metric(labels, count)
            yield counter
