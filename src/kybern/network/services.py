"""What the service proxy has to do, as values: Services and EndpointSlices resolved to ports with backends.

One `ServicePort` is one (service, family, port, protocol) with every address it answers on and the backends behind it;
rules.py turns them into nftables. Both are pure, so a test is a comparison. Which endpoints serve (KEP-1669, KEP-2086,
KEP-3015): of the ready ones those meant for this node or its zone, where there are any; when none is ready, those that
still serve while they terminate. A `Local` traffic policy knows only endpoints of this node.
"""

from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class Here:
    """Where the proxy runs: what hints are compared with."""

    node: str
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    namespace: str
    service: str
    name: str
    """The port's name; empty for the only one."""
    protocol: str
    """tcp, udp or sctp."""
    port: int
    version: int = 4
    """Of the addresses: 4 or 6."""
    node_port: int = 0
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    """Where it answers those outside too: external and load balancer addresses."""
    backends: tuple[Backend, ...] = ()
    """For pods and for this node."""
    outside_backends: tuple[Backend, ...] | None = None
    """For those outside, where it is not the same: with externalTrafficPolicy Local, the endpoints of this node."""
    sources: tuple[str, ...] = ()
    """Networks that may use the load balancer's addresses; none means all."""
    affinity_seconds: int = 0
    """0: every connection chooses anew."""


def is_proxied(service: Service) -> bool:
    """Not headless, not an alias, and not left to another proxy."""
    spec = service.spec
    if spec.type == "ExternalName" or not spec.cluster_ip or spec.cluster_ip == "None":
        return False
    return PROXY_NAME_LABEL not in (service.metadata.labels or {})


def ports_of(service: Service, slices: Sequence[EndpointSlice], here: Here) -> list[ServicePort]:
    """All that a proxy on this node serves of one service."""
    if not is_proxied(service):
        return []
    versions = sorted({6 if ":" in ip else 4 for ip in cluster_ips(service)})
    return [port_of(service, port, slices, here, version) for version in versions for port in service.spec.ports or ()]


def port_of(service: Service, port: Port, slices: Sequence[EndpointSlice], here: Here, version: int) -> ServicePort:
    spec = service.spec
    found = list(endpoints_of(port, slices, version))
    everywhere, local = nearest(found, here), serving([each for each in found if each[0].node_name == here.node])
    return ServicePort(
        namespace=service.metadata.namespace or "",
        service=service.metadata.name or "",
        name=port.name or "",
        protocol=(port.protocol or "TCP").lower(),
        port=port.port,
        version=version,
        node_port=port.node_port or 0,
        cluster_ips=tuple(ip for ip in cluster_ips(service) if is_of(ip, version)),
        external_ips=tuple(ip for ip in external_ips(service) if is_of(ip, version)),
        backends=local if spec.internal_traffic_policy == "Local" else everywhere,
        outside_backends=outside(service, everywhere, local),
        sources=tuple(source for source in spec.load_balancer_source_ranges or () if is_of(source, version)),
        affinity_seconds=affinity_of(service),
    )


def outside(
    service: Service, everywhere: tuple[Backend, ...], local: tuple[Backend, ...]
) -> tuple[Backend, ...] | None:
    if service.spec.external_traffic_policy == "Local":
        return local
    return everywhere if service.spec.internal_traffic_policy == "Local" else None


def is_of(address: str, version: int) -> bool:
    return (":" in address) == (version == 6)


def cluster_ips(service: Service) -> tuple[str, ...]:
    return service.spec.cluster_ips or (service.spec.cluster_ip or "",)


def external_ips(service: Service) -> tuple[str, ...]:
    balancer = service.status.load_balancer
    ingress = (balancer.ingress or ()) if balancer else ()
    balanced = (entry.ip or "" for entry in ingress if entry.ip_mode != "Proxy")
    return tuple(dict.fromkeys(ip for ip in (*(service.spec.external_ips or ()), *balanced) if ip))


def affinity_of(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    client = config.client_ip if config else None
    return (client.timeout_seconds if client else None) or AFFINITY_SECONDS


Found = tuple[Endpoint, Backend]


def endpoints_of(port: Port, slices: Sequence[EndpointSlice], version: int) -> Iterator[Found]:
    for piece in slices:
        number = port_number(port, piece.ports or ()) if piece.address_type == f"IPv{version}" else 0
        for endpoint in (piece.endpoints or ()) if number else ():
            if endpoint.addresses:
                yield endpoint, Backend(endpoint.addresses[0], number)


def port_number(port: Port, offered: Sequence[EndpointPort]) -> int:
    """A slice's port belongs to the service's port of the same name and protocol."""
    for candidate in offered:
        if (candidate.name or "") == (port.name or "") and (candidate.protocol or "TCP") == (port.protocol or "TCP"):
            return candidate.port or 0
    return 0


def nearest(found: Sequence[Found], here: Here) -> tuple[Backend, ...]:
    """Those that hints keep for this node, else those for its zone. Hints count when every ready endpoint has some: a
    part of them would lead everybody to a few endpoints."""
    ready = [(endpoint, backend) for endpoint, backend in found if is_ready(endpoint)]
    hints = [endpoint.hints for endpoint, _ in ready]
    for_node = [b for e, b in ready if any(h.name == here.node for h in (e.hints and e.hints.for_nodes) or ())]
    if for_node and all(hint and hint.for_nodes for hint in hints):
        return unique(for_node)
    for_zone = [b for e, b in ready if any(h.name == here.zone for h in (e.hints and e.hints.for_zones) or ())]
    if here.zone and for_zone and all(hint and hint.for_zones for hint in hints):
        return unique(for_zone)
    return serving(found)


def serving(found: Sequence[Found]) -> tuple[Backend, ...]:
    ready = unique([backend for endpoint, backend in found if is_ready(endpoint)])
    return ready or unique([backend for endpoint, backend in found if is_serving_terminating(endpoint)])


def unique(backends: Sequence[Backend]) -> tuple[Backend, ...]:
    return tuple(sorted(set(backends)))


def is_ready(endpoint: Endpoint) -> bool:
    return endpoint.conditions is None or endpoint.conditions.ready is not False


def is_serving_terminating(endpoint: Endpoint) -> bool:
    conditions = endpoint.conditions
    return conditions is not None and bool(conditions.terminating) and conditions.serving is not False
