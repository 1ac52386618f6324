"""What the policies say of one packet, and which of them: the rules' meaning without the rules, for whoever asks why.

It reads policies on its own and not what `rules` made of them, on purpose: tests hold the two against each other, and
each against the packets that the kernel lets through, so that a mistake has to be made twice to stay unseen.
"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from kybern.api.networking_v1 import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort
from kybern.network.policy.model import (
    Direction,
    Endpoint,
    Rule,
    World,
    isolating,
    peers_of,
    pods_of,
    protocol_of,
    rules_of,
)


@dataclass(frozen=True, slots=True)
class Drop:
    """Where a packet ends."""

    direction: Direction
    pod: Endpoint
    policies: tuple[str, ...]
    """All that select the pod for this direction, and of which none allows it."""


def dropped(world: World, source: Endpoint, target: Endpoint, protocol: str, port: int) -> Drop | None:
    """None for a packet that passes. `protocol` in lower case."""
    if source.uid == target.uid:
        return None
    for direction, pod, other in (("egress", source, target), ("ingress", target, source)):
        way: Direction = "egress" if direction == "egress" else "ingress"
        policies = isolating(world.policies, pod, way)
        if policies and not any(allows(world, policy, way, target, other, protocol, port) for policy in policies):
            return Drop(way, pod, tuple(sorted(f"{p.metadata.namespace}/{p.metadata.name}" for p in policies)))
    return None


def allows(
    world: World,
    policy: NetworkPolicy,
    direction: Direction,
    target: Endpoint,
    other: Endpoint,
    protocol: str,
    port: int,
) -> bool:
    namespace = policy.metadata.namespace or ""
    return any(
        is_from(world, rule, namespace, other) and is_for(rule, target, protocol, port)
        for rule in rules_of(policy, direction)
    )


def is_from(world: World, rule: Rule, namespace: str, other: Endpoint) -> bool:
    peers = peers_of(rule)
    return not peers or any(is_peer(world, peer, namespace, other) for peer in peers)


def is_peer(world: World, peer: NetworkPolicyPeer, namespace: str, other: Endpoint) -> bool:
    if peer.ip_block is None:
        return any(pod.uid == other.uid for pod in pods_of(peer, namespace, world))
    block = ip_network(peer.ip_block.cidr, strict=False)
    but = [ip_network(each, strict=False) for each in peer.ip_block.except_ or ()]
    found = [ip_address(ip) for ip in other.ips]
    return any(ip in block and not any(ip in each for each in but) for ip in found)


def is_for(rule: Rule, target: Endpoint, protocol: str, port: int) -> bool:
    return not rule.ports or any(is_port(wanted, target, protocol, port) for wanted in rule.ports)


def is_port(wanted: NetworkPolicyPort, target: Endpoint, protocol: str, port: int) -> bool:
    if protocol_of(wanted) != protocol:
        return False
    if isinstance(wanted.port, str):
        return (wanted.port, protocol, port) in target.ports
    return wanted.port is None or wanted.port <= port <= (wanted.end_port or wanted.port)
