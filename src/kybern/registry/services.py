"""services: one stable address for pods that come and go.

Addresses and node ports are given by the allocators; here is what they need to know and what must stay as they gave it.
"""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import (
    ClientIPConfig,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    SessionAffinityConfig,
)
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import judged, labels, one_of, ordinary_address, port_or_name, repeated
from kybern.registry.columns import AGE, NAME, NONE, labels_text, points_of
from kybern.registry.defaulting import filled, filled_zero, part, parts
from kybern.registry.parts import PROXY_VERBS, changed, clear_status, connect, keep_status, kind_of, status
from kybern.registry.resource import Column, Resource
from kybern.registry.service_changes import carry_over, is_external, needs_health_check, validate_kept
from kybern.registry.service_warnings import TOPOLOGY_HINTS, TOPOLOGY_MODE, status_warnings, warnings

PROTOCOLS = ("SCTP", "TCP", "UDP")
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
KUBELET_PORT = 10250
AFFINITY_SECONDS_DEFAULT = 10800
AFFINITY_SECONDS_MAX = 86400


def default(service: Service) -> Service:
    service = part(service, "spec", default_spec)
    if service.spec.type != "LoadBalancer":
        return service
    return part(service, "status", lambda found: part(found, "load_balancer", default_balancer))


def default_balancer(balancer: LoadBalancerStatus) -> LoadBalancerStatus:
    return parts(balancer, "ingress", lambda entry: filled(entry, ip_mode="VIP") if entry.ip else entry)


def default_spec(spec: ServiceSpec) -> ServiceSpec:
    spec = filled(spec, session_affinity="None", type="ClusterIP")
    if spec.session_affinity == "None" and spec.session_affinity_config is not None:
        spec = changed(spec, session_affinity_config=None)
    if spec.session_affinity == "ClientIP":
        spec = default_affinity(spec)
    if is_external(spec):
        spec = filled(spec, external_traffic_policy="Cluster")
    if spec.type != "ExternalName":
        spec = filled(spec, internal_traffic_policy="Cluster")
    if spec.type == "LoadBalancer":
        spec = filled(spec, allocate_load_balancer_node_ports=True)
    return parts(spec, "ports", default_port)


def default_affinity(spec: ServiceSpec) -> ServiceSpec:
    config = spec.session_affinity_config
    client = config.client_ip if config is not None else None
    if client is not None and client.timeout_seconds is not None:
        return spec
    client = ClientIPConfig(timeout_seconds=AFFINITY_SECONDS_DEFAULT)
    return changed(spec, session_affinity_config=SessionAffinityConfig(client_ip=client))


def default_port(port: ServicePort) -> ServicePort:
    return filled_zero(filled(port, protocol="TCP"), target_port=port.port)


def on_create(service: Service) -> Service:
    spec = service.spec
    if spec.cluster_ip and not spec.cluster_ips:
        service = changed(service, spec=changed(spec, cluster_ips=(spec.cluster_ip,)))
    created: Service = clear_status(service)
    return created


def on_update(service: Service, old: Service) -> Service:
    return carry_over(keep_status(service, old), old)


def headless(spec: ServiceSpec) -> bool:
    return spec.cluster_ip == "None" or bool(spec.cluster_ips and spec.cluster_ips[0] == "None")


def validate(service: Service) -> Iterator[FieldError]:
    spec = service.spec
    if service.metadata.annotations:
        yield from validate_annotations(service)
    if not spec.ports and not headless(spec) and spec.type != "ExternalName":
        yield required("spec.ports")
    yield from validate_type(spec)
    yield from validate_ports(spec)
    if spec.selector:
        yield from labels(spec.selector.items(), "spec.selector")
    yield from validate_affinity(spec)
    yield from validate_addresses(spec)
    yield from validate_policies(spec)


