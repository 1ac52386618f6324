"""Extensions: the rules of extension files, one pod and one node at a time. Which rules there are may change at any time.

- A rule that raises says no, as any rule that fails would: its words are the error's.
- One that does not return in time is interrupted and refuses the pod that it was asked about. It is not asked again until
  its file changes, and has nothing to say about other pods: they go on.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from kybern.api.core_v1 import Node, Pod
from kybern.extensions.bounded import Overdue, bounded
from kybern.extensions.rules import SCORE_MAX, SchedulerRule
from kybern.scheduler.framework import ANY, Column, PerNodePlugin, ScorePlugin
from kybern.scheduler.nodes import Nodes

log = logging.getLogger(__name__)

Rules = Callable[[], Sequence[SchedulerRule]]


@dataclass(frozen=True)
class ExtensionFilter(PerNodePlugin[Pod]):
    rules: Rules
    late: WeakKeyDictionary[Callable[..., Any], str] = field(default_factory=WeakKeyDictionary, compare=False)
    """Rules that did not return in time, with the pod by uid that they were asked about."""
    name = "Extensions"
    wakes_on = ANY

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Pod | None:
        return pod if any(not rule.weight for rule in self.rules()) else None

    def refuses(self, pod: Pod, node: Node) -> list[str]:
        return [reason for rule in self.rules() if not rule.weight and (reason := self._refusal(rule, pod, node))]

    def _refusal(self, rule: SchedulerRule, pod: Pod, node: Node) -> str:
        uid = pod.metadata.uid or ""
        try:
            return refusal(rule, pod, node)
        except Overdue as overdue:
            if rule.function not in self.late:
                tell_late(rule, pod)
            mine = self.late.setdefault(rule.function, uid) == uid
            return f"{rule.function.__name__}: {overdue}" if mine else ""


def tell_late(rule: SchedulerRule, pod: Pod) -> None:
    log.error("extension %s: it gave no answer about pod %s/%s and is not asked again until its file changes",
              rule.function.__name__, pod.metadata.namespace, pod.metadata.name)  # fmt: skip


def refusal(rule: SchedulerRule, pod: Pod, node: Node) -> str:
    try:
        return str(bounded(rule.function, pod, node) or "")
    except Overdue:
        raise
    except Exception as error:
        log.exception("an extension's filter failed")
        return f"{rule.function.__name__}: {type(error).__name__}: {error}"


@dataclass(frozen=True)
class ExtensionScore(ScorePlugin[Pod]):
    rules: Rules
    late: WeakSet[Callable[..., Any]] = field(default_factory=WeakSet, compare=False)
    """Rules that did not return in time: they count nothing."""
    name = "Extensions"
    kept = False

    def pre_score(self, pod: Pod, nodes: Nodes) -> Pod | None:
        return pod if any(rule.weight for rule in self.rules()) else None

    def score(self, pod: Pod, nodes: Nodes) -> Column[np.int64]:
        """The rules' scores by their weights, together never more than one rule's most."""
        rules = [rule for rule in self.rules() if rule.weight]
        total = sum(rule.weight for rule in rules) or 1
        found = [
            sum(rule.weight * self._scored(rule, pod, node) for rule in rules) // total for node in nodes.objects()
        ]
        return np.array(found, np.int64)

    def _scored(self, rule: SchedulerRule, pod: Pod, node: Node) -> int:
        try:
            return scored(rule, pod, node)
        except Overdue:
            if rule.function not in self.late:
                self.late.add(rule.function)
                tell_late(rule, pod)
            return 0


def scored(rule: SchedulerRule, pod: Pod, node: Node) -> int:
    try:
        return min(max(int(bounded(rule.function, pod, node)), 0), SCORE_MAX)
    except Overdue:
        raise
    except Exception:
        log.exception("an extension's score failed")
        return 0
