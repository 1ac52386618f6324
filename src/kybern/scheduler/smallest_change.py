"""The smallest change that would place a pod, said as what to do about it.

For each node, what each rule that refuses it would need; the node with the fewest such rules, and the least to do, is named.
What keeps a pod out of the queue, or is no node's matter, has a change of its own.
"""

from collections.abc import Callable, Mapping

from kybern.api.core_v1 import Pod, PodAffinityTerm
from kybern.scheduler.demand import demand_of
from kybern.scheduler.gangs import SIZE, GangScheduling, gang_of
from kybern.scheduler.plugins.inter_pod_affinity import NOT_FAR, NOT_NEAR
from kybern.scheduler.plugins.node_resources import insufficient
from kybern.scheduler.plugins.node_unschedulable import CORDONED
from kybern.scheduler.plugins.pod_topology_spread import NO_LABEL
from kybern.scheduler.plugins.scheduling_gates import SchedulingGates
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.terms import selector_of
from kybern.scheduler.tolerations import tolerated

Change = Callable[[Pod, Snapshot, int, str], tuple[float, str]]
"""For a node that a rule refuses: how much it is (less is better), and what to do."""


def to_let_in(pod: Pod, gate: str) -> str:
    gang = gang_of(pod)
    if gate == GangScheduling.name and gang is not None:
        return f"more pods of the gang {gang.name}, or a smaller {SIZE}"
    if gate == SchedulingGates.name:
        gates = ", ".join(one.name for one in pod.spec.scheduling_gates or ())
        return f"whoever looks after {gates} removes it from spec.schedulingGates"
    return f"what {gate} waits for"


def to_solve(pod: Pod, problem: str) -> str:
    """What is no node's matter: a claim that is not as it should be."""
    if problem.endswith("not found"):
        what = problem.removesuffix(" not found")
        return f"create {what}" + (f" in namespace {pod.metadata.namespace}" if "claim" in what else "")
    if "unbound immediate" in problem:
        names = [
            one.persistent_volume_claim.claim_name for one in pod.spec.volumes or () if one.persistent_volume_claim
        ]
        return f"a volume or a provisioner for {', '.join(names)} (kubectl describe pvc says what it waits for)"
    return f"another claim, or wait: {problem}"


def to_thaw(pod: Pod, snapshot: Snapshot, row: int) -> str:
    """It counts on its node without its processors."""
    asked, there = demand_of(pod).amounts.get("cpu", 0), int(snapshot.allocatable[row, 0])
    free = max(there - int(snapshot.requested[row, 0]), 0)
    if asked <= free:
        return "none: its processors are free, and it goes on as soon as nobody more important waits for them"
    has = f"{shown('cpu', free)} of {shown('cpu', there)} free"
    return f"{shown('cpu', asked - free)} more cpu on {name_of(snapshot, row)} (asks for {shown('cpu', asked)}, {has})"


def smallest_change(pod: Pod, snapshot: Snapshot, said: Mapping[str, list[str]]) -> str:
    """`said`: each rule's reason against each node."""
    found: list[tuple[int, float, str]] = []
    for row in range(snapshot.count):
        parts = [
            part
            for rule, why in said.items()
            if why[row] and (part := CHANGES.get(rule, another)(pod, snapshot, row, why[row]))[1]
        ]
        found.append((len(parts), sum(size for size, _ in parts), "; and ".join(text for _, text in parts)))
    return min(found)[2]


def name_of(snapshot: Snapshot, row: int) -> str:
    return snapshot.nodes[row].metadata.name or ""


