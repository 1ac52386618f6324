"""Extensions: the rules of extension files, one pod and one node at a time. Which rules there are may change at any time.

A rule that raises says no, as any rule that fails would: its words are the error's.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kybern.api.core_v1 import Node, Pod
from kybern.extensions.rules import SCORE_MAX, SchedulerRule
from kybern.scheduler.framework import ANY, Column, PerNodePlugin, ScorePlugin
from kybern.scheduler.nodes import Nodes

log = logging.getLogger(__name__)

Rules = Callable[[], Sequence[SchedulerRule]]


@dataclass(frozen=True)
class ExtensionFilter(PerNodePlugin[Pod]):
    rules: Rules
    name = "Extensions"
    wakes_on = ANY

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Pod | None:
        return pod if any(not rule.weight for rule in self.rules()) else None

    def refuses(self, pod: Pod, node: Node) -> list[str]:
        return [reason for rule in self.rules() if not rule.weight and (reason := refusal(rule, pod, node))]


def refusal(rule: SchedulerRule, pod: Pod, node: Node) -> str:
    try:
        return str(rule.function(pod, node) or "")
    except Exception as error:
        log.exception("an extension's filter failed")
        return f"{rule.function.__name__}: {type(error).__name__}: {error}"


@dataclass(frozen=True)
class ExtensionScore(ScorePlugin[Pod]):
    rules: Rules
    name = "Extensions"
    kept = False

    def pre_score(self, pod: Pod, nodes: Nodes) -> Pod | None:
        return pod if any(rule.weight for rule in self.rules()) else None

    def score(self, pod: Pod, nodes: Nodes) -> Column[np.int64]:
        """The rules' scores by their weights, together never more than one rule's most."""
        rules = [rule for rule in self.rules() if rule.weight]
        total = sum(rule.weight for rule in rules) or 1
        found = [sum(rule.weight * scored(rule, pod, node) for rule in rules) // total for node in nodes.objects()]
        return np.array(found, np.int64)


def scored(rule: SchedulerRule, pod: Pod, node: Node) -> int:
    try:
        return min(max(int(rule.function(pod, node)), 0), SCORE_MAX)
    except Exception:
        log.exception("an extension's score failed")
        return 0