def validate_type(spec: ServiceSpec) -> Iterator[FieldError]:
    if spec.type == "LoadBalancer":
        for index, port in enumerate(spec.ports or ()):
            if port.port == KUBELET_PORT:
                why = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
                yield invalid_value(f"spec.ports[{index}]", port.port, why)
    if spec.type in ("LoadBalancer", "NodePort"):
        if headless(spec):
            why = f"may not be set to 'None' for {spec.type} services"
            yield invalid_value("spec.clusterIPs[0]", "None", why)
    elif spec.type == "ExternalName":
        if spec.cluster_ip or spec.cluster_ips:
            yield forbidden_field("spec.clusterIPs", "may not be set for ExternalName services")
        for field, value in (("ipFamilies", spec.ip_families), ("ipFamilyPolicy", spec.ip_family_policy)):
            if value:
                yield forbidden_field(f"spec.{field}", "may not be set for ExternalName services")
        name = (spec.external_name or "").removesuffix(".")
        if not name:
            yield required("spec.externalName")
        yield from judged("spec.externalName", name, names.dns1123_subdomain)
    yield from one_of("spec.type", spec.type, TYPES)


def validate_ports(spec: ServiceSpec) -> Iterator[FieldError]:
    ports = spec.ports or ()
    seen: set[str] = set()
    pairs: set[tuple[str | None, int]] = set()
    node_pairs: set[tuple[str | None, int]] = set()
    for index, port in enumerate(ports):
        here = f"spec.ports[{index}]"
        yield from validate_port(port, here, name_needed=len(ports) > 1)
        if port.name:
            if port.name in seen:
                yield duplicate(f"{here}.name", port.name)
            seen.add(port.name)
        if (port.protocol, port.port) in pairs:
            yield duplicate(here, {"port": port.port, "protocol": port.protocol})
        pairs.add((port.protocol, port.port))
        if port.node_port:
            if spec.type == "ClusterIP":
                yield forbidden_field(f"{here}.nodePort", "may not be used when `type` is 'ClusterIP'")
            if (port.protocol, port.node_port) in node_pairs:
                yield duplicate(f"{here}.nodePort", port.node_port)
            node_pairs.add((port.protocol, port.node_port))


def validate_port(port: ServicePort, at: str, name_needed: bool) -> Iterator[FieldError]:
    if not port.name:
        if name_needed:
            yield required(f"{at}.name")
    else:
        yield from judged(f"{at}.name", port.name, names.dns1123_label)
    for wrong in names.port_number(port.port):
        yield invalid_value(f"{at}.port", port.port, wrong)
    yield from one_of(f"{at}.protocol", port.protocol, PROTOCOLS)
    if port.target_port is not None:
        yield from port_or_name(f"{at}.targetPort", port.target_port)
    yield from judged(f"{at}.appProtocol", port.app_protocol, names.qualified_name)


def validate_affinity(spec: ServiceSpec) -> Iterator[FieldError]:
    yield from one_of("spec.sessionAffinity", spec.session_affinity, ("ClientIP", "None"))
    config = spec.session_affinity_config
    client = config.client_ip if config is not None else None
    seconds = client.timeout_seconds if client is not None else None
    if spec.session_affinity == "ClientIP" and seconds is not None and not 0 < seconds <= AFFINITY_SECONDS_MAX:
        here = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        yield invalid_value(here, seconds, f"must be greater than 0 and less than {AFFINITY_SECONDS_MAX}")


def validate_addresses(spec: ServiceSpec) -> Iterator[FieldError]:
    if spec.type != "ExternalName":
        yield from validate_families(spec)
        yield from validate_cluster_ips(spec, "spec.clusterIPs")
    for index, address in enumerate(spec.external_ips or ()):
        here = f"spec.externalIPs[{index}]"
        wrong = names.ip(address)
        for text in wrong:
            yield invalid_value(here, address, text)
        if not wrong:
            yield from ordinary_address(here, address)