def another(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    return 50.0, f"that it is no longer so on {name_of(snapshot, row)}: {why}"


def more_room(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    """What has to be free there, as a share of what the pod asks for; it is more where the node is too small for it."""
    parts, size = [], 0.0
    for name, asked in demand_of(pod).amounts.items():
        if insufficient(name) not in why or name not in snapshot.resources:
            continue
        column = snapshot.resources.index(name)
        there = int(snapshot.allocatable[row, column])
        free = there - int(snapshot.requested[row, column])
        size += (asked - free) / max(asked, 1) + (10.0 if there < asked else 0.0)
        has = f"{shown(name, max(free, 0))} of {shown(name, there)} free" if there else "it has none"
        parts.append(f"{shown(name, asked - free)} more {name} (asks for {shown(name, asked)}, {has})")
    return size, f"{' and '.join(parts)} on {name_of(snapshot, row)}, or that much less asked for"


def shown(resource: str, amount: int) -> str:
    if resource == "cpu":
        return f"{amount}m" if amount % 1000 else str(amount // 1000)
    if resource in ("memory", "ephemeral-storage"):
        return f"{amount / (1 << 20):.0f}Mi"
    return str(amount)


def tolerate(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    """Uncordoning takes away the taint that goes with it."""
    taints = [
        f"{taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect}"
        for taint in snapshot.nodes[row].spec.taints or ()
        if taint.effect in ("NoSchedule", "NoExecute")
        and (taint.key, taint.value or "", taint.effect) != CORDONED
        and not tolerated((taint.key, taint.value or "", taint.effect), pod.spec.tolerations or ())
    ]
    return (
        (1.0 + len(taints), f"a toleration for {', '.join(taints)} ({name_of(snapshot, row)})") if taints else (0.0, "")
    )


def uncordon(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    return 0.5, f"kubectl uncordon {name_of(snapshot, row)}"


def labels(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    here = snapshot.nodes[row].metadata.labels or {}
    lacking = [f"{key}={value}" for key, value in (pod.spec.node_selector or {}).items() if here.get(key) != value]
    if lacking:
        return 2.0 + len(lacking), f"kubectl label node {name_of(snapshot, row)} {' '.join(lacking)}"
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    wanted = " or ".join(
        ", ".join(
            f"{one.key} {one.operator} {list(one.values or ())}" if one.values else f"{one.key} {one.operator}"
            for one in (*(term.match_expressions or ()), *(term.match_fields or ()))
        )
        for term in (required.node_selector_terms if required else ())
    )
    return 5.0, f"labels on {name_of(snapshot, row)} as its nodeAffinity wants them ({wanted})"


def another_name(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    return 9.0, f"a node of the name that it asks for, instead of {name_of(snapshot, row)}"


def another_port(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    return 3.0, f"another hostPort than those in use on {name_of(snapshot, row)}"


def company(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    affinity, node = pod.spec.affinity, name_of(snapshot, row)
    near, far = (affinity.pod_affinity, affinity.pod_anti_affinity) if affinity else (None, None)
    if why == NOT_NEAR and near is not None:
        terms = near.required_during_scheduling_ignored_during_execution or ()
        return 6.0, f"a pod that its podAffinity asks for ({told(terms)}) near {node}"
    if why == NOT_FAR and far is not None:
        terms = far.required_during_scheduling_ignored_during_execution or ()
        return 6.0, f"that the pods which its podAntiAffinity avoids ({told(terms)}) leave {node}, or one node more"
    return 7.0, f"that the pods near {node} whose podAntiAffinity means this one leave, or one node more"


def told(terms: tuple[PodAffinityTerm, ...]) -> str:
    return "; ".join(f"{selector_of(one.label_selector)} by {one.topology_key}" for one in terms)


def evenness(pod: Pod, snapshot: Snapshot, row: int, why: str) -> tuple[float, str]:
    node, here = name_of(snapshot, row), snapshot.nodes[row].metadata.labels or {}
    constraints = [
        one for one in pod.spec.topology_spread_constraints or () if one.when_unsatisfiable == "DoNotSchedule"
    ]
    missing = [one.topology_key for one in constraints if one.topology_key not in here]
    if why == NO_LABEL and missing:
        return 2.0, f"kubectl label node {node} {' '.join(f'{key}=VALUE' for key in missing)}"
    limits = ", ".join(f"{one.topology_key} (maxSkew {one.max_skew})" for one in constraints)
    return 6.0, f"fewer of the pods that count where {node} is, or more elsewhere, or a larger maxSkew: {limits}"


CHANGES: dict[str, Change] = {
    "NodeResourcesFit": more_room,
    "TaintToleration": tolerate,
    "NodeUnschedulable": uncordon,
    "NodeAffinity": labels,
    "NodeName": another_name,
    "NodePorts": another_port,
    "InterPodAffinity": company,
    "PodTopologySpread": evenness,
}
