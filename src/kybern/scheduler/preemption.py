"""Default preemption: a pod that fits nowhere makes less important ones leave (`victims`), on the node where that costs least.

- Not all nodes are tried, once enough are found; what was found out about a node is remembered for pods of one template.
- A pod waits for those that are already leaving in its favour and makes nobody else leave meanwhile.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile
from operator import itemgetter
from random import Random
from typing import Any, ClassVar

import numpy as np

from kybern.api.codec import encode
from kybern.api.core_v1 import Pod
from kybern.scheduler.extension_points import PostFilterPlugin
from kybern.scheduler.framework import Column, FilterPlugin
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.refusal import LEAVING, NEVER, NOT_HELPFUL, Refusal, available
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.trial import InThought, begun
from kybern.scheduler.victims import Budgets, Candidate, Cost, MayLeave, cost, less_important_than, on_node, priority

CANDIDATES_MIN = 100
CANDIDATES_SHARE = 0.1  # of the nodes; a good node is enough, the best one of thousands costs too much time
CANDIDATES_MAX = 200
CANDIDATES_ELSEWHERE_MAX = 30  # where pods on other nodes matter
TRIES_ELSEWHERE_MAX = 500  # then the pod waits, and begins at another node the next time
SORTS_MAX = 64  # of pods of one shape whose trials are remembered


@dataclass(frozen=True, slots=True)
class Attempt:
    candidate: Candidate | None
    message: str
    eligible: bool = True
    candidates: tuple[Candidate, ...] = ()
    """All that were found, for extenders that have a say."""
    writes: tuple[Any, ...] = ()
    """What is given up so that the pod may fit the next time, as a PreBind plugin's writes."""


Priced = tuple[Cost, Candidate]
Answers = dict[int, tuple[Any, Priced | list[str]]]


@dataclass(frozen=True, slots=True)
class Refused:
    """A pod that fits nowhere, and what a PostFilter plugin may want to know."""

    judgement: Judgement
    why: Refusal
    nominations: Nominations
    budgets: Budgets
    rng: Random
    epoch: int = 0
    """Of the budgets: it grows when one of them changes."""


@dataclass(frozen=True, slots=True)
class DefaultPreemption(PostFilterPlugin):
    name: ClassVar[str] = "DefaultPreemption"
    candidates_min: int = CANDIDATES_MIN
    candidates_share: float = CANDIDATES_SHARE

    def post_filter(self, refused: Refused) -> Attempt:
        return preempt(refused, self.candidates_min, self.candidates_share)


def preempt(
    refused: Refused,
    candidates_min: int = CANDIDATES_MIN,
    candidates_share: float = CANDIDATES_SHARE,
    may_leave: MayLeave | None = None,
) -> Attempt:
    """`may_leave`: None means the less important ones."""
    judgement, why, nominations, rng = refused.judgement, refused.why, refused.nominations, refused.rng
    pod, snapshot = judgement.pod, judgement.snapshot
    if pod.spec.preemption_policy == "Never":
        return Attempt(None, NEVER, eligible=False)
    if waits_for_others(pod, nominations.node_of(pod), snapshot, any_priority=may_leave is not None):
        return Attempt(None, LEAVING, eligible=False)
    outcomes = Counter({NOT_HELPFUL: why.nodes - len(why.helpful)})
    found: list[Priced] = []
    alone = judgement.filters is judgement.kept.filters
    share = min(max(candidates_min, int(why.nodes * candidates_share)), CANDIDATES_MAX)
    wanted = share if alone else CANDIDATES_ELSEWHERE_MAX
    if judgement.kept.tried_from is None:
        judgement.kept.tried_from = rng.randrange(max(snapshot.count, 1))
    helpful, others = not_ruled_out(judgement, why.helpful)
    outcomes += others
    start = int(np.searchsorted(helpful, judgement.kept.tried_from))
    rows = np.concatenate((helpful[start:], helpful[:start]))
    rows = rows if alone else rows[:TRIES_ELSEWHERE_MAX]
    ask = (
        remembered(refused, alone).at
        if may_leave is None
        else partial(tried, judgement, nominations=nominations, budgets=refused.budgets, may_leave=may_leave)
    )
    for row in map(int, rows):
        result = ask(row)
        if isinstance(result, tuple):
            if not found:
                judgement.kept.tried_from = row
            found.append(result)
            if len(found) >= wanted:
                break
        else:
            outcomes.update(result)
    if found:
        return Attempt(min(found, key=itemgetter(0))[1], "", candidates=tuple(candidate for _, candidate in found))
    judgement.kept.tried_from = int(rows[-1]) + 1 if len(rows) else None
    return Attempt(None, f"preemption: {available(why.nodes, +outcomes)}" if why.nodes else "")


