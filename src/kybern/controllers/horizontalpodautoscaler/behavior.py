"""How fast and how far an autoscaler may go: what it recommended before, what it changed before, and its limits.

A recommendation is first stabilized (no lower than the recent ones when it shrinks, no higher when it grows), then
limited by the rate of change, then by minReplicas and maxReplicas. No I/O; the memory is the caller's, one for each
autoscaler.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kybern.api.autoscaling_v2 import (
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior,
    HPAScalingPolicy,
    HPAScalingRules,
)
from kybern.api.numbers import INT32_MAX
from kybern.api.selectors import Selector

EVERY_SECONDS = 15.0  # a look at an autoscaler
STABILIZATION_SECONDS = 300.0  # of shrinking, where no behavior says otherwise
GROWTH_FACTOR = 2.0
GROWTH_MIN = 4.0
UNLIMITED = INT32_MAX


@dataclass(frozen=True, slots=True)
class Past:
    replicas: int
    """Recommended, or by how many the scale changed."""
    at: float


@dataclass(frozen=True, slots=True)
class Told:
    """A condition's status, reason and message."""

    status: str
    reason: str
    message: str


Wish = tuple[str | None, int | None]
"""An autoscaler's uid and generation."""


def wish_of(hpa: HorizontalPodAutoscaler) -> Wish:
    return hpa.metadata.uid, hpa.metadata.generation


@dataclass(slots=True)
class Memory:
    wish: Wish = (None, None)
    """What was looked at last."""
    due: float = 0.0
    """When it is looked at again, if its wish stays."""
    selector: Selector | None = None
    """Of the target's pods, as of the last look."""
    recommendations: list[Past] = field(default_factory=list)
    grown: list[Past] = field(default_factory=list)
    shrunk: list[Past] = field(default_factory=list)
    scaled: Told | None = None
    """What was last told of scaling to no pods."""

    def early(self, hpa: HorizontalPodAutoscaler, now: float) -> float:
        """The seconds until it is looked at again; 0 when it is time."""
        left = self.due - now
        return left if wish_of(hpa) == self.wish and 0 < left <= EVERY_SECONDS else 0.0

    def note_look(self, hpa: HorizontalPodAutoscaler, now: float) -> None:
        self.wish, self.due = wish_of(hpa), now + EVERY_SECONDS


@dataclass(frozen=True, slots=True)
class Decision:
    replicas: int
    able: Told
    limited: Told


READY = Told("True", "ReadyForNewScale", "recommended size matches current size")
GREW_LESS = Told(
    "True",
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
SHRANK_LESS = Told(
    "True",
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
GROWS_FAST = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
SHRINKS_FAST = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")


@dataclass(frozen=True, slots=True)
class Bounds:
    least: int
    most: int


def decide(
    behavior: HorizontalPodAutoscalerBehavior | None,
    memory: Memory,
    current: int,
    wanted: int,
    bounds: Bounds,
    now: float,
) -> Decision:
    """What to scale to, of what the metrics ask for. Notes the recommendation."""
    up, down = rules_of(behavior)
    lowest, highest = remembered(up, down, memory, wanted, now)
    stable = highest if behavior is None else min(max(current, lowest), highest)
    if behavior is None:
        replicas, why = limited(current, stable, bounds, growth_limit(current), -UNLIMITED)
    else:
        most = max(fastest_growth(up, memory, current, now), current)
        least = min(fastest_shrinking(down, memory, current, now), current)
        replicas, why = limited(current, stable, bounds, most, least)
    able = READY if stable == wanted else GREW_LESS if behavior is not None and wanted >= current else SHRANK_LESS
    return Decision(replicas, able, Told("False" if replicas == stable else "True", *why))


def rules_of(behavior: HorizontalPodAutoscalerBehavior | None) -> tuple[HPAScalingRules, HPAScalingRules]:
    found = behavior or HorizontalPodAutoscalerBehavior()
    return found.scale_up or HPAScalingRules(), found.scale_down or HPAScalingRules()


def remembered(up: HPAScalingRules, down: HPAScalingRules, memory: Memory, wanted: int, now: float) -> tuple[int, int]:
    """The lowest recommendation of late, as far as growing looks back, and the highest as far as shrinking does."""
    up_seconds = float(up.stabilization_window_seconds or 0)
    window = down.stabilization_window_seconds
    down_seconds = STABILIZATION_SECONDS if window is None else float(window)
    recent = memory.recommendations
    lowest = min((past.replicas for past in recent if past.at > now - up_seconds), default=wanted)
    highest = max((past.replicas for past in recent if past.at > now - down_seconds), default=wanted)
    kept = [past for past in recent if past.at > now - max(up_seconds, down_seconds)]
    memory.recommendations = [*kept, Past(wanted, now)]
    return min(lowest, wanted), max(highest, wanted)


def limited(current: int, wanted: int, bounds: Bounds, most: int, least: int) -> tuple[int, tuple[str, str]]:
    highest, too_high = (most, GROWS_FAST) if most < bounds.most else (bounds.most, TOO_MANY)
    lowest, too_low = (least, SHRINKS_FAST) if least > bounds.least else (bounds.least, TOO_FEW)
    if wanted > current and wanted > highest:
        return highest, too_high
    if wanted < current and wanted < lowest:
        return lowest, too_low
    if wanted > bounds.most:
        return bounds.most, TOO_MANY
    return (bounds.least, TOO_FEW) if wanted < bounds.least else (wanted, WITHIN)


def growth_limit(current: int) -> int:
    """Without a behavior: twice as many, or four."""
    return int(max(GROWTH_FACTOR * current, GROWTH_MIN))


def fastest_growth(rules: HPAScalingRules, memory: Memory, current: int, now: float) -> int:
    if rules.select_policy == "Disabled":
        return current
    found = [
        before + policy.value if policy.type == "Pods" else math.ceil(before * (1 + policy.value / 100))
        for policy, before in at_period_start(rules, memory, current, now)
    ]
    return (min if rules.select_policy == "Min" else max)(found, default=current)


def fastest_shrinking(rules: HPAScalingRules, memory: Memory, current: int, now: float) -> int:
    if rules.select_policy == "Disabled":
        return current
    found = [
        before - policy.value if policy.type == "Pods" else int(before * (1 - policy.value / 100))
        for policy, before in at_period_start(rules, memory, current, now)
    ]
    return (max if rules.select_policy == "Min" else min)(found, default=current)


def at_period_start(
    rules: HPAScalingRules, memory: Memory, current: int, now: float
) -> Iterator[tuple[HPAScalingPolicy, int]]:
    """Each policy, with how many replicas there were when its period began."""
    for policy in rules.policies or ():
        since = now - policy.period_seconds
        yield policy, current - changed(memory.grown, since) + changed(memory.shrunk, since)


def changed(events: Iterable[Past], since: float) -> int:
    return sum(past.replicas for past in events if past.at > since)


def note_scaling(
    behavior: HorizontalPodAutoscalerBehavior | None, memory: Memory, before: int, after: int, now: float
) -> None:
    """Only a behavior looks back at what was changed."""
    if behavior is None:
        return
    up, down = rules_of(behavior)
    grows = after > before
    events = memory.grown if grows else memory.shrunk
    longest = max((policy.period_seconds for policy in (up if grows else down).policies or ()), default=0)
    events[:] = [*(past for past in events if past.at >= now - longest), Past(abs(after - before), now)]
