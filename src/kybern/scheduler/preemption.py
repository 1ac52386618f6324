"""Default preemption: which pods have to leave so that a more important one fits, on the node where that costs least.

- Only pods of less importance leave, and as few as possible: all of them leave in thought, then each that need not leave
  stays, the most important first, and of all those whose budget would be broken before the others.
- Among nodes: fewest broken budgets, then the least important worst victim, the smallest sum of importance, the fewest
  victims, the worst victims that began last.
- A pod waits for those that are already leaving in its favour and makes nobody else leave meanwhile.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from operator import itemgetter
from random import Random
from typing import Any, ClassVar

import numpy as np

from kybern.api.codec import encode
from kybern.api.core_v1 import Pod
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.reconcile.pausing import is_paused, may_be_paused
from kybern.scheduler.demand import Demand
from kybern.scheduler.extension_points import PostFilterPlugin
from kybern.scheduler.framework import Column, Trial
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.placed import Placed
from kybern.scheduler.plugins.node_resources import NodeResourcesFit
from kybern.scheduler.refusal import LEAVING, NEVER, NO_VICTIMS, NOT_HELPFUL, Refusal, available
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.terms import selector_of
from kybern.scheduler.trial import InThought, begun

CANDIDATES_MIN = 100
CANDIDATES_SHARE = 0.1  # of the nodes; a good node is enough, the best one of thousands costs too much time
CANDIDATES_MAX = 200
CANDIDATES_ELSEWHERE_MAX = 30  # where pods on other nodes matter
TRIES_ELSEWHERE_MAX = 500  # then the pod waits, and begins at another node the next time
SORTS_MAX = 64  # of pods of one shape whose trials are remembered
PRIORITY_SHIFT = 1 << 31  # so that two victims cost more than one, however unimportant they are


@dataclass(frozen=True, slots=True)
class Candidate:
    node: str
    victims: tuple[Pod, ...]
    """The most important first."""
    broken_budgets: int
    paused: frozenset[str] = frozenset()
    """Victims by uid that are frozen instead of ended."""


@dataclass(frozen=True, slots=True)
class Attempt:
    candidate: Candidate | None
    message: str
    eligible: bool = True
    candidates: tuple[Candidate, ...] = ()
    """All that were found, for extenders that have a say."""
    writes: tuple[Any, ...] = ()
    """What is given up so that the pod may fit the next time, as a PreBind plugin's writes."""


Cost = tuple[int, int, int, int, tuple[int, ...]]
Priced = tuple[Cost, Candidate]
Answers = dict[int, tuple[Hashable, Priced | list[str]]]

Budgets = Callable[[str], Sequence[PodDisruptionBudget]]
"""Of a namespace."""


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


MayLeave = Callable[[list[Placed]], list[Placed]]
"""Of a node's pods, those that may be made to leave."""


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
    answers = judgement.kept.trials.setdefault((priority(pod), b"" if alone else told_apart(pod)), {})
    while len(judgement.kept.trials) > SORTS_MAX:
        del judgement.kept.trials[next(iter(judgement.kept.trials))]
    for row in map(int, rows):
        result = (
            remembered(judgement, row, nominations, refused.budgets, refused.epoch, answers)
            if may_leave is None
            else tried(judgement, row, nominations, refused.budgets, may_leave)
        )
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


def remembered(
    judgement: Judgement, row: int, nominations: Nominations, budgets: Budgets, epoch: int, answers: Answers
) -> Priced | list[str]:
    """Pods of one template want the same of a node: the answer holds until something there, or a budget, changes."""
    snapshot, pod = judgement.snapshot, judgement.pod
    node = snapshot.nodes[row].metadata.name or ""
    # A pod that is promised this node itself does not count against itself: its answer is its own.
    own = pod.metadata.uid if nominations.changes and nominations.node_of(pod) == node else None
    rules = tuple(rule.stamp(state, snapshot, row) for rule, state in judgement.filters)
    stamp = (snapshot.row_version.item(row), nominations.changes.get(node, 0), epoch, own, rules)
    known = answers.get(row)
    if known is not None and known[0] == stamp:
        return known[1]
    with begun(judgement, row, nominations.beside(pod, node)) as trial:
        result = priced(on_node(judgement, row, trial, budgets, less_important_than(pod)))
        if isinstance(trial, InThought):  # in place all rules are asked, also those that know no stamp
            answers[row] = (stamp, result)
    return result


def tried(
    judgement: Judgement, row: int, nominations: Nominations, budgets: Budgets, may_leave: MayLeave
) -> Priced | list[str]:
    node = judgement.snapshot.nodes[row].metadata.name or ""
    with begun(judgement, row, nominations.beside(judgement.pod, node)) as trial:
        return priced(on_node(judgement, row, trial, budgets, may_leave))


def less_important_than(pod: Pod) -> MayLeave:
    mine = priority(pod)
    return lambda here: [placed for placed in here if priority(placed.pod) < mine]