def validate_families(spec: ServiceSpec) -> Iterator[FieldError]:
    families = spec.ip_families or ()
    again = repeated(families)
    for index, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            yield not_supported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
        if index in again:
            yield duplicate(f"spec.ipFamilies[{index}]", family)
    policy = spec.ip_family_policy
    if policy is not None and policy not in FAMILY_POLICIES:
        yield not_supported("spec.ipFamilyPolicy", policy, FAMILY_POLICIES)


def validate_cluster_ips(spec: ServiceSpec, at: str) -> Iterator[FieldError]:
    addresses = spec.cluster_ips or ()
    if spec.cluster_ip and not addresses:
        yield required(at)
    elif addresses and not spec.cluster_ip:
        yield invalid_value(at, addresses, "must be empty when `clusterIP` is not specified")
    elif addresses and spec.cluster_ip != addresses[0]:
        yield invalid_value(at, addresses, "first value must match `clusterIP`")
    wrong = list(wrong_cluster_ips(addresses, at))
    yield from wrong
    if len(addresses) > 2:
        yield invalid_value(at, addresses, "may only hold up to 2 values")
    if wrong or headless(spec):
        return
    if len(addresses) > 1 and len({":" in address for address in addresses}) == 1:
        yield invalid_value(at, addresses, "may specify no more than one IP for each IP family")
    for index, (address, family) in enumerate(zip(addresses, spec.ip_families or (), strict=False)):
        if (":" in address) != (family == "IPv6"):
            why = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield invalid_value(f"{at}[{index}]", address, why)


def wrong_cluster_ips(addresses: tuple[str, ...], at: str) -> Iterator[FieldError]:
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                yield invalid_value(at, addresses, "'None' must be the first and only value")
            continue
        for text in names.ip(address):
            yield invalid_value(f"{at}[{index}]", address, text)


