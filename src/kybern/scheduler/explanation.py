"""Why a pod is where it is, or nowhere: each node with what every rule says of it, and the smallest change that would help.

Plain functions over a snapshot. All rules are asked about all nodes, also those that another rule has refused already:
a node that one change away is not to be hidden by the order of the rules.
"""

from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from kybern.api.core_v1 import Pod
from kybern.reconcile.pausing import is_paused
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.judgement import judge, scored
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.refusal import NO_NODES, refusal
from kybern.scheduler.smallest_change import smallest_change, to_let_in, to_solve, to_thaw
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.status import FAULTY, condition

NODES_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True)
class Explanation:
    cause: str
    change: str
    """The smallest one that would place the pod; empty where nothing is wrong."""
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def explained(pod: Pod, snapshot: Snapshot, profile: Profile) -> Explanation:
    if pod.status.phase in ("Succeeded", "Failed"):
        return Explanation(f"it has ended ({pod.status.phase}) on {pod.spec.node_name or 'no node'}", "", (), ())
    if pod.spec.node_name and is_paused(pod):
        return of_paused(pod, snapshot)
    if pod.spec.node_name:
        return of_placed(pod, snapshot, profile)
    gate = next(((plugin, why) for plugin in profile.pre_enqueue if (why := plugin.pre_enqueue(pod, snapshot))), None)
    if gate is not None:
        return Explanation(gate[1], to_let_in(pod, gate[0].name), (), ())
    if not snapshot.count:
        return Explanation(NO_NODES, "add a node", (), ())
    return of_waiting(pod, snapshot, profile)


def of_waiting(pod: Pod, snapshot: Snapshot, profile: Profile) -> Explanation:
    judgement = judge(pod, snapshot, profile)
    problem = next(((rule, why) for rule, state in judgement.filters if (why := rule.problem(state))), None)
    if problem is not None:
        return Explanation(refusal(pod, judgement, snapshot).available, to_solve(pod, problem[1]), (), ())
    said = answers(pod, snapshot, profile)
    rules = [name for name, why in said.items() if any(why)]
    rows = []
    for row, node in enumerate(snapshot.nodes):
        cells = [said[rule][row] or "ok" for rule in rules]
        rows.append((sum(cell != "ok" for cell in cells), node.metadata.name or "", cells))
    rows.sort(key=lambda one: one[:2])
    table = tuple((name, *cells) for _, name, cells in rows[:NODES_SHOWN_MAX])
    if judgement.fits.any():
        name = next(name for wrong, name, _ in rows if not wrong)
        return Explanation(*though_it_fits(pod, name), ("NODE", *rules), table)
    cause = refusal(pod, judgement, snapshot).available
    if pod.status.nominated_node_name:
        cause = (
            f"it is promised room on {pod.status.nominated_node_name}, once those that leave for it are gone. {cause}"
        )
    return Explanation(cause, smallest_change(pod, snapshot, said), ("NODE", *rules), table)


def though_it_fits(pod: Pod, node: str) -> tuple[str, str]:
    """Why it waits all the same: an extender has failed or has its say, or nobody has tried it since."""
    last = condition(pod)
    if last is None or not last.message:
        return f"it fits on {node} now", "none: the scheduler has not tried it yet"
    if last.reason == FAULTY:
        return last.message, f"mend that; by the scheduler's own rules it fits on {node}, and it is tried again"
    return f"it fits on {node} now", f"none: the scheduler has not tried it since it said: {last.message}"


def of_paused(pod: Pod, snapshot: Snapshot) -> Explanation:
    here = pod.spec.node_name or ""
    row = snapshot.rows.get(here)
    change = to_thaw(pod, snapshot, row) if row is not None else f"that {here} comes back"
    return Explanation(f"it is paused on {here}: more important pods have its processors", change, (), ())


def of_placed(pod: Pod, snapshot: Snapshot, profile: Profile) -> Explanation:
    """As if it were to be placed once more, without counting itself."""
    here = pod.spec.node_name
    snapshot.remove_pod(pod.metadata.uid or "")
    pod = replace(pod, spec=replace(pod.spec, node_name=None))
    judgement = judge(pod, snapshot, profile)
    rows = np.flatnonzero(judgement.fits)
    columns = [(name, scores) for name, scores in scored(judgement, rows)] if len(rows) else []
    total = sum((scores for _, scores in columns), np.zeros(len(rows), np.int64))
    order = sorted(range(len(rows)), key=lambda at: (-int(total[at]), snapshot.nodes[rows[at]].metadata.name))
    table = tuple(
        (snapshot.nodes[rows[at]].metadata.name or "", str(int(total[at])), *(str(int(s[at])) for _, s in columns))
        for at in order[:NODES_SHOWN_MAX]
    )
    place = next((number for number, row in enumerate(table, 1) if row[0] == here), 0)
    if not place:
        rank = "where it would not be placed now"
    elif len(rows) == 1:
        rank = "the only node where it fits now"
    else:
        rank = f"which is number {place} of the {len(rows)} nodes where it fits now"
    return Explanation(f"it runs on {here}, {rank}", "", ("NODE", "TOTAL", *(name for name, _ in columns)), table)


def answers(pod: Pod, snapshot: Snapshot, profile: Profile) -> dict[str, list[str]]:
    """Each rule's reason against each node; empty where it has none."""
    everywhere = Nodes(snapshot)
    found: dict[str, list[str]] = {}
    for plugin in profile.filters:
        state = plugin.pre_filter(pod, everywhere)
        why = [""] * snapshot.count
        if state is not None:
            for row in np.flatnonzero(~plugin.filter(state, everywhere)).tolist():
                why[row] = ", ".join(plugin.reasons(state, Nodes(snapshot, np.array([row]))))
        found[plugin.name] = why
    return found