def waits_for_others(pod: Pod, node: str, snapshot: Snapshot, *, any_priority: bool = False) -> bool:
    return any(
        placed.pod.metadata.deletion_timestamp is not None and (any_priority or priority(placed.pod) < priority(pod))
        for placed in snapshot.on_node.get(node, {}).values()
    )


def on_node(
    judgement: Judgement, row: int, trial: Trial, budgets: Budgets, may_leave: MayLeave
) -> Candidate | list[str]:
    """Who has to leave this node; or why even that would not help."""
    snapshot = judgement.snapshot
    node = snapshot.nodes[row].metadata.name or ""
    here = list(snapshot.on_node.get(node, {}).values())
    lower = sorted(may_leave(here), key=lambda placed: importance(placed.pod))
    if not lower:
        return [NO_VICTIMS]
    pausable = [placed for placed in lower if can_be_paused(placed.pod)]
    if pausable and not all(
        not rule.pods_matter or isinstance(rule, NodeResourcesFit) for rule, _ in judgement.filters
    ):
        pausable = []  # more than room is at stake, and only who leaves gives way
    parts = {id(placed): processors_of(placed) for placed in pausable}
    for placed in lower:
        trial.leave(parts.get(id(placed), placed))
    if trial.refusals() and parts:  # freezing is not enough
        for placed in lower:
            if id(placed) in parts:
                trial.stay(parts.pop(id(placed)))
                trial.leave(placed)
    refusals = trial.refusals()
    if refusals:
        return refusals
    breaking, others = by_budget([placed for placed in lower if id(placed) not in parts], budgets)
    broken = reprieve(breaking, trial, parts)
    killed = [*broken, *reprieve(others, trial, parts)]
    frozen = reprieve([placed for placed in lower if id(placed) in parts], trial, parts)
    pods = sorted((placed.pod for placed in (*killed, *frozen)), key=importance)
    paused = frozenset(placed.pod.metadata.uid or "" for placed in frozen)
    return Candidate(node, tuple(pods), len(broken), paused) if pods else [NO_VICTIMS]


def can_be_paused(pod: Pod) -> bool:
    return may_be_paused(pod) and not is_paused(pod) and pod.metadata.deletion_timestamp is None


def processors_of(placed: Placed) -> Placed:
    """What freezing it frees."""
    cpu = placed.demand.amounts.get("cpu", 0)
    return replace(placed, demand=Demand({"cpu": cpu}, (cpu, 0)), ports=())


def reprieve(leaving: Iterable[Placed], trial: Trial, parts: Mapping[int, Placed]) -> list[Placed]:
    """Those that cannot stay. `parts`: what has left of those that are frozen only."""
    victims = []
    for placed in leaving:
        part = parts.get(id(placed), placed)
        trial.stay(part)
        if trial.refusals():
            trial.leave(part)
            victims.append(placed)
    return victims


def by_budget(leaving: Sequence[Placed], budgets: Budgets) -> tuple[list[Placed], list[Placed]]:
    """Those that would break a budget, and the others."""
    allowed: dict[str, int] = {}
    parts: tuple[list[Placed], list[Placed]] = ([], [])
    for placed in leaving:
        pod, breaks = placed.pod, False
        for budget in budgets(pod.metadata.namespace or "") if pod.metadata.labels else ():
            if not covers(budget, pod):
                continue
            uid = budget.metadata.uid or budget.metadata.name or ""
            allowed[uid] = allowed.get(uid, budget.status.disruptions_allowed or 0) - 1
            breaks |= allowed[uid] < 0
        parts[0 if breaks else 1].append(placed)
    return parts


def covers(budget: PodDisruptionBudget, pod: Pod) -> bool:
    """An empty selector covers nobody here, and who was disrupted already has been counted."""
    selector = selector_of(budget.spec.selector)
    disrupted = budget.status.disrupted_pods or {}
    return not selector.everything and selector.matches(pod.metadata.labels) and pod.metadata.name not in disrupted


def cost(candidate: Candidate) -> Cost:
    victims = candidate.victims
    worst = priority(victims[0])
    began = min(pod.status.start_time or NEVER_BEGAN for pod in victims if priority(pod) == worst)
    total = sum(priority(pod) + PRIORITY_SHIFT for pod in victims)
    return candidate.broken_budgets, worst, total, len(victims), tuple(-ord(letter) for letter in began)


def cheapest(candidates: Sequence[Candidate]) -> Candidate | None:
    return min(candidates, key=cost, default=None)


NEVER_BEGAN = "9999-12-31T23:59:59Z"


def priority(pod: Pod) -> int:
    return pod.spec.priority or 0


def importance(pod: Pod) -> tuple[int, str]:
    """Sorts the most important first; among equals the one that began first."""
    return -priority(pod), pod.status.start_time or NEVER_BEGAN
