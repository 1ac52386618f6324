"""Gateways and their routes as values, for tests: what the programme makes of them, and what is said."""

from typing import Any

from msgspec import convert

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.network.gateway.grpc import as_http
from kybern.network.gateway.objects import Gateway, GatewayClass, GRPCRoute, HTTPRoute, ReferenceGrant
from kybern.network.gateway.programme import Programme, World, programme
from kybern.network.gateway.routing import asked
from kybern.network.gateway.status import CONTROLLER
from kybern.network.ingress.routing import Backends

NOW = 1_790_000_000.0
CLASS = convert({"metadata": {"name": "kybern"}, "spec": {"controllerName": CONTROLLER}}, GatewayClass)


def gateway(
    *listeners: dict[str, Any], name: str = "g", namespace: str = "infra", created: str = "2026-01-01T00:00:00Z"
) -> Gateway:
    meta = {"name": name, "namespace": namespace, "uid": name, "generation": 1, "creationTimestamp": created}
    spec = {"gatewayClassName": "kybern", "listeners": list(listeners) or [listener()]}
    return convert({"metadata": meta, "spec": spec}, Gateway)


def listener(name: str = "http", port: int = 80, protocol: str = "HTTP", **more: Any) -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": protocol, "allowedRoutes": {"namespaces": {"from": "All"}}, **more}


def route(
    *rules: dict[str, Any], name: str = "r", namespace: str = "apps", parent: dict[str, Any] | None = None,
    hostnames: tuple[str, ...] = (), created: str = "2026-01-01T00:00:00Z",
) -> HTTPRoute:  # fmt: skip
    meta = {"name": name, "namespace": namespace, "uid": name, "generation": 1, "creationTimestamp": created}
    refs = [{"name": "g", "namespace": "infra", **(parent or {})}]
    spec = {"parentRefs": refs, "hostnames": list(hostnames), "rules": list(rules) or [to("a")]}
    return convert({"metadata": meta, "spec": spec}, HTTPRoute)


def calls(
    *matches: dict[str, Any], name: str = "calls", hostnames: tuple[str, ...] = (), created: str = "2026-01-01T00:00:00Z",
    backend: str = "b", parent: dict[str, Any] | None = None,
) -> HTTPRoute:  # fmt: skip
    """A GRPCRoute, as the programme takes it."""
    meta = {"name": name, "namespace": "apps", "uid": name, "generation": 1, "creationTimestamp": created}
    refs = [{"name": "g", "namespace": "infra", **(parent or {})}]
    spec = {"parentRefs": refs, "hostnames": list(hostnames), "rules": [to(backend, matches=list(matches))]}
    return as_http(convert({"metadata": meta, "spec": spec}, GRPCRoute))


def to(*names: str, **more: Any) -> dict[str, Any]:
    return {"backendRefs": [{"name": name, "port": 80} for name in names], **more}


def at(path: str, kind: str = "PathPrefix", **more: Any) -> dict[str, Any]:
    return {"path": {"type": kind, "value": path}, **more}


def backends(addresses: dict[str, list[tuple[str, int]]] | None = None) -> Backends:
    where = addresses or {name: [("10.0.0.1", 8080)] for name in ("a", "b", "c", "d")}
    services = {
        (space, name): from_builtins(
            Service, {"metadata": {"name": name, "namespace": space}, "spec": {"ports": [{"name": "http", "port": 80}]}}
        )
        for space in ("apps", "other")
        for name in where
    }
    slices = {
        (space, name): [
            from_builtins(EndpointSlice, {
                "metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": [{"addresses": [ip]}],
                "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            })
            for ip, port in listed
        ]
        for space in ("apps", "other")
        for name, listed in where.items()
    }  # fmt: skip
    return Backends(services, slices)


def made(
    routes: list[HTTPRoute], *gateways: Gateway, grants: tuple[ReferenceGrant, ...] = (),
    known: Backends | None = None, unavailable: dict[int, str] | None = None, certified: bool = True,
    addresses: tuple[str, ...] = ("10.106.0.1",),
) -> Programme:  # fmt: skip
    world = World(
        [CLASS], gateways or (gateway(),), routes, grants, {"apps": {"team": "a"}}, known or backends(),
        addresses, unavailable or {},
    )  # fmt: skip
    return programme(world, lambda secret: certified, NOW)


def said(conditions: Any, type: str) -> tuple[str, str]:
    return next((c.status, c.reason) for c in conditions if c.type == type)


def of_route(found: Programme, type: str) -> tuple[str, str]:
    [(_, status)] = found.routes
    return said(status.parents[0].conditions, type)


def led(found: Programme, host: str, path: str, method: str = "GET", query: str = "", **headers: str) -> str | None:
    rule = found.ports[80].find(host, asked(path, query, method, {k.replace("_", "-"): v for k, v in headers.items()}))
    target = rule.backends[0].target if rule else None
    return target.service if target else None
