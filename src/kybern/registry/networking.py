"""ingresses, ingressclasses, networkpolicies, ipaddresses, servicecidrs: who may reach what, and by which name."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.api.networking_v1 import (
    HTTPIngressPath,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassParametersReference,
    IPAddress,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
    ServiceCIDR,
)
from kybern.registry.checks import immutable, judged, label_selector, named, port_or_name
from kybern.registry.columns import AGE, NAME, NONE, selector_text
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
HOSTS_SHOWN_MAX = 3
BAD_PATH_PARTS = ("//", "/./", "/../", "%2f", "%2F")
BAD_PATH_ENDS = ("/..", "/.")


def validate_ingress(ingress: Ingress) -> Iterator[FieldError]:
    spec = ingress.spec
    if spec.default_backend is None and not spec.rules:
        yield invalid_value("spec", spec.rules, "either `defaultBackend` or `rules` must be specified")
    if spec.default_backend is not None:
        yield from validate_backend(spec.default_backend, "spec.defaultBackend")
    for index, rule in enumerate(spec.rules or ()):
        at = f"spec.rules[{index}]"
        yield from validate_host(rule.host, f"{at}.host")
        if rule.http is not None:
            if not rule.http.paths:
                yield required(f"{at}.http.paths")
            for place, path in enumerate(rule.http.paths):
                yield from validate_path(path, f"{at}.http.paths[{place}]")
    for index, tls in enumerate(spec.tls or ()):
        for place, host in enumerate(tls.hosts or ()):
            yield from judged(f"spec.tls[{index}].hosts[{place}]", host, host_rule(host))
        yield from judged(f"spec.tls[{index}].secretName", tls.secret_name, names.dns1123_subdomain)
    yield from judged("spec.ingressClassName", spec.ingress_class_name, names.dns1123_subdomain)


def validate_new_ingress(ingress: Ingress) -> Iterator[FieldError]:
    annotated = (ingress.metadata.annotations or {}).get(CLASS_ANNOTATION)
    if annotated is not None and ingress.spec.ingress_class_name is not None:
        why = "can not be set when the class field is also set"
        yield invalid_value(f"metadata.annotations[{CLASS_ANNOTATION}]", annotated, why)
    yield from validate_ingress(ingress)


def warnings(ingress: Ingress, old: Ingress | None) -> Iterator[str]:
    if CLASS_ANNOTATION in (ingress.metadata.annotations or {}):
        yield f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"


def host_rule(host: str) -> Any:
    return names.wildcard_subdomain if "*" in host else names.dns1123_subdomain


def validate_host(host: str | None, at: str) -> Iterator[FieldError]:
    if not host:
        return
    if not names.ip(host):
        yield invalid_value(at, host, "must be a DNS name, not an IP address")
        return
    yield from judged(at, host, host_rule(host))


def validate_path(path: HTTPIngressPath, at: str) -> Iterator[FieldError]:
    text = path.path or ""
    if not path.path_type:
        yield required(f"{at}.pathType", "pathType must be specified")
    elif path.path_type in ("Exact", "Prefix"):
        if not text.startswith("/"):
            yield invalid_value(f"{at}.path", text, "must be an absolute path")
        for bad in BAD_PATH_PARTS:
            if bad in text:
                yield invalid_value(f"{at}.path", text, f"must not contain '{bad}'")
        for bad in BAD_PATH_ENDS:
            if text.endswith(bad):
                yield invalid_value(f"{at}.path", text, f"cannot end with '{bad}'")
    elif path.path_type == "ImplementationSpecific":
        if text and not text.startswith("/"):
            yield invalid_value(f"{at}.path", text, "must be an absolute path")
    else:
        yield not_supported(f"{at}.pathType", path.path_type, ("Exact", "ImplementationSpecific", "Prefix"))
    yield from validate_backend(path.backend, f"{at}.backend")


def validate_backend(backend: IngressBackend, at: str) -> Iterator[FieldError]:
    if backend.resource is not None and backend.service is not None:
        yield invalid_value(at, "", "cannot set both resource and service backends")
    elif backend.resource is not None:
        for field, value in (("kind", backend.resource.kind), ("name", backend.resource.name)):
            if not value:
                yield required(f"{at}.resource.{field}")
    elif backend.service is None:
        yield required(at)
    else:
        yield from validate_service_backend(backend.service, f"{at}.service")


def validate_service_backend(service: Any, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.name", service.name, names.dns1123_label)
    port = service.port
    name, number = (port.name, port.number) if port is not None else (None, None)
    if name and number:
        yield invalid_value(at, name, "cannot set both port name & port number")
    elif name:
        yield from judged(f"{at}.port.name", name, names.port_name)
    elif number:
        for wrong in names.port_number(number):
            yield invalid_value(f"{at}.port.number", number, wrong)
    else:
        yield required(at, "port name or number is required")


def hosts_cell(ingress: Ingress, now: float) -> str:
    rules = ingress.spec.rules or ()
    hosts = [rule.host for rule in rules[:HOSTS_SHOWN_MAX] if rule.host]
    if not hosts:
        return "*"
    more = len(rules) - HOSTS_SHOWN_MAX
    return f"{','.join(hosts)} + {more} more..." if more > 0 else ",".join(hosts)


def address_cell(ingress: Ingress, now: float) -> str:
    balancer = ingress.status.load_balancer
    found = balancer.ingress or () if balancer is not None else ()
    return ",".join(entry.ip or entry.hostname or "" for entry in found)


INGRESSES = Resource(
    kind=kind_of(Ingress),
    short_names=("ing",),
    storage_prefix="/registry/ingress",
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_new_ingress,
    validate_update=lambda ingress, old: validate_ingress(ingress),
    warnings=warnings,
    generation=spec_of,
    subresources=(status(),),
    columns=(
        NAME,
        Column("Class", lambda ingress, now: ingress.spec.ingress_class_name or NONE),
        Column("Hosts", hosts_cell),
        Column("Address", address_cell),
        Column("Ports", lambda ingress, now: "80, 443" if ingress.spec.tls else "80"),
        AGE,
    ),
)


# --- ingressclasses ---------------------------------------------------------------------------------------------------


def default_class(found: IngressClass) -> IngressClass:
    parameters = found.spec.parameters
    if parameters is None or parameters.scope is not None:
        return found
    return changed(found, spec=changed(found.spec, parameters=changed(parameters, scope="Cluster")))


def validate_class(found: IngressClass) -> Iterator[FieldError]:
    controller = found.spec.controller
    if not controller:
        yield required("spec.controller")
    elif "/" not in controller or names.dns1123_subdomain(controller.partition("/")[0]):
        yield invalid_value("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')
    if found.spec.parameters is not None:
        yield from validate_parameters(found.spec.parameters, "spec.parameters")


def validate_parameters(parameters: IngressClassParametersReference, at: str) -> Iterator[FieldError]:
    yield from judged(f"{at}.apiGroup", parameters.api_group, names.dns1123_subdomain)
    if not parameters.kind:
        yield required(f"{at}.kind", "kind is required")
    if not parameters.name:
        yield required(f"{at}.name", "name is required")
    if parameters.scope == "Namespace":
        if parameters.namespace is None:
            yield required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            yield from named(f"{at}.namespace", parameters.namespace, names.dns1123_label)
    elif parameters.scope == "Cluster":
        if parameters.namespace is not None:
            yield forbidden_field(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'")
    else:
        yield not_supported(f"{at}.scope", parameters.scope, ("Cluster", "Namespace"))


def validate_class_update(found: IngressClass, old: IngressClass) -> Iterator[FieldError]:
    yield from validate_class(found)
    yield from immutable("spec.controller", found.spec.controller, old.spec.controller)


def parameters_cell(found: IngressClass, now: float) -> str:
    parameters = found.spec.parameters
    if parameters is None:
        return NONE
    kind = f"{parameters.kind}.{parameters.api_group}" if parameters.api_group else parameters.kind
    return f"{kind}/{parameters.name}"


INGRESS_CLASSES = Resource(
    kind=kind_of(IngressClass),
    default=default_class,
    validate=validate_class,
    validate_update=validate_class_update,
    generation=spec_of,
    columns=(
        NAME,
        Column("Controller", lambda found, now: found.spec.controller or ""),
        Column("Parameters", parameters_cell),
        AGE,
    ),
)


# --- networkpolicies --------------------------------------------------------------------------------------------------


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
    for index, type_ in enumerate(types):
        if type_ not in ("Egress", "Ingress"):
            yield not_supported(f"spec.policyTypes[{index}]", type_, ("Egress", "Ingress"))


def validate_rule(
    ports: tuple[NetworkPolicyPort, ...], peers: tuple[NetworkPolicyPeer, ...], at: str, field: str
) -> Iterator[FieldError]:
    for index, port in enumerate(ports):
        yield from validate_policy_port(port, f"{at}.ports[{index}]")
    for index, peer in enumerate(peers):
        yield from validate_peer(peer, f"{at}.{field}[{index}]")


def validate_policy_port(port: NetworkPolicyPort, at: str) -> Iterator[FieldError]:
    if port.protocol not in ("SCTP", "TCP", "UDP"):
        yield not_supported(f"{at}.protocol", port.protocol, ("SCTP", "TCP", "UDP"))
    if port.port is not None:
        yield from port_or_name(f"{at}.port", port.port)
    if port.end_port is None:
        return
    if port.port is None:
        yield invalid_value(f"{at}.endPort", port.end_port, "may not be specified when `port` is not specified")
    elif isinstance(port.port, str):
        yield invalid_value(f"{at}.endPort", port.end_port, "may not be specified when `port` is non-numeric")
    elif port.end_port < port.port:
        yield invalid_value(f"{at}.endPort", port.end_port, "must be greater than or equal to `port`")
    else:
        for wrong in names.port_number(port.end_port):
            yield invalid_value(f"{at}.endPort", port.end_port, wrong)


def validate_peer(peer: NetworkPolicyPeer, at: str) -> Iterator[FieldError]:
    selected = peer.pod_selector is not None or peer.namespace_selector is not None
    yield from label_selector(peer.pod_selector, f"{at}.podSelector")
    yield from label_selector(peer.namespace_selector, f"{at}.namespaceSelector")
    if peer.ip_block is not None:
        if selected:
            yield forbidden_field(at, "may not specify both ipBlock and another peer")
        yield from named(f"{at}.ipBlock.cidr", peer.ip_block.cidr, names.cidr)
        for index, block in enumerate(peer.ip_block.except_ or ()):
            yield from named(f"{at}.ipBlock.except[{index}]", block, names.cidr)
    elif not selected:
        yield required(at, "must specify a peer")


NETWORK_POLICIES = Resource(
    kind=kind_of(NetworkPolicy),
    short_names=("netpol",),
    default=default_policy,
    validate=validate_policy,
    generation=spec_of,
    columns=(NAME, Column("Pod-Selector", lambda policy, now: selector_text(policy.spec.pod_selector)), AGE),
)


# --- addresses --------------------------------------------------------------------------------------------------------


def validate_address(address: IPAddress) -> Iterator[FieldError]:
    ref = address.spec.parent_ref
    for field, value in (("resource", ref.resource), ("name", ref.name)):
        if not value:
            yield required(f"spec.parentRef.{field}")


def validate_address_update(address: IPAddress, old: IPAddress) -> Iterator[FieldError]:
    yield from validate_address(address)
    yield from immutable("spec.parentRef", address.spec.parent_ref, old.spec.parent_ref)


def parent_cell(address: IPAddress, now: float) -> str:
    ref = address.spec.parent_ref
    resource = f"{ref.resource}.{ref.group}" if ref.group else ref.resource
    return "/".join(part for part in (resource, ref.namespace, ref.name) if part)


IP_ADDRESSES = Resource(
    kind=kind_of(IPAddress),
    short_names=("ip",),
    validate=validate_address,
    validate_update=validate_address_update,
    validate_name=names.ip,
    columns=(NAME, Column("ParentRef", parent_cell)),
)


def validate_cidrs(found: ServiceCIDR) -> Iterator[FieldError]:
    blocks = found.spec.cidrs or ()
    if not blocks:
        yield required("spec.cidrs", "at least one CIDR required")
    if len(blocks) > 2:
        yield invalid_value("spec", found.spec, "may only hold up to 2 values")
    for index, block in enumerate(blocks):
        yield from named(f"spec.cidrs[{index}]", block, names.cidr)


def validate_cidrs_update(found: ServiceCIDR, old: ServiceCIDR) -> Iterator[FieldError]:
    """A second family may be added, and nothing else changed."""
    new, before = found.spec.cidrs or (), old.spec.cidrs or ()
    if len(new) != len(before) and (len(before), len(new)) != (1, 2):
        yield from immutable("spec.cidrs", new, before)
        return
    for index, (block, known) in enumerate(zip(new, before, strict=False)):
        yield from immutable(f"spec.cidrs[{index}]", block, known)
    if len(new) > len(before):
        yield from validate_cidrs(found)


SERVICE_CIDRS = Resource(
    kind=kind_of(ServiceCIDR),
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_cidrs,
    validate_update=validate_cidrs_update,
    subresources=(status(),),
    columns=(NAME, Column("CIDRs", lambda found, now: ",".join(found.spec.cidrs or ())), AGE),
)
