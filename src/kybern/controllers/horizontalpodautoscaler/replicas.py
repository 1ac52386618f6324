"""Replicas by load: how many pods would bring a measured value to its target. Arithmetic, no I/O.

Values are thousandths. A pod that is only starting, or of which nothing was measured, is counted so that it never makes
the change larger: as idle when pods are to be added, as busy when some are to go.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kybern.aio.clock import from_rfc3339
from kybern.api import quantity
from kybern.api.core_v1 import Container, Pod
from kybern.reconcile.pods import condition, is_finished, is_ready
from kybern.registry.quota_usage import pod_total, with_overhead

CPU_INITIALIZATION_SECONDS = 300.0
INITIAL_READINESS_SECONDS = 30.0
TOLERANCE = 0.1


class NoProposal(Exception):
    """A metric that cannot be had, or says nothing about the pods; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Sample:
    value: int
    taken_at: float = 0.0
    window_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the ratio of a value to its target may be off before anything is done."""

    down: float = TOLERANCE
    up: float = TOLERANCE

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Groups:
    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rate:
    ratio: float
    """Of the value to its target."""
    utilization: int
    """What is compared: per cent of the requests, or the average value."""
    average: int


def grouped(pods: Iterable[Pod], samples: Mapping[str, Sample], resource: str, now: float) -> Groups:
    ready, unready, missing, ignored = 0, set(), set(), set()
    for pod in pods:
        name = pod.metadata.name or ""
        if pod.metadata.deletion_timestamp is not None or is_finished(pod):
            ignored.add(name)
        elif pod.status.phase == "Pending":
            unready.add(name)
        elif name not in samples:
            missing.add(name)
        elif resource == "cpu" and is_starting(pod, samples[name], now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def is_starting(pod: Pod, sample: Sample, now: float) -> bool:
    """Its CPU says more about its start than about its load."""
    found = condition(pod, "Ready")
    if found is None or pod.status.start_time is None or found.last_transition_time is None:
        return True
    started, since = from_rfc3339(pod.status.start_time), from_rfc3339(found.last_transition_time)
    if started + CPU_INITIALIZATION_SECONDS > now:
        return found.status == "False" or sample.taken_at < since + sample.window_seconds
    return found.status == "False" and started + INITIAL_READINESS_SECONDS > since


def proposed(
    current: int,
    samples: Mapping[str, Sample],
    groups: Groups,
    rate: Callable[[Mapping[str, int]], Rate],
    when_missing: Callable[[str], int],
    tolerance: Tolerance,
) -> tuple[int, Rate]:
    """`when_missing` is what a pod without a sample is taken to use when pods are to go."""
    values = {
        pod: sample.value for pod, sample in samples.items() if pod not in groups.unready and pod not in groups.ignored
    }
    if not values:
        raise NoProposal("did not receive metrics for targeted pods (pods might be unready)")
    rated = rate(values)
    rebalance = bool(groups.unready) and rated.ratio > 1.0
    if not rebalance and not groups.missing:
        return current if tolerance.covers(rated.ratio) else math.ceil(rated.ratio * groups.ready), rated
    if rated.ratio < 1.0:
        values |= {pod: when_missing(pod) for pod in groups.missing}
    elif rated.ratio > 1.0:
        values |= dict.fromkeys(groups.missing, 0)
    if rebalance:
        values |= dict.fromkeys(groups.unready, 0)
    return settled(current, len(values), rated.ratio, rate(values).ratio, tolerance), rated


def settled(current: int, pods: int, before: float, after: float, tolerance: Tolerance) -> int:
    """Never the other way than the samples alone said."""
    if tolerance.covers(after) or (before < 1.0 < after) or (after < 1.0 < before):
        return current
    wanted = math.ceil(after * pods)
    turned = (after < 1.0 and wanted > current) or (after > 1.0 and wanted < current)
    return current if turned else wanted


def by_utilization(
    current: int, percent: int, samples: Mapping[str, Sample], requests: Mapping[str, int], groups: Groups,
    tolerance: Tolerance,
) -> tuple[int, Rate]:  # fmt: skip
    """A target in per cent of what the pods request."""

    def rate(values: Mapping[str, int]) -> Rate:
        known = {pod: used for pod, used in values.items() if pod in requests}
        asked = sum(requests[pod] for pod in known)
        if not asked:
            raise NoProposal("no metrics returned matched known pods")
        used = sum(known.values())
        return Rate(used * 100 // asked / percent, used * 100 // asked, used // len(known))

    return proposed(current, samples, groups, rate, lambda pod: requests[pod] * max(100, percent) // 100, tolerance)


def by_average(
    current: int, target: int, samples: Mapping[str, Sample], groups: Groups, tolerance: Tolerance
) -> tuple[int, Rate]:
    """A target for the average pod."""

    def rate(values: Mapping[str, int]) -> Rate:
        average = sum(values.values()) // len(values)
        return Rate(average / target, average, average)

    return proposed(current, samples, groups, rate, lambda _: target, tolerance)


def by_value(current: int, target: int, value: int, pods: Sequence[Pod], tolerance: Tolerance) -> int:
    """A target for one value that all pods together bring about."""
    ratio = value / target
    if not current:
        return math.ceil(ratio)
    if tolerance.covers(ratio):
        return current
    if not pods:
        message = "no pods returned by selector while calculating replica count"
        raise NoProposal(f"unable to calculate ready pods: {message}")
    return math.ceil(ratio * sum(pod.status.phase == "Running" and is_ready(pod) for pod in pods))


def by_share(running: int, target: int, value: int, tolerance: Tolerance) -> tuple[int, int]:
    """A target for each pod's share of one value; with the share that each has now."""
    share = math.ceil(value / running) if running else 0
    if running and tolerance.covers(value / (target * running)):
        return running, share
    return math.ceil(value / target), share


def requests_of(pods: Iterable[Pod], resource: str, container: str) -> dict[str, int]:
    """What each pod requests of the resource, all its containers or one of them."""
    return {pod.metadata.name or "": request_of(pod, resource, container) for pod in pods}


def request_of(pod: Pod, resource: str, container: str) -> int:
    if not container and pod.spec.resources is not None and pod.spec.resources.requests:
        whole = with_overhead(pod, pod_total(pod, "requests"))
        if resource not in whole:
            raise NoProposal(f"missing pod-level request for {resource} in Pod {pod.metadata.name}")
        return quantity.milli(whole[resource])
    lasting = (found for found in pod.spec.init_containers or () if found.restart_policy == "Always")
    asking = [found for found in (*pod.spec.containers, *lasting) if container in ("", found.name)]
    if container and not asking:
        raise NoProposal(f"container {container} not found in Pod {pod.metadata.name}")
    return sum(container_request(found, resource, pod) for found in asking)


def container_request(container: Container, resource: str, pod: Pod) -> int:
    requests = (container.resources.requests if container.resources else None) or {}
    if resource not in requests:
        message = f"missing request for {resource} in container {container.name} of Pod {pod.metadata.name}"
        raise NoProposal(message)
    return quantity.milli(requests[resource])