def not_ruled_out(judgement: Judgement, rows: Column[np.int64]) -> tuple[Column[np.int64], Counter[str]]:
    """Without the nodes that a rule refuses whoever leaves, and its reasons; the rule that refused first is another."""
    reasons: Counter[str] = Counter()
    for rule, state in dropwhile(lambda one: not one[0].pods_matter, judgement.filters):
        nodes = Nodes(judgement.snapshot, rows)
        if not rule.pods_matter and not (fits := rule.filter(state, nodes)).all():
            reasons.update(rule.reasons(state, nodes.at(np.flatnonzero(~fits))))
            rows = rows[fits]
    return rows, reasons


def priced(result: Candidate | list[str]) -> Priced | list[str]:
    return (cost(result), result) if isinstance(result, Candidate) else result


def told_apart(pod: Pod) -> bytes:
    """What else matters of a pod than its shape, where pods on other nodes do."""
    spec, meta = pod.spec, pod.metadata
    return encode([meta.namespace, meta.labels, spec.topology_spread_constraints, spec.volumes, spec.resource_claims])


@dataclass(frozen=True, slots=True)
class Remembered:
    """Pods of one template want the same of a node: an answer holds until something there, or a budget, changes."""

    refused: Refused
    answers: Answers
    rules: list[tuple[FilterPlugin[Any], Any]]
    """Those that look at other pods, and what they know of this one."""

    def at(self, row: int) -> Priced | list[str]:
        judgement, nominations = self.refused.judgement, self.refused.nominations
        snapshot, pod = judgement.snapshot, judgement.pod
        node = snapshot.nodes[row].metadata.name or ""
        # A pod that is promised this node itself does not count against itself: its answer is its own.
        own = pod.metadata.uid if nominations.changes and nominations.node_of(pod) == node else None
        stamps = [rule.stamp(state, snapshot, row) for rule, state in self.rules]
        promises = nominations.changes.get(node, 0)
        stamp = (snapshot.row_version.item(row), promises, self.refused.epoch, own, stamps)
        known = self.answers.get(row)
        if known is not None and known[0] == stamp:
            return known[1]
        with begun(judgement, row, nominations.beside(pod, node)) as trial:
            result = priced(on_node(judgement, row, trial, self.refused.budgets, less_important_than(pod)))
            if isinstance(trial, InThought):  # in place all rules are asked, also those that know no stamp
                self.answers[row] = (stamp, result)
        return result


def remembered(refused: Refused, alone: bool) -> Remembered:
    judgement = refused.judgement
    trials = judgement.kept.trials
    answers = trials.setdefault((priority(judgement.pod), b"" if alone else told_apart(judgement.pod)), {})
    while len(trials) > SORTS_MAX:
        del trials[next(iter(trials))]
    return Remembered(refused, answers, [one for one in judgement.filters if one[0].pods_matter])


def tried(
    judgement: Judgement, row: int, nominations: Nominations, budgets: Budgets, may_leave: MayLeave
) -> Priced | list[str]:
    node = judgement.snapshot.nodes[row].metadata.name or ""
    with begun(judgement, row, nominations.beside(judgement.pod, node)) as trial:
        return priced(on_node(judgement, row, trial, budgets, may_leave))


def waits_for_others(pod: Pod, node: str, snapshot: Snapshot, *, any_priority: bool = False) -> bool:
    return any(
        placed.pod.metadata.deletion_timestamp is not None and (any_priority or priority(placed.pod) < priority(pod))
        for placed in snapshot.on_node.get(node, {}).values()
    )


def cheapest(candidates: Sequence[Candidate]) -> Candidate | None:
    return min(candidates, key=cost, default=None)
