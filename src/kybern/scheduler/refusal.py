"""Why a pod fits nowhere, in upstream's words. Computed only then.

Each node is refused by the first rule that refuses it; a rule's reasons are counted over the nodes it refused:
`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: 0/3 nodes are available: ...`
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Profile
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.snapshot import Snapshot

NO_NODES = "no nodes available to schedule pods"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"


@dataclass(frozen=True, slots=True)
class Refusal:
    message: str
    rules: frozenset[str]
    """The names of the rules that refused."""


def refusal(pod: Pod, judgement: Judgement, snapshot: Snapshot) -> Refusal:
    nodes = Nodes(snapshot)
    if not len(nodes):
        return Refusal(NO_NODES, frozenset())
    reasons: Counter[str] = Counter()
    helps = 0
    rules = set()
    left = nodes.at(np.arange(len(nodes)))
    for plugin, state in judgement.filters:
        fits = plugin.filter(state, left)
        refused = left.at(np.flatnonzero(~fits))
        if len(refused):
            rules.add(plugin.name)
            reasons.update(plugin.reasons(state, refused))
            helps += int(plugin.preemption_helps(state, refused).sum())
        left = left.at(np.flatnonzero(fits))
    message = f"{available(len(nodes), reasons)} {preemption(pod, len(nodes), helps)}"
    return Refusal(message, frozenset(rules))


def available(count: int, reasons: Counter[str]) -> str:
    listed = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
    return f"0/{count} nodes are available: {listed}."


def preemption(pod: Pod, count: int, helps: int) -> str:
    if pod.spec.preemption_policy == "Never":
        return "preemption: not eligible due to preemptionPolicy=Never."
    outcomes = Counter({NO_VICTIMS: helps, NOT_HELPFUL: count - helps})
    return f"preemption: {available(count, +outcomes)}"


def woken_by(profile: Profile) -> dict[str, object]:
    """Each rule's name with the changes after which a pod that it refused is worth another try."""
    return {plugin.name: plugin.wakes_on for plugin in profile.filters}
