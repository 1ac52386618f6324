"""A GRPCRoute is an HTTPRoute in other words: a method is a path, and all that follows from a route follows from that one.

It keeps its kind, by which listeners and grants choose. Its backends are spoken to by HTTP/2, whatever their ports say.
"""

import re

from msgspec import convert

from kybern.network.gateway.objects import (
    BackendRef,
    GRPCMatch,
    GRPCMethod,
    GRPCRoute,
    HTTPRoute,
    PathMatch,
    RouteFilter,
    RouteMatch,
    RouteRule,
    RouteSpec,
)

ANY = "[^/]+"


def as_http(route: GRPCRoute) -> HTTPRoute:
    rules = tuple(
        RouteRule(
            name=rule.name,
            matches=tuple(match_of(match) for match in rule.matches) or (RouteMatch(),),
            filters=convert(rule.filters, tuple[RouteFilter, ...], from_attributes=True),
            backend_refs=convert(rule.backend_refs, tuple[BackendRef, ...], from_attributes=True),
        )
        for rule in route.spec.rules
    )
    spec = RouteSpec(parent_refs=route.spec.parent_refs, hostnames=route.spec.hostnames, rules=rules)
    return HTTPRoute(kind=route.kind, metadata=route.metadata, spec=spec, status=route.status)


def match_of(match: GRPCMatch) -> RouteMatch:
    return RouteMatch(path=path_of(match.method) if match.method else PathMatch(), headers=match.headers)


def path_of(asked: GRPCMethod) -> PathMatch:
    """`/package.Service/Method`"""
    service, method = asked.service, asked.method
    if asked.type == "RegularExpression":
        return PathMatch(type="RegularExpression", value=f"/(?:{service or ANY})/(?:{method or ANY})")
    if service and method:
        return PathMatch(type="Exact", value=f"/{service}/{method}")
    if service:
        return PathMatch(type="PathPrefix", value=f"/{service}")
    if method:
        return PathMatch(type="RegularExpression", value=f"/{ANY}/{re.escape(method)}")
    return PathMatch()
