"""Admission at the node: the last word on whether a pod that was bound here can run here.

The scheduler may have been wrong, or somebody bound the pod by hand. What is refused is Failed, with upstream's reasons.
"""

from collections.abc import Collection, Iterable, Mapping

from kybern.api.core_v1 import Node, Pod
from kybern.api.node_selectors import fits
from kybern.api.quantity import milli
from kybern.kubelet.eviction.ranking import REASON, is_critical
from kybern.kubelet.phase import TERMINAL
from kybern.kubelet.qos import qos_class
from kybern.kubelet.resources import pod_requests
from kybern.kubelet.status import Verdict
from kybern.reconcile.pausing import is_paused

MEMORY_TAINT = "node.kubernetes.io/memory-pressure"
PREDICATE = "Predicate {} failed: {}"
NODE_AFFINITY = Verdict(
    "NodeAffinity", PREDICATE.format("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
)
NODE_PORTS = Verdict(
    "NodePorts", PREDICATE.format("NodePorts", "node(s) didn't have free ports for the requested pod ports")
)


def refuse(pod: Pod, node: Node, others: Iterable[Pod], pressures: Collection[str] = ()) -> Verdict | None:
    """Why the node will not run the pod beside the others; None where it will. `pressures`: what it runs short of."""
    if pressures and not is_critical(pod) and not _bears(pod, pressures):
        return Verdict(REASON, f"The node had condition: [{' '.join(sorted(pressures))}]. ")
    active = [other for other in others if (other.status.phase or "") not in TERMINAL]
    if not fits(pod.spec, node):
        return NODE_AFFINITY
    if _ports(pod) and any(_conflict(_ports(pod), _ports(other)) for other in active):
        return NODE_PORTS
    allocatable = node.status.allocatable or {}
    pods_max = int(allocatable.get("pods", "0") or 0)
    if pods_max and len(active) + 1 > pods_max:
        return _out_of("pods", 1, len(active), pods_max)
    return lacks(taken_by(pod), allocatable, of_all(active))


def lacking(pod: Pod, node: Node, others: Iterable[Pod]) -> dict[str, int]:
    """How much more of each resource the node had to have for the pod, in thousandths."""
    active = [other for other in others if (other.status.phase or "") not in TERMINAL]
    asked, used = {**taken_by(pod), "pods": 1000}, {**of_all(active), "pods": 1000 * len(active)}
    short = {
        name: amount + used.get(name, 0) - milli((node.status.allocatable or {})[name])
        for name, amount in asked.items()
        if amount and name in (node.status.allocatable or {})
    }
    return {name: amount for name, amount in short.items() if amount > 0}


def _bears(pod: Pod, pressures: Collection[str]) -> bool:
    """A node that is short of memory alone still takes who asked for some, or says that it does not mind."""
    if set(pressures) != {"MemoryPressure"}:
        return False
    return qos_class(pod) != "BestEffort" or any(
        (toleration.key or MEMORY_TAINT) == MEMORY_TAINT
        and (toleration.effect or "NoSchedule") == "NoSchedule"
        and (toleration.operator == "Exists" or not toleration.value)
        for toleration in pod.spec.tolerations or ()
    )


def taken_by(pod: Pod) -> Mapping[str, int]:
    """Of the node itself: extended resources that the pod's claim gives it as devices are not."""
    told = pod.status.extended_resource_claim_status
    given = {one.resource_name for one in told.request_mappings} if told is not None else set()
    return {name: amount for name, amount in pod_requests(pod).items() if name not in given}


def of_all(pods: Iterable[Pod]) -> dict[str, int]:
    """What they take together, in thousandths. A frozen pod takes no processors."""
    used: dict[str, int] = {}
    for pod in pods:
        for name, amount in taken_by(pod).items():
            if name != "cpu" or not is_paused(pod):
                used[name] = used.get(name, 0) + amount
    return used


def lacks(asked: Mapping[str, int], allocatable: Mapping[str, str], used: Mapping[str, int]) -> Verdict | None:
    for name, amount in sorted(asked.items()):
        if name not in allocatable or not amount:
            continue  # extended resources that the node does not know are not its to refuse
        capacity = milli(allocatable[name])
        if used.get(name, 0) + amount > capacity:
            unit = 1 if name == "cpu" else 1000
            return _out_of(name, amount // unit, used.get(name, 0) // unit, capacity // unit)
    return None


def _out_of(resource: str, requested: int, used: int, capacity: int) -> Verdict:
    text = f"Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    return Verdict(f"OutOf{resource}", text)


HostPort = tuple[str, str, int]


def _ports(pod: Pod) -> set[HostPort]:
    """Protocol, address and number of each port of the node that the pod takes."""
    return {
        (port.protocol or "TCP", port.host_ip or "0.0.0.0", port.host_port)
        for container in (*pod.spec.containers, *(pod.spec.init_containers or ()))
        for port in container.ports or ()
        if port.host_port
    }


def _conflict(wanted: set[HostPort], taken: set[HostPort]) -> bool:
    return any(
        one[0] == other[0] and one[2] == other[2] and (one[1] == other[1] or "0.0.0.0" in (one[1], other[1]))
        for one in wanted
        for other in taken
    )
