"""networkpolicies: which pods may talk to which."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from kybern.api import names
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.api.networking_v1 import (
    IPBlock,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
)
from kybern.registry.address_warnings import all_cidr_warnings, cidr_warnings
from kybern.registry.checks import label_selector, port_or_name
from kybern.registry.columns import AGE, NAME, selector_text
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.parts import changed, kind_of, spec_of
from kybern.registry.resource import Column, Resource

PROTOCOLS = ("TCP", "UDP", "SCTP")


def default_policy(policy: NetworkPolicy) -> NetworkPolicy:
    return part(policy, "spec", default_policy_spec)


def default_policy_spec(spec: NetworkPolicySpec) -> NetworkPolicySpec:
    if not spec.policy_types:
        types = ("Ingress", "Egress") if spec.egress else ("Ingress",)
        spec = changed(spec, policy_types=types)
    spec = parts(spec, "ingress", default_rule)
    return parts(spec, "egress", default_rule)


def default_rule(rule: Any) -> Any:
    return parts(rule, "ports", lambda port: filled(port, protocol="TCP"))


def validate_policy(policy: NetworkPolicy) -> Iterator[FieldError]:
    spec = policy.spec
    yield from label_selector(spec.pod_selector, "spec.podSelector")
    for index, rule in enumerate(spec.ingress or ()):
        yield from validate_rule(rule.ports or (), rule.from_ or (), f"spec.ingress[{index}]", "from")
    for index, egress in enumerate(spec.egress or ()):
        yield from validate_rule(egress.ports or (), egress.to or (), f"spec.egress[{index}]", "to")
    types = spec.policy_types or ()
    if len(types) > 2:
        yield invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for index, type_ in enumerate(types):
        if type_ not in ("Ingress", "Egress"):
            yield not_supported(f"spec.policyTypes[{index}]", type_, ("Ingress", "Egress"))


def validate_rule(
    ports: tuple[NetworkPolicyPort, ...], peers: tuple[NetworkPolicyPeer, ...], at: str, field: str
) -> Iterator[FieldError]:
    for index, port in enumerate(ports):
        yield from validate_policy_port(port, f"{at}.ports[{index}]")
    for index, peer in enumerate(peers):
        yield from validate_peer(peer, f"{at}.{field}[{index}]")


def validate_policy_port(port: NetworkPolicyPort, at: str) -> Iterator[FieldError]:
    if port.protocol not in PROTOCOLS:
        yield not_supported(f"{at}.protocol", port.protocol, PROTOCOLS)
    if port.port is not None:
        yield from port_or_name(f"{at}.port", port.port)
    if port.end_port is None:
        return
    if port.port is None:
        yield invalid_value(f"{at}.endPort", port.end_port, "may not be specified when `port` is not specified")
    elif isinstance(port.port, str):
        yield invalid_value(f"{at}.endPort", port.end_port, "may not be specified when `port` is non-numeric")
    else:
        if port.end_port < port.port:
            yield invalid_value(f"{at}.endPort", port.end_port, "must be greater than or equal to `port`")
        for wrong in names.port_number(port.end_port):
            yield invalid_value(f"{at}.endPort", port.end_port, wrong)


def validate_peer(peer: NetworkPolicyPeer, at: str) -> Iterator[FieldError]:
    selected = peer.pod_selector is not None or peer.namespace_selector is not None
    yield from label_selector(peer.pod_selector, f"{at}.podSelector")
    yield from label_selector(peer.namespace_selector, f"{at}.namespaceSelector")
    if peer.ip_block is not None:
        yield from validate_block(peer.ip_block, f"{at}.ipBlock")
        if selected:
            yield forbidden_field(at, "may not specify both ipBlock and another peer")
    elif not selected:
        yield required(at, "must specify a peer")


def validate_block(block: IPBlock, at: str) -> Iterator[FieldError]:
    """A block, and smaller ones within it that are left out."""
    if not block.cidr:
        yield required(f"{at}.cidr")
        return
    wrong = names.cidr(block.cidr)
    for text in wrong:
        yield invalid_value(f"{at}.cidr", block.cidr, text)
    for index, inner in enumerate(() if wrong else block.except_ or ()):
        wrong = names.cidr(inner)
        for text in wrong:
            yield invalid_value(f"{at}.except[{index}]", inner, text)
        if not wrong and not is_within(inner, block.cidr):
            yield invalid_value(f"{at}.except[{index}]", inner, "must be a strict subset of `cidr`")


def is_within(inner: str, outer: str) -> bool:
    small, large = ip_network(inner, strict=False), ip_network(outer, strict=False)
    return small.version == large.version and small.prefixlen > large.prefixlen and small.network_address in large


def warnings(policy: NetworkPolicy, old: NetworkPolicy | None) -> Iterator[str]:
    for index, ingress in enumerate(policy.spec.ingress or ()):
        yield from peer_warnings(ingress.from_, f"spec.ingress[{index}].from")
    for index, egress in enumerate(policy.spec.egress or ()):
        yield from peer_warnings(egress.to, f"spec.egress[{index}].to")


def peer_warnings(peers: tuple[NetworkPolicyPeer, ...] | None, at: str) -> Iterator[str]:
    for index, peer in enumerate(peers or ()):
        if peer.ip_block is not None:
            yield from cidr_warnings(f"{at}[{index}].ipBlock.cidr", peer.ip_block.cidr)
            yield from all_cidr_warnings(f"{at}[{index}].ipBlock.except", peer.ip_block.except_)


NETWORK_POLICIES = Resource(
    kind=kind_of(NetworkPolicy),
    short_names=("netpol",),
    default=default_policy,
    validate=validate_policy,
    warnings=warnings,
    generation=spec_of,
    columns=(
        NAME,
        Column(
            "Pod-Selector",
            lambda policy, now: selector_text(policy.spec.pod_selector),
            of="networking_v1.NetworkPolicySpec.podSelector",
        ),
        AGE,
    ),
)
