"""What the service proxy has to do, as values: Services and EndpointSlices resolved to ports with backends.

One `ServicePort` is one (service, port, protocol) with every address it answers on and the backends behind it; rules.py
turns them into nftables. Both are pure, so a test is a comparison.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kybern.api.core_v1 import Service
from kybern.api.core_v1 import ServicePort as Port
from kybern.api.discovery_v1 import Endpoint, EndpointPort, EndpointSlice

AFFINITY_SECONDS = 10800  # upstream's default for ClientIP affinity
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    namespace: str
    service: str
    name: str
    """The port's name; empty for the only one."""
    protocol: str
    """tcp, udp or sctp."""
    port: int
    node_port: int = 0
    cluster_ips: tuple[str, ...] = ()
    """Where it answers on `port`: cluster, external and load balancer addresses, IPv4."""
    backends: tuple[Backend, ...] = ()
    affinity_seconds: int = 0
    """0: every connection chooses anew."""


def service_ports(
    services: Iterable[Service], slices: Mapping[tuple[str, str], Sequence[EndpointSlice]], node: str
) -> list[ServicePort]:
    """All ports of all services that a proxy on `node` serves; `slices` by (namespace, service)."""
    return [
        port
        for service in services
        if is_proxied(service)
        for port in ports_of(
            service, slices.get((service.metadata.namespace or "", service.metadata.name or ""), ()), node
        )
    ]


def is_proxied(service: Service) -> bool:
    """Not headless, not an alias, and not left to another proxy."""
    spec = service.spec
    if spec.type == "ExternalName" or not spec.cluster_ip or spec.cluster_ip == "None":
        return False
    return PROXY_NAME_LABEL not in (service.metadata.labels or {})


def ports_of(service: Service, slices: Sequence[EndpointSlice], node: str) -> list[ServicePort]:
    return [port_of(service, port, slices, node) for port in service.spec.ports or ()]


def port_of(service: Service, port: Port, slices: Sequence[EndpointSlice], node: str) -> ServicePort:
    spec = service.spec
    local_only = node if spec.internal_traffic_policy == "Local" else ""
    return ServicePort(
        namespace=service.metadata.namespace or "",
        service=service.metadata.name or "",
        name=port.name or "",
        protocol=(port.protocol or "TCP").lower(),
        port=port.port,
        node_port=port.node_port or 0,
        cluster_ips=addresses_of(service),
        backends=backends_of(port, slices, local_only, node),
        affinity_seconds=affinity_of(service),
    )


def addresses_of(service: Service) -> tuple[str, ...]:
    spec = service.spec
    balancer = service.status.load_balancer
    ingress = (balancer.ingress or ()) if balancer else ()
    found = [
        *(spec.cluster_ips or (spec.cluster_ip or "",)),
        *(spec.external_ips or ()),
        *(entry.ip or "" for entry in ingress if entry.ip_mode != "Proxy"),
    ]
    return tuple(dict.fromkeys(address for address in found if address and ":" not in address))


def affinity_of(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    client = config.client_ip if config else None
    return (client.timeout_seconds if client else None) or AFFINITY_SECONDS


def backends_of(port: Port, slices: Sequence[EndpointSlice], only_on: str, node: str) -> tuple[Backend, ...]:
    """The ready endpoints, of those the ones meant for this node where there are any; when none is ready, those that
    still serve while they terminate (KEP-1669)."""
    ready: set[Backend] = set()
    nearest: set[Backend] = set()
    terminating: set[Backend] = set()
    for piece in slices:
        if piece.address_type != "IPv4":
            continue
        number = port_number(port, piece.ports or ())
        if number == 0:
            continue
        for endpoint in piece.endpoints or ():
            if only_on and endpoint.node_name != only_on:
                continue
            chosen = ready if is_ready(endpoint) else terminating if is_serving_terminating(endpoint) else None
            if chosen is not None and endpoint.addresses:
                chosen.add(Backend(endpoint.addresses[0], number))
                if chosen is ready and is_meant_for(endpoint, node):
                    nearest.add(Backend(endpoint.addresses[0], number))
    return tuple(sorted(nearest or ready or terminating))


def is_meant_for(endpoint: Endpoint, node: str) -> bool:
    hints = endpoint.hints
    return any(hint.name == node for hint in (hints.for_nodes if hints else None) or ())


def port_number(port: Port, offered: Sequence[EndpointPort]) -> int:
    """A slice's port belongs to the service's port of the same name and protocol."""
    for candidate in offered:
        if (candidate.name or "") == (port.name or "") and (candidate.protocol or "TCP") == (port.protocol or "TCP"):
            return candidate.port or 0
    return 0


def is_ready(endpoint: Endpoint) -> bool:
    return endpoint.conditions is None or endpoint.conditions.ready is not False


def is_serving_terminating(endpoint: Endpoint) -> bool:
    conditions = endpoint.conditions
    return conditions is not None and bool(conditions.terminating) and conditions.serving is not False