def validate_policies(spec: ServiceSpec) -> Iterator[FieldError]:
    external = is_external(spec)
    policy = spec.external_traffic_policy
    if external:
        yield from one_of("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    elif policy:
        why = "may only be set for externally-accessible services"
        yield invalid_value("spec.externalTrafficPolicy", policy, why)
    if spec.health_check_node_port and not needs_health_check(spec):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid_value("spec.healthCheckNodePort", spec.health_check_node_port, why)
    if spec.type != "ExternalName" or spec.internal_traffic_policy is not None:
        yield from one_of("spec.internalTrafficPolicy", spec.internal_traffic_policy, ("Cluster", "Local"))
    if spec.traffic_distribution is not None and spec.traffic_distribution not in DISTRIBUTIONS:
        yield not_supported("spec.trafficDistribution", spec.traffic_distribution, DISTRIBUTIONS)
    if spec.type == "LoadBalancer":
        yield from judged("spec.loadBalancerClass", spec.load_balancer_class, names.qualified_name)
    else:
        for field, value in (
            ("LoadBalancerSourceRanges", spec.load_balancer_source_ranges),
            ("allocateLoadBalancerNodePorts", spec.allocate_load_balancer_node_ports),
            ("loadBalancerClass", spec.load_balancer_class),
        ):
            if value is not None and value != ():
                yield forbidden_field(f"spec.{field}", "may only be used when `type` is 'LoadBalancer'")
    for index, block in enumerate(spec.load_balancer_source_ranges or ()):
        for wrong in names.cidr(block.strip()):
            yield invalid_value(f"spec.LoadBalancerSourceRanges[{index}]", block.strip(), wrong)


def validate_annotations(service: Service) -> Iterator[FieldError]:
    notes = service.metadata.annotations or {}
    mode, hints = notes.get(TOPOLOGY_MODE), notes.get(TOPOLOGY_HINTS)
    if mode is not None and hints is not None and mode != hints:
        why = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
        yield invalid_value(f"metadata.annotations[{TOPOLOGY_MODE}]", mode, why)
    ranges = notes.get(SOURCE_RANGES)
    if ranges is None or service.spec.load_balancer_source_ranges:
        return
    here = f"metadata.annotations[{SOURCE_RANGES}]"
    if service.spec.type != "LoadBalancer":
        yield forbidden_field(here, "may only be used when `type` is 'LoadBalancer'")
    for block in ranges.strip().split(",") if ranges.strip() else ():
        for wrong in names.cidr(block.strip()):
            yield invalid_value(here, block.strip(), wrong)


def validate_update(service: Service, old: Service) -> Iterator[FieldError]:
    yield from validate_kept(service.spec, old.spec)
    yield from validate(service)


def validate_status(service: Service, old: Service) -> Iterator[FieldError]:
    balancer = service.status.load_balancer
    found = (balancer.ingress or ()) if balancer is not None else ()
    if found and service.spec.type != "LoadBalancer":
        here = "status.loadBalancer.ingress"
        yield forbidden_field(here, "may only be used when `spec.type` is 'LoadBalancer'")
        return
    for index, entry in enumerate(found):
        at = f"status.loadBalancer.ingress[{index}]"
        yield from judged(f"{at}.ip", entry.ip, names.ip)
        if entry.ip_mode is None:
            if entry.ip:
                yield required(f"{at}.ipMode", "must be specified when `ip` is set")
        elif not entry.ip:
            yield forbidden_field(f"{at}.ipMode", "may not be specified when `ip` is not set")
        elif entry.ip_mode not in ("Proxy", "VIP"):
            yield not_supported(f"{at}.ipMode", entry.ip_mode, ("Proxy", "VIP"))
        yield from judged(f"{at}.hostname", entry.hostname, names.dns1123_subdomain)
        if entry.hostname and not names.ip(entry.hostname):
            yield invalid_value(f"{at}.hostname", entry.hostname, "must be a DNS name, not an IP address")


# --- columns ----------------------------------------------------------------------------------------------------------


def cluster_ip_cell(service: Service, now: float) -> str:
    return service.spec.cluster_ips[0] if service.spec.cluster_ips else service.spec.cluster_ip or NONE


def external_ip_cell(service: Service, now: float) -> str:
    spec = service.spec
    if spec.type == "ExternalName":
        return spec.external_name or ""
    given = list(spec.external_ips or ())
    if spec.type == "LoadBalancer":
        return ",".join([*points_of(service.status.load_balancer), *given]) or "<pending>"
    return ",".join(given) or NONE


def port_text(port: ServicePort) -> str:
    number = f"{port.port}:{port.node_port}" if port.node_port else str(port.port)
    return f"{number}/{port.protocol}"


SERVICES = Resource(
    kind=kind_of(Service),
    short_names=("svc",),
    categories=("all",),
    storage_prefix="/registry/services/specs",
    create_on_update=True,
    default=default,
    on_create=on_create,
    on_update=on_update,
    validate=validate,
    validate_update=validate_update,
    validate_name=names.dns1123_label,
    warnings=warnings,
    subresources=(
        connect("proxy", "ServiceProxyOptions", PROXY_VERBS),
        status(validate=validate_status, warnings=status_warnings),
    ),
    selectable={
        "spec.clusterIP": lambda service: service.spec.cluster_ip or "",
        "spec.type": lambda service: service.spec.type or "",
    },
    columns=(
        NAME,
        Column("Type", lambda service, now: service.spec.type or "", of="core_v1.ServiceSpec.type"),
        Column("Cluster-IP", cluster_ip_cell, of="core_v1.ServiceSpec.clusterIP"),
        Column("External-IP", external_ip_cell, of="core_v1.ServiceSpec.externalIPs"),
        Column(
            "Port(s)",
            lambda service, now: ",".join(map(port_text, service.spec.ports or ())) or NONE,
            of="core_v1.ServiceSpec.ports",
        ),
        AGE,
        Column(
            "Selector",
            lambda service, now: labels_text(service.spec.selector),
            priority=1,
            of="core_v1.ServiceSpec.selector",
        ),
    ),
)
