"""Policies and pods as values, and which policy is about which pod (NetworkPolicySpec, upstream's meaning).

- A pod is isolated in a direction once a policy for that direction selects it; then only what some policy allows passes.
- A peer is an address block, or pods by labels: of the policy's namespace, of namespaces by labels, or both.
- Pods on the node's own network are no peers by labels: their address is the node's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kybern.api.core_v1 import Pod
from kybern.api.meta_v1 import LabelSelector
from kybern.api.networking_v1 import (
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from kybern.api.selectors import EVERYTHING, Selector, of_label_selector

Direction = Literal["ingress", "egress"]
Rule = NetworkPolicyIngressRule | NetworkPolicyEgressRule

FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod with its addresses."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str] = field(hash=False)
    ips: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...] = ()
    """(name, protocol in lower case, number) of ports that have a name."""


@dataclass(frozen=True, slots=True)
class World:
    """All that the rules are made of."""

    policies: Sequence[NetworkPolicy]
    pods: Sequence[Endpoint]
    namespaces: Mapping[str, Mapping[str, str]]
    """Name → labels."""


def endpoint_of(pod: Pod) -> Endpoint | None:
    """None for a pod that has no address of its own (any more)."""
    ips = tuple(found.ip for found in pod.status.pod_ips or ())
    if pod.spec.host_network or not ips or pod.status.phase in FINISHED:
        return None
    meta = pod.metadata
    return Endpoint(meta.namespace or "", meta.name or "", meta.uid or "", meta.labels or {}, ips, named_ports(pod))


def named_ports(pod: Pod) -> tuple[tuple[str, str, int], ...]:
    return tuple(
        (port.name, (port.protocol or "TCP").lower(), port.container_port)
        for container in pod.spec.containers
        for port in container.ports or ()
        if port.name
    )


def isolating(policies: Iterable[NetworkPolicy], pod: Endpoint, direction: Direction) -> list[NetworkPolicy]:
    """The policies of one direction that select a pod."""
    return [policy for policy in policies if is_about(policy, direction) and selects(policy, pod)]


def is_about(policy: NetworkPolicy, direction: Direction) -> bool:
    """Without policyTypes: ingress always, egress where there are rules for it."""
    if policy.spec.policy_types is not None:
        return direction.capitalize() in policy.spec.policy_types
    return direction == "ingress" or bool(policy.spec.egress)


def selects(policy: NetworkPolicy, pod: Endpoint) -> bool:
    return policy.metadata.namespace == pod.namespace and selector(policy.spec.pod_selector).matches(pod.labels)


def selector(given: LabelSelector | None) -> Selector:
    return EVERYTHING if given is None else of_label_selector(given)


def rules_of(policy: NetworkPolicy, direction: Direction) -> Sequence[Rule]:
    return (policy.spec.ingress if direction == "ingress" else policy.spec.egress) or ()


def peers_of(rule: Rule) -> Sequence[NetworkPolicyPeer]:
    """None at all means everybody."""
    return (rule.from_ if isinstance(rule, NetworkPolicyIngressRule) else rule.to) or ()


def pods_of(peer: NetworkPolicyPeer, namespace: str, world: World) -> Iterator[Endpoint]:
    """The pods that a peer by labels stands for, in a policy of `namespace`."""
    spaces = {namespace}
    if peer.namespace_selector is not None:
        wanted = selector(peer.namespace_selector)
        spaces = {name for name, labels in world.namespaces.items() if wanted.matches(labels)}
    pods = selector(peer.pod_selector)
    return (pod for pod in world.pods if pod.namespace in spaces and pods.matches(pod.labels))


def protocol_of(port: NetworkPolicyPort) -> str:
    return (port.protocol or "TCP").lower()


def selector_key(selector: LabelSelector | None) -> str:
    """Equal selectors have equal keys."""
    return (
        "-" if selector is None else repr((sorted((selector.match_labels or {}).items()), selector.match_expressions))
    )
