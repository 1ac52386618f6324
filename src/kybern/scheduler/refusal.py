"""Why a pod fits nowhere, in upstream's words. Computed only then.

Each node is refused by the first rule that refuses it; a rule's reasons are counted over the nodes it refused, unless it has
one that is no node's matter:
`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: 0/3 nodes are available: ...`
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.framework import Change, Column
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.snapshot import Snapshot

NO_NODES = "no nodes available to schedule pods"
NO_VICTIMS = "No preemption victims found for incoming pod"
NEVER = "preemption: not eligible due to preemptionPolicy=Never."
LEAVING = "preemption: not eligible due to a terminating pod on the nominated node."
PROMISED = "Nominations"  # in the place of a rule: the room is promised to others
NOT_HELPFUL = "Preemption is not helpful for scheduling"


@dataclass(frozen=True, slots=True)
class Refusal:
    available: str
    """How many nodes were refused for what."""
    rules: frozenset[str]
    """The names of the rules that refused."""
    nodes: int = 0
    helpful: Column[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows where the pod might fit if others left, in order."""
    preemption: str = ""

    @property
    def message(self) -> str:
        return f"{self.available} {self.preemption}" if self.preemption else self.available


def refusal(pod: Pod, judgement: Judgement, snapshot: Snapshot) -> Refusal:
    """As if nobody was there to be preempted. The same for all pods of a shape, unless pods elsewhere matter."""
    if judgement.promised or judgement.filters is not judgement.kept.filters:
        return found_anew(pod, judgement, snapshot)
    known = judgement.kept.refusal
    if known is None or known[0] != judgement.kept.version:
        known = judgement.kept.refusal = (judgement.kept.version, found_anew(pod, judgement, snapshot))
    found: Refusal = known[1]
    if not found.nodes:
        return found
    return replace(found, preemption=no_victims(pod, found.nodes, len(found.helpful)))


def found_anew(pod: Pod, judgement: Judgement, snapshot: Snapshot) -> Refusal:
    nodes = Nodes(snapshot)
    if not len(nodes):
        return Refusal(NO_NODES, frozenset())
    for plugin, state in judgement.filters:
        problem = plugin.problem(state)
        if problem:
            found = f"0/{len(nodes)} nodes are available: {problem}."
            return Refusal(found, frozenset((plugin.name,)), len(nodes), preemption=no_victims(pod, len(nodes), 0))
    reasons: Counter[str] = Counter()
    helpful: list[Column[np.int64]] = []
    rules = set()
    rows, left = np.arange(len(nodes)), nodes
    for plugin, state in judgement.filters:
        fits = plugin.filter(state, left)
        if fits.all():
            continue
        refused = left if not fits.any() else left.at(np.flatnonzero(~fits))
        rules.add(plugin.name)
        reasons.update(plugin.reasons(state, refused))
        helpful.append(rows[~fits][plugin.preemption_helps(state, refused)])
        rows = rows[fits]
        left = nodes.at(rows)
    for row, short in judgement.promised.items():
        rules.add(PROMISED)
        reasons.update(short)
        if row not in judgement.hopeless:
            helpful.append(np.array([row]))
    found = available(len(nodes), reasons)
    hopeful = np.sort(np.concatenate(helpful)) if helpful else np.zeros(0, np.int64)
    return Refusal(found, frozenset(rules), len(nodes), hopeful, no_victims(pod, len(nodes), len(hopeful)))


def available(count: int, reasons: Counter[str]) -> str:
    listed = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
    return f"0/{count} nodes are available: {listed}."


def no_victims(pod: Pod, count: int, helps: int) -> str:
    if pod.spec.preemption_policy == "Never":
        return NEVER
    outcomes = Counter({NO_VICTIMS: helps, NOT_HELPFUL: count - helps})
    return f"preemption: {available(count, +outcomes)}"


def woken_by(profiles: Iterable[Profile]) -> dict[str, Change]:
    """Each rule's name with the changes after which a pod that it refused is worth another try."""
    rules = {plugin.name: plugin.wakes_on for profile in profiles for plugin in profile.filters}
    return {**rules, PROMISED: Change.NODE_ADDED | Change.NODE_ALLOCATABLE | Change.POD_LEFT}
