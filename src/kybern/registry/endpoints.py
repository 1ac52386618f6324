"""endpoints and endpointslices: the addresses behind a Service, in the old form and in the one that scales."""

from collections.abc import Iterator
from typing import Any

from kybern.api import discovery_v1 as discovery
from kybern.api import names
from kybern.api.core_v1 import EndpointPort, Endpoints, EndpointSubset
from kybern.api.invalid import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_many,
)
from kybern.registry.address_warnings import all_ip_warnings, ip_warnings
from kybern.registry.checks import at_most, immutable, judged, labels, one_of, ordinary_address, repeated
from kybern.registry.columns import AGE, NAME, NONE, UNSET
from kybern.registry.defaulting import filled, parts
from kybern.registry.parts import changed, kind_of
from kybern.registry.resource import Column, Resource

SHOWN_MAX = 3
PROTOCOLS = ("SCTP", "TCP", "UDP")
ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
SLICE_ENDPOINTS_MAX = 1000
SLICE_ADDRESSES_MAX = 100
SLICE_PORTS_MAX = 20000
TOPOLOGY_KEYS_MAX = 16
HINTS_MAX = 8
SLICE_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")


def default_endpoints(endpoints: Endpoints) -> Endpoints:
    return parts(endpoints, "subsets", lambda subset: parts(subset, "ports", lambda port: filled(port, protocol="TCP")))


def validate_endpoints(endpoints: Endpoints) -> Iterator[FieldError]:
    for index, subset in enumerate(endpoints.subsets or ()):
        here = f"subsets[{index}]"
        if not subset.addresses and not subset.not_ready_addresses:
            yield required(here, "must specify `addresses` or `notReadyAddresses`")
        for field, addresses in (
            ("addresses", subset.addresses or ()),
            ("notReadyAddresses", subset.not_ready_addresses or ()),
        ):
            for place, address in enumerate(addresses):
                yield from validate_address(address, f"{here}.{field}[{place}]")
        for place, port in enumerate(subset.ports or ()):
            yield from validate_port(port, f"{here}.ports[{place}]", name_needed=len(subset.ports or ()) > 1)


def validate_address(address: Any, at: str) -> Iterator[FieldError]:
    wrong = names.ip(address.ip)
    for text in wrong:
        yield invalid_value(f"{at}.ip", address.ip, text)
    yield from judged(f"{at}.hostname", address.hostname, names.dns1123_label)
    yield from judged(f"{at}.nodeName", address.node_name, names.dns1123_subdomain)
    if wrong:
        yield invalid_value(f"{at}.ip", address.ip, "must be a valid IP address")
    else:
        yield from ordinary_address(f"{at}.ip", address.ip)


def validate_port(port: EndpointPort, at: str, name_needed: bool) -> Iterator[FieldError]:
    if name_needed and not port.name:
        yield required(f"{at}.name")
    yield from judged(f"{at}.name", port.name, names.dns1123_label)
    for wrong in names.port_number(port.port):
        yield invalid_value(f"{at}.port", port.port, wrong)
    yield from one_of(f"{at}.protocol", port.protocol, PROTOCOLS)
    yield from judged(f"{at}.appProtocol", port.app_protocol, names.qualified_name)


def addresses_text(endpoints: Endpoints) -> str:
    found = [text for subset in endpoints.subsets or () for text in subset_texts(subset)]
    return with_more(found, NONE)


def subset_texts(subset: EndpointSubset) -> list[str]:
    if not subset.ports:
        return [address.ip for address in subset.addresses or ()]
    return [joined_port(a.ip, port.port) for port in subset.ports for a in subset.addresses or ()]


