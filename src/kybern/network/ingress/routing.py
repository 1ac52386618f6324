"""Ingresses as a table, and a request as a route in it: pure functions, upstream's rules of matching.

- A host matches itself; `*.example.com` one label more; a rule without a host all hosts. The most exact host wins.
- `Exact` beats `Prefix`, a longer path a shorter one; a prefix ends at a slash: `/a` is not a prefix of `/ab`.
- Where two Ingresses ask for the same, the older one has it. What no rule matches is the default backend's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kybern.api.core_v1 import Service, ServicePort
from kybern.api.discovery_v1 import EndpointSlice
from kybern.api.networking_v1 import Ingress, IngressBackend
from kybern.network.services import is_ready, is_serving_terminating, port_number

CLASS_ANNOTATION = "kubernetes.io/ingress.class"


Speaks = Literal["http", "https", "h2c"]
"""What a port is spoken to by: its appProtocol says so, or a name of old."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a route leads: the service's port, and who is behind it now."""

    namespace: str
    service: str
    addresses: tuple[tuple[str, int], ...] = ()
    problem: str = ""
    """Why nobody is there, where that is a mistake in the objects."""
    speaks: Speaks = "http"


@dataclass(frozen=True, slots=True)
class Route:
    path: str
    exact: bool
    target: Target
    ingress: str

    def matches(self, path: str) -> bool:
        if self.exact:
            return path == self.path
        prefix = self.path.rstrip("/")
        return path == prefix or path.startswith(f"{prefix}/")


@dataclass(frozen=True, slots=True)
class Table:
    by_host: Mapping[str, tuple[Route, ...]] = field(default_factory=dict)
    """Host, or `*.rest`, or "" for all → routes, the most exact first."""
    default: Target | None = None

    def find(self, host: str, path: str) -> Target | None:
        """None where nothing is meant for it."""
        for key in (*names_of(host), ""):
            for route in self.by_host.get(key, ()):
                if route.matches(path):
                    return route.target
        return self.default


def bare_host(host: str) -> str:
    """A Host header without its port, as names are compared."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).rstrip(".").lower()


def names_of(host: str) -> tuple[str, str]:
    """What a request's host may be listed under, the more exact first."""
    name = bare_host(host)
    return name, f"*.{name.partition('.')[2]}"


def spoken(port: ServicePort) -> Speaks:
    if port.app_protocol == "kubernetes.io/h2c":
        return "h2c"
    return "https" if port.app_protocol == "https" or (port.name == "https" and port.port == 443) else "http"


class Backends:
    """What is known of Services, asked by name."""

    def __init__(
        self, services: Mapping[tuple[str, str], Service], slices: Mapping[tuple[str, str], Sequence[EndpointSlice]]
    ) -> None:
        self.services, self.slices = services, slices

    def target(self, namespace: str, backend: IngressBackend) -> Target:
        asked = backend.service
        if asked is None:
            return Target(namespace, "", problem="resource backends are not supported")
        key = (namespace, asked.name)
        service = self.services.get(key)
        if service is None:
            return Target(*key, problem=f"service {namespace}/{asked.name} does not exist")
        wanted = asked.port
        for port in service.spec.ports or ():
            if wanted and (port.name == wanted.name if wanted.name else port.port == wanted.number):
                found = [
                    (endpoint, (endpoint.addresses[0], number))
                    for piece in self.slices.get(key, ())
                    if (number := port_number(port, piece.ports or ())) and piece.address_type != "FQDN"
                    for endpoint in piece.endpoints or ()
                    if endpoint.addresses
                ]
                ready = [place for endpoint, place in found if is_ready(endpoint)]
                ending = [place for endpoint, place in found if is_serving_terminating(endpoint)]
                return Target(*key, tuple(sorted(set(ready or ending))), speaks=spoken(port))
        shown = (wanted.name or wanted.number) if wanted else ""
        return Target(*key, problem=f"service {namespace}/{asked.name} has no port {shown}")


def table(ingresses: Iterable[Ingress], backends: Backends) -> Table:
    by_host: dict[str, list[Route]] = {}
    default: Target | None = None
    for ingress in sorted(ingresses, key=age):
        namespace = ingress.metadata.namespace or ""
        for host, route in routes_of(ingress, backends):
            of_host = by_host.setdefault(host, [])
            if not any((known.path, known.exact) == (route.path, route.exact) for known in of_host):
                of_host.append(route)
        if ingress.spec.default_backend is not None and default is None:
            default = backends.target(namespace, ingress.spec.default_backend)
    order = {host: tuple(sorted(routes, key=lambda r: (not r.exact, -len(r.path)))) for host, routes in by_host.items()}
    return Table(order, default)


def routes_of(ingress: Ingress, backends: Backends) -> Iterator[tuple[str, Route]]:
    meta = ingress.metadata
    for rule in ingress.spec.rules or ():
        for path in rule.http.paths if rule.http else ():
            target = backends.target(meta.namespace or "", path.backend)
            name = f"{meta.namespace}/{meta.name}"
            yield (rule.host or "").lower(), Route(path.path or "/", path.path_type == "Exact", target, name)


def age(ingress: Ingress) -> tuple[str, str, str]:
    meta = ingress.metadata
    return str(meta.creation_timestamp or ""), meta.namespace or "", meta.name or ""


def is_of_class(ingress: Ingress, classes: Iterable[str]) -> bool:
    """One without a class is nobody's: the default class is set when it is created."""
    name = ingress.spec.ingress_class_name or (ingress.metadata.annotations or {}).get(CLASS_ANNOTATION)
    return name is not None and name in set(classes)


def problems(ingress: Ingress, backends: Backends) -> list[str]:
    """What is wrong with its objects, each once."""
    found = [route.target.problem for _, route in routes_of(ingress, backends)]
    if ingress.spec.default_backend is not None:
        found.append(backends.target(ingress.metadata.namespace or "", ingress.spec.default_backend).problem)
    return [problem for problem in dict.fromkeys(found) if problem]
