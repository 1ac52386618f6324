"""Who has to leave one node so that a more important pod fits there, and what that costs.

- As few as possible: all that may leave do so in thought, then each that need not leave stays, the most important first,
  and of all those whose budget would be broken before the others.
- The cost compares nodes: fewest broken budgets, then the least important worst victim, the smallest sum of importance,
  the fewest victims, the worst victims that began last.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kybern.api.core_v1 import Pod
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.reconcile.pausing import is_paused, may_be_paused
from kybern.scheduler.demand import Demand
from kybern.scheduler.framework import Trial
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.placed import Placed
from kybern.scheduler.plugins.node_resources import NodeResourcesFit
from kybern.scheduler.refusal import NO_VICTIMS
from kybern.scheduler.terms import selector_of

PRIORITY_SHIFT = 1 << 31  # so that two victims cost more than one, however unimportant they are


@dataclass(frozen=True, slots=True)
class Candidate:
    node: str
    victims: tuple[Pod, ...]
    """The most important first."""
    broken_budgets: int
    paused: frozenset[str] = frozenset()
    """Victims by uid that are frozen instead of ended."""


Cost = tuple[int, int, int, int, tuple[int, ...]]

Budgets = Callable[[str], Sequence[PodDisruptionBudget]]
"""Of a namespace."""

MayLeave = Callable[[list[Placed]], list[Placed]]
"""Of a node's pods, those that may be made to leave."""


def less_important_than(pod: Pod) -> MayLeave:
    mine = priority(pod)
    return lambda here: [placed for placed in here if priority(placed.pod) < mine]


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


NEVER_BEGAN = "9999-12-31T23:59:59Z"


def priority(pod: Pod) -> int:
    return pod.spec.priority or 0


def importance(pod: Pod) -> tuple[int, str]:
    """Sorts the most important first; among equals the one that began first."""
    return -priority(pod), pod.status.start_time or NEVER_BEGAN
