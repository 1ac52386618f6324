"""Where a proxy path leads: the name in it taken apart, the port looked up, the address looked at.

A port may be given by its number or by a name. A Service's is the name of one of its own ports; a pod's or node's is one that
the machine's resolver knows (`http`), not the one that a container gave to its port: so it is upstream.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from kybern.api.core_v1 import EndpointAddress, Endpoints, Pod, Service
from kybern.api.errors import BadRequest, ServiceUnavailable
from kybern.web.addresses import address_of, is_own, is_port

USUAL_PORTS = {"https": "443"}


@dataclass(frozen=True, slots=True)
class Named:
    """The name part of the address, taken apart."""

    scheme: str
    name: str
    port: str


def taken_apart(text: str, kind: str) -> Named:
    """`{scheme:}name{:port}`."""
    parts = text.split(":")
    scheme = parts.pop(0) if len(parts) == 3 else ""
    name, port = (*parts, "")[:2]
    if len(parts) > 2 or not name or scheme not in ("", "http", "https"):
        raise BadRequest(f'invalid {kind} request "{text}"')
    return Named(scheme, name, port)


def check_host(host: str) -> None:
    """BadRequest for an address that nothing in a cluster has."""
    address = address_of(host)
    if address is None or is_own(address):
        raise BadRequest("address not allowed")


def number_of(port: str) -> int:
    """ServiceUnavailable where it is no port, as where nobody listens at one."""
    if is_port(port):
        return int(port)
    if port.isascii() and port.isdigit():
        raise unreachable(f"address {port}: invalid port")
    try:
        return socket.getservbyname(port, "tcp")
    except OSError:
        raise unreachable(f"lookup tcp/{port}: unknown port") from None


def unreachable(why: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"error trying to reach service: dial tcp: {why}")


def first_port(pod: Pod, scheme: str) -> str:
    ports = [port.container_port for container in pod.spec.containers for port in container.ports or ()]
    return str(ports[0]) if ports else USUAL_PORTS.get(scheme, "80")


def name_of_port(service: Service, number: int) -> str | None:
    """None where it has no such port."""
    return next((port.name or "" for port in service.spec.ports or () if port.port == number), None)


def places(endpoints: Endpoints, port_name: str) -> Iterator[tuple[EndpointAddress, int]]:
    """The ready addresses behind a Service's port."""
    for subset in endpoints.subsets or ():
        for port in subset.ports or ():
            if (port.name or "") == port_name:
                yield from ((address, port.port) for address in subset.addresses or ())