def joined_port(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def with_more(texts: list[str], nothing: str) -> str:
    if len(texts) > SHOWN_MAX:
        return f"{','.join(texts[:SHOWN_MAX])} + {len(texts) - SHOWN_MAX} more..."
    return ",".join(texts) or nothing


# --- slices -----------------------------------------------------------------------------------------------------------


def default_slice(found: discovery.EndpointSlice) -> discovery.EndpointSlice:
    return parts(found, "ports", default_slice_port)


def default_slice_port(port: discovery.EndpointPort) -> discovery.EndpointPort:
    port = filled(port, protocol="TCP")
    return port if port.name is not None else changed(port, name="")


def validate_slice(found: discovery.EndpointSlice) -> Iterator[FieldError]:
    if not found.address_type:
        yield required("addressType")
    elif found.address_type not in ADDRESS_TYPES:
        yield not_supported("addressType", found.address_type, ADDRESS_TYPES)
    endpoints = found.endpoints or ()
    yield from at_most("endpoints", endpoints, SLICE_ENDPOINTS_MAX)
    for index, endpoint in enumerate(endpoints):
        yield from validate_endpoint(endpoint, found.address_type, f"endpoints[{index}]")
    yield from validate_slice_ports(found.ports or ())


def validate_endpoint(endpoint: discovery.Endpoint, type_: str, at: str) -> Iterator[FieldError]:
    if not endpoint.addresses:
        yield required(f"{at}.addresses", "must contain at least 1 address")
    yield from at_most(f"{at}.addresses", endpoint.addresses, SLICE_ADDRESSES_MAX)
    for index, address in enumerate(endpoint.addresses):
        here = f"{at}.addresses[{index}]"
        if type_ == "FQDN":
            yield from judged(here, address, names.dns1123_subdomain)
            continue
        wrong = names.ip(address)
        for text in wrong:
            yield invalid_value(here, address, text)
        if not wrong and type_ in ("IPv4", "IPv6") and (":" in address) != (type_ == "IPv6"):
            yield invalid_value(here, address, f"must be an {type_} address")
        if not wrong:
            yield from ordinary_address(here, address)
    yield from judged(f"{at}.nodeName", endpoint.node_name, names.dns1123_subdomain)
    topology = endpoint.deprecated_topology or {}
    yield from at_most(f"{at}.deprecatedTopology", topology, TOPOLOGY_KEYS_MAX)
    yield from labels(topology.items(), f"{at}.deprecatedTopology")
    if "kubernetes.io/hostname" in topology:
        yield invalid_value(f"{at}.deprecatedTopology[kubernetes.io/hostname]", topology["kubernetes.io/hostname"], "")
    yield from judged(f"{at}.hostname", endpoint.hostname, names.dns1123_label)
    if endpoint.hints is not None:
        yield from validate_hints(endpoint.hints, f"{at}.hints")


def validate_hints(hints: discovery.EndpointHints, at: str) -> Iterator[FieldError]:
    """Which zones and nodes an endpoint is for: each once, and not many."""
    zones, nodes = hints.for_zones or (), hints.for_nodes or ()
    for field, found, rule in (
        ("forZones", [zone.name for zone in zones], names.dns1123_label),
        ("forNodes", [node.name for node in nodes], names.dns1123_subdomain),
    ):
        if len(found) > HINTS_MAX:
            yield too_many(f"{at}.{field}", len(found), HINTS_MAX)
            continue
        again = repeated(found)
        for index, name in enumerate(found):
            here = f"{at}.{field}[{index}].name"
            if index in again:
                yield duplicate(here, name)
            for wrong in rule(name):
                yield invalid_value(here, name, wrong)


def validate_slice_ports(ports: tuple[discovery.EndpointPort, ...]) -> Iterator[FieldError]:
    yield from at_most("ports", ports, SLICE_PORTS_MAX)
    seen: set[str] = set()
    for index, port in enumerate(ports):
        name = port.name or ""
        yield from judged(f"ports[{index}].name", name, names.dns1123_label)
        if name in seen:
            yield duplicate(f"ports[{index}].name", name)
        seen.add(name)
        if port.port is not None:
            for wrong in names.port_number(port.port):
                yield invalid_value(f"ports[{index}].port", port.port, wrong)
        yield from one_of(f"ports[{index}].protocol", port.protocol, PROTOCOLS)
        yield from judged(f"ports[{index}].appProtocol", port.app_protocol, names.qualified_name)


def validate_slice_update(new: discovery.EndpointSlice, old: discovery.EndpointSlice) -> Iterator[FieldError]:
    yield from validate_slice(new)
    yield from immutable("addressType", new.address_type, old.address_type)


def endpoints_warnings(endpoints: Endpoints, old: Endpoints | None) -> Iterator[str]:
    """What our own controllers write they have put right already; so for slices."""
    if (endpoints.metadata.labels or {}).get("endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return
    for index, subset in enumerate(endpoints.subsets or ()):
        for field, found in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
            for place, address in enumerate(found or ()):
                yield from ip_warnings(f"subsets[{index}].{field}[{place}].ip", address.ip)


def slice_warnings(found: discovery.EndpointSlice, old: discovery.EndpointSlice | None) -> Iterator[str]:
    if old is None and found.address_type == "FQDN":
        yield "spec.addressType: FQDN endpoints are deprecated"
    if (found.metadata.labels or {}).get("endpointslice.kubernetes.io/managed-by") in SLICE_CONTROLLERS:
        return
    for index, endpoint in enumerate(found.endpoints or ()):
        yield from all_ip_warnings(f"endpoints[{index}].addresses", endpoint.addresses)


def ports_cell(found: discovery.EndpointSlice, now: float) -> str:
    texts = [
        str(port.port) if port.port is not None else "*" if port.name is None else port.name
        for port in found.ports or ()
    ]
    return with_more(texts, UNSET)


def endpoints_cell(found: discovery.EndpointSlice, now: float) -> str:
    return with_more([address for endpoint in found.endpoints or () for address in endpoint.addresses], UNSET)


ENDPOINTS = Resource(
    kind=kind_of(Endpoints),
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    singular="endpoints",
    short_names=("ep",),
    storage_prefix="/registry/services/endpoints",
    create_on_update=True,
    default=default_endpoints,
    validate=validate_endpoints,
    warnings=endpoints_warnings,
    columns=(
        NAME,
        Column("Endpoints", lambda endpoints, now: addresses_text(endpoints), of="core_v1.Endpoints.subsets"),
        AGE,
    ),
)

ENDPOINT_SLICES = Resource(
    kind=kind_of(discovery.EndpointSlice),
    default=default_slice,
    validate=validate_slice,
    validate_update=validate_slice_update,
    warnings=slice_warnings,
    generation=lambda found: (found.endpoints, found.ports, found.address_type, found.metadata.labels),
    columns=(
        NAME,
        Column("AddressType", lambda found, now: found.address_type, of="discovery_v1.EndpointSlice.addressType"),
        Column("Ports", ports_cell, of="discovery_v1.EndpointSlice.ports"),
        Column("Endpoints", endpoints_cell, of="discovery_v1.EndpointSlice.endpoints"),
        AGE,
    ),
)
