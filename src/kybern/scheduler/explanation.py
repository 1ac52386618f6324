"""Why a pod is where it is, or nowhere: each node with what every rule says of it, and the smallest change that would help.

Plain functions over a snapshot. All rules are asked about all nodes, also those that another rule has refused already:
a node that one change away is not to be hidden by the order of the rules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from kybern.api.core_v1 import Pod
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.judgement import judge, scored
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.plugins.node_resources import insufficient
from kybern.scheduler.refusal import NO_NODES, refusal
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.tolerations import tolerated

NODES_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True)
class Explanation:
    cause: str
    change: str
    """The smallest one that would place the pod; empty where nothing is wrong."""
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def explained(pod: Pod, snapshot: Snapshot, profile: Profile) -> Explanation:
    if pod.spec.node_name:
        return of_placed(pod, snapshot, profile)
    gate = next((why for plugin in profile.pre_enqueue if (why := plugin.pre_enqueue(pod, snapshot))), "")
    if gate:
        return Explanation(gate, f"remove what keeps it out: {gate}", (), ())
    if not snapshot.count:
        return Explanation(NO_NODES, "add a node", (), ())
    return of_waiting(pod, snapshot, profile)


def of_waiting(pod: Pod, snapshot: Snapshot, profile: Profile) -> Explanation:
    judgement = judge(pod, snapshot, profile)
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
        return Explanation(
            f"it fits on {name} now", "none: the scheduler has not tried it since", ("NODE", *rules), table
        )
    cause = refusal(pod, judgement, snapshot).available
    return Explanation(cause, smallest_change(pod, snapshot, profile, said), ("NODE", *rules), table)


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
    cause = (
        f"it runs on {here}, which is number {place} of the {len(rows)} nodes where it fits now"
        if place
        else f"it runs on {here}, where it would not be placed now"
    )
    return Explanation(cause, "", ("NODE", "TOTAL", *(name for name, _ in columns)), table)


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


# The smallest change

Change = Callable[[Pod, Snapshot, int, str], tuple[float, str]]
"""For a node that only this rule refuses: how much it is (less is better), and what to do."""


def smallest_change(pod: Pod, snapshot: Snapshot, profile: Profile, said: Mapping[str, list[str]]) -> str:
    found: list[tuple[int, float, str]] = []
    for row in range(snapshot.count):
        against = [rule for rule, why in said.items() if why[row]]
        parts = [CHANGES.get(rule, generic)(pod, snapshot, row, said[rule][row]) for rule in against]
        found.append((len(against), sum(size for size, _ in parts), "; and ".join(text for _, text in parts)))
    return min(found)[2]


def name_of(snapshot: Snapshot, row: int) -> str:
    return snapshot.nodes[row].metadata.name or ""


def generic(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    return 50.0, f"on {name_of(snapshot, row)}: {why}"


def more_room(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    """Whichever is less: what has to be free there, as a share of what the pod asks for."""
    from kybern.scheduler.demand import demand_of

    parts, size = [], 0.0
    for name, asked in demand_of(pod).amounts.items():
        if insufficient(name) not in why or name not in snapshot.resources:
            continue
        column = snapshot.resources.index(name)
        there = int(snapshot.allocatable[row, column])
        free = there - int(snapshot.requested[row, column])
        size += (asked - free) / max(asked, 1)
        parts.append(
            f"{shown(name, asked - free)} more {name} (asks for {shown(name, asked)}, {shown(name, max(free, 0))} of "
            f"{shown(name, there)} free)"
        )
    return size, f"{' and '.join(parts)} on {name_of(snapshot, row)}, or that much less asked for"


def shown(resource: str, amount: int) -> str:
    if resource == "cpu":
        return f"{amount}m" if amount % 1000 else str(amount // 1000)
    if resource in ("memory", "ephemeral-storage"):
        return f"{amount / (1 << 20):.0f}Mi"
    return str(amount)


def tolerate(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    taints = [
        f"{taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect}"
        for taint in snapshot.nodes[row].spec.taints or ()
        if taint.effect in ("NoSchedule", "NoExecute")
        and not tolerated((taint.key, taint.value or "", taint.effect), pod.spec.tolerations or ())
    ]
    return 1.0 + len(taints), f"a toleration for {', '.join(taints)} ({name_of(snapshot, row)})"


def uncordon(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    return 0.5, f"kubectl uncordon {name_of(snapshot, row)}"


def labels(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    here = snapshot.nodes[row].metadata.labels or {}
    lacking = [f"{key}={value}" for key, value in (pod.spec.node_selector or {}).items() if here.get(key) != value]
    if lacking:
        return 2.0 + len(lacking), f"kubectl label node {name_of(snapshot, row)} {' '.join(lacking)}"
    return 5.0, f"another nodeAffinity, or labels that satisfy it on {name_of(snapshot, row)}"


def another_name(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    return 9.0, f"a node of the name that it asks for, instead of {name_of(snapshot, row)}"


def another_port(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    return 3.0, f"another hostPort than those in use on {name_of(snapshot, row)}"


CHANGES: dict[str, Any] = {
    "NodeResourcesFit": more_room,
    "TaintToleration": tolerate,
    "NodeUnschedulable": uncordon,
    "NodeAffinity": labels,
    "NodeName": another_name,
    "NodePorts": another_port,
}
