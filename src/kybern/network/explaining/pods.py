"""From one pod to another: the node, the way to it, the rules of others, the policies, and whether anybody listens."""

from collections.abc import Iterable, Iterator

from kybern.api.core_v1 import Node, Pod
from kybern.network.explaining.endpoints import state_of
from kybern.network.explaining.steps import Known, Machine, Step, asked
from kybern.network.policy.model import endpoint_of
from kybern.network.policy.verdict import dropped


def pod_steps(
    known: Known, machine: Machine, source: Pod | None, target: Pod, port: int, protocol: str
) -> Iterator[Step]:
    name = f"{target.metadata.namespace}/{target.metadata.name}"
    if not target.status.pod_ips:
        yield Step(
            "pod", False, f"{name} has no address yet: {state_of(target)}", f"kybern why pod/{target.metadata.name}"
        )
        return
    yield Step("pod", True, f"{name} is {target.status.pod_ips[0].ip} on node {target.spec.node_name}")
    yield node_step(known.nodes, target)
    if source is not None and not source.status.pod_ips:
        yield Step(
            "pod",
            False,
            f"{source.metadata.name} has no address yet: {state_of(source)}",
            f"kybern why pod/{source.metadata.name}",
        )
        return
    yield asked("route", machine.route(target), f"node {target.spec.node_name} is reached", "kybern node heal NAME")
    yield asked("firewall", machine.firewall(), "nobody else's rules drop the cluster's packets", "take that rule away")
    if source is not None:
        yield policy_step(known, machine, source, target, protocol, port)
    where = f"{target.metadata.name} listens on port {port}"
    yield asked("socket", machine.listening(target, protocol, port), where, "start the program, or correct the port")


def node_step(nodes: Iterable[Node], target: Pod) -> Step:
    node = next((node for node in nodes if node.metadata.name == target.spec.node_name), None)
    if node is None:
        return Step("node", False, f"node {target.spec.node_name} is not there any more", "kubectl get nodes")
    ready = next((c for c in node.status.conditions or () if c.type == "Ready"), None)
    if ready is None or ready.status != "True":
        why = (ready.message or ready.reason or "") if ready else "it has not said a word yet"
        return Step("node", False, f"node {target.spec.node_name} is not ready: {why}", "kybern node ls")
    broken = next(
        (c for c in node.status.conditions or () if c.type == "NetworkUnavailable" and c.status == "True"), None
    )
    if broken is not None:
        return Step("node", False, f"the network of node {target.spec.node_name} is not there: {broken.message or broken.reason}",
                    "look into the node's log")  # fmt: skip
    return Step("node", True, f"node {target.spec.node_name} is ready")


def policy_step(known: Known, machine: Machine, source: Pod, target: Pod, protocol: str, port: int) -> Step:
    one, other = endpoint_of(source), endpoint_of(target)
    if one is None or other is None:
        return Step("policy", True, "a pod on its node's own network: policies by labels are not about it")
    drop = dropped(known.world, one, other, protocol, port)
    if drop is None:
        return Step("policy", True, "the policies of both pods let it pass")
    listed = ", ".join(drop.policies)
    node = (source if drop.direction == "egress" else target).spec.node_name or ""
    seen = (
        ", and has dropped such packets just now"
        if machine.has_dropped(node, one.ips[0], other.ips[0], protocol, port)
        else ""
    )
    toward = "leave" if drop.direction == "egress" else "enter"
    return Step("policy", False, f"NetworkPolicy {listed} does not let {protocol.upper()} {port} {toward} {drop.pod.namespace}/{drop.pod.name}{seen}",
                f"add {'a peer' if drop.direction == 'ingress' else 'a destination'} and port to its {drop.direction} rules")  # fmt: skip
