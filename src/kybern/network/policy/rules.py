"""Policies as nftables rules, for the pods of one node: a pure function.

    forward      replies pass; then egress of the sender, then ingress of the receiver: for every packet, so what a
                 changed policy no longer allows ends also where it had begun
    egress       ip → jump to a chain    for each isolated pod of this node
    ingress      ip → jump to a chain
    <chain>      one for each combination of policies that some pod is selected by; a rule that allows returns, the end
                 of the chain drops and remembers what
    peers-*      ip                      the pods that a peer by labels stands for
    ports-*      ip . protocol . port    where a named port is, on the pods that have it
    self         ip . ip                 what a pod sends to itself passes (by a Service, say)
    dropped      saddr . daddr . protocol . dport    the last of them, for whoever asks why

What a node exchanges with its own pods is not looked at: it always passes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from kybern.api.networking_v1 import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort
from kybern.network.nftables import Ruleset
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
    selector_key,
    selects,
)

DIRECTIONS: tuple[Direction, ...] = ("egress", "ingress")
REMEMBERED_SECONDS, REMEMBERED_MAX = 600, 1024
FAMILIES: Mapping[int, tuple[str, str]] = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}


def frame(table: str, version: int) -> str:
    """The table with its hook and empty maps; whatever it held before is gone, in the same transaction."""
    family, kind = FAMILIES[version]
    flow = f"{kind} . {kind} . inet_proto . inet_service"
    return f"""\
table {family} {table}
delete table {family} {table}
table {family} {table} {{
    map egress {{ type {kind} : verdict; }}
    map ingress {{ type {kind} : verdict; }}
    set self {{ type {kind} . {kind}; }}
    set dropped {{ type {flow}; flags dynamic, timeout; timeout {REMEMBERED_SECONDS}s; size {REMEMBERED_MAX}; }}
    chain forward {{
        type filter hook forward priority filter - 5; policy accept;
        ct state established ct direction reply accept
        ct state related accept
        {family} saddr . {family} daddr @self accept
        {family} saddr vmap @egress
        {family} daddr vmap @ingress
    }}
}}
"""


@dataclass(slots=True)
class Table:
    """The rules of one family while they are put together."""

    world: World
    version: int
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    elements: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def family(self) -> str:
        return FAMILIES[self.version][0]

    def ips(self, pod: Endpoint) -> Iterator[str]:
        return (ip for ip in pod.ips if ip_address(ip).version == self.version)

    def isolate(self, pod: Endpoint, direction: Direction) -> None:
        policies = isolating(self.world.policies, pod, direction)
        if not policies:
            return
        chain = f"{direction}-{key_of(*sorted(identity(policy) for policy in policies))}"
        if chain not in self.chains:
            rules = [text for policy in policies for text in self.policy_rules(policy, direction)]
            self.chains[chain] = (*dict.fromkeys(rules), *self.end())
        for ip in self.ips(pod):
            self.elements.setdefault(direction, {})[ip] = f"jump {chain}"
            self.elements.setdefault("self", {})[f"{ip} . {ip}"] = ""

    def end(self) -> tuple[str, ...]:
        family = self.family
        remembered = f"{{ {family} saddr . {family} daddr . meta l4proto . th dport }}"
        return (f"meta l4proto {{ tcp, udp, sctp }} update @dropped {remembered}", "counter drop")

    def policy_rules(self, policy: NetworkPolicy, direction: Direction) -> Iterator[str]:
        for rule in rules_of(policy, direction):
            for who, peer in self.peer_matches(rule, policy.metadata.namespace or "", direction):
                for what in self.port_matches(rule, peer, policy, direction):
                    yield f"{who} {what} return".strip()

    def peer_matches(
        self, rule: Rule, namespace: str, direction: Direction
    ) -> Iterator[tuple[str, NetworkPolicyPeer | None]]:
        """Texts that match the other end, each with the peer it came from."""
        side = f"{self.family} {'saddr' if direction == 'ingress' else 'daddr'}"
        if not peers_of(rule):
            yield "", None
        for peer in peers_of(rule):
            if peer.ip_block is None:
                yield f"{side} @{self.peer_set(peer, namespace)}", peer
            elif ip_network(peer.ip_block.cidr, strict=False).version == self.version:
                but = ", ".join(except_ for except_ in peer.ip_block.except_ or ())
                yield f"{side} {peer.ip_block.cidr}" + (f" {side} != {{ {but} }}" if but else ""), peer

    def peer_set(self, peer: NetworkPolicyPeer, namespace: str) -> str:
        scope = namespace if peer.namespace_selector is None else ""
        name = f"peers-{key_of(scope, selector_key(peer.namespace_selector), selector_key(peer.pod_selector))}"
        if name not in self.sets:
            self.sets[name] = f"type {FAMILIES[self.version][1]};"
            found = pods_of(peer, namespace, self.world)
            self.elements[name] = {ip: "" for pod in found for ip in self.ips(pod)}
        return name

    def port_matches(
        self, rule: Rule, peer: NetworkPolicyPeer | None, policy: NetworkPolicy, direction: Direction
    ) -> Iterator[str]:
        if not rule.ports:
            yield ""
        for port in rule.ports or ():
            protocol = protocol_of(port)
            if isinstance(port.port, str):
                name = self.named_set(port.port, protocol, peer, policy, direction)
                yield f"{self.family} daddr . meta l4proto . th dport @{name}"
            elif port.port is None:
                yield f"meta l4proto {protocol}"
            else:
                yield f"meta l4proto {protocol} th dport {numbers(port)}"

    def named_set(
        self, name: str, protocol: str, peer: NetworkPolicyPeer | None, policy: NetworkPolicy, direction: Direction
    ) -> str:
        """Where the receivers have the port: the pods that the policy selects, or those that the peer stands for."""
        namespace = policy.metadata.namespace or ""
        whose: tuple[str, ...]
        if direction == "ingress":
            receivers = [pod for pod in self.world.pods if selects(policy, pod)]
            whose = ("selected", namespace, selector_key(policy.spec.pod_selector))
        elif peer is None or peer.ip_block is not None:
            receivers, whose = list(self.world.pods), ("all",)
        else:
            receivers = list(pods_of(peer, namespace, self.world))
            whose = (namespace, selector_key(peer.namespace_selector), selector_key(peer.pod_selector))
        found = f"ports-{key_of(name, protocol, *whose)}"
        if found not in self.sets:
            self.sets[found] = f"type {FAMILIES[self.version][1]} . inet_proto . inet_service;"
            self.elements[found] = {
                f"{ip} . {protocol} . {number}": ""
                for pod in receivers
                for port, of, number in pod.ports
                if (port, of) == (name, protocol)
                for ip in self.ips(pod)
            }
        return found


def ruleset(world: World, local: Iterable[Endpoint], version: int) -> Ruleset:
    """`local`: the pods of this node, which are isolated here."""
    table = Table(world, version)
    for pod in local:
        for direction in DIRECTIONS:
            table.isolate(pod, direction)
    return Ruleset(table.chains, table.sets, table.elements)


def numbers(port: NetworkPolicyPort) -> str:
    return f"{port.port}-{port.end_port}" if port.end_port and port.end_port != port.port else str(port.port)


def identity(policy: NetworkPolicy) -> str:
    """Of a policy as it is now: a changed one makes another chain, and pods move from one to the other at once."""
    meta = policy.metadata
    return f"{meta.namespace}/{meta.name}/{meta.uid}/{meta.generation}"


def key_of(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
