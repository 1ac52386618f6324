"""Which route is on which listener, and why another is not: pure functions over the objects, by the specification's rules.

- A route names its parents; a listener says which namespaces it takes routes from; their hostnames must meet.
- What crosses namespaces (a certificate, a backend) needs a ReferenceGrant in the namespace it leads to.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kybern.api.selectors import of_label_selector
from kybern.network.gateway.objects import (
    GROUP,
    BackendObject,
    Gateway,
    HTTPRoute,
    Listener,
    ParentReference,
    ReferenceGrant,
    RouteFilter,
    SecretReference,
)

SPOKEN = ("HTTP", "HTTPS")


@dataclass(frozen=True, slots=True)
class Attached:
    """A route on a listener of a Gateway, with the hostnames that both have."""

    gateway: Gateway
    listener: Listener
    route: HTTPRoute
    hostnames: tuple[str, ...]
    """Empty for every host."""


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str
    message: str


Labels = Mapping[str, Mapping[str, str]]
"""Namespace → its labels."""


def attach(
    route: HTTPRoute, parent: ParentReference, gateways: Mapping[tuple[str, str], Gateway], labels: Labels
) -> list[Attached] | Refused | None:
    """None where the parent is none of ours."""
    if (parent.group, parent.kind) != (GROUP, "Gateway"):
        return None
    namespace = route.metadata.namespace or ""
    gateway = gateways.get((parent.namespace or namespace, parent.name))
    if gateway is None:
        return None
    named = [
        listener
        for listener in gateway.spec.listeners
        if parent.section_name in (None, listener.name) and parent.port in (None, listener.port)
    ]
    if not named:
        return Refused("NoMatchingParent", "no listener of the Gateway has this section name and port")
    allowed = [
        listener
        for listener in named
        if takes_routes(listener, route.kind)
        and takes_from(listener, gateway.metadata.namespace or "", namespace, labels)
    ]
    if not allowed:
        return Refused("NotAllowedByListeners", f"no listener takes {route.kind}s from namespace {namespace}")
    found = []
    for listener in allowed:
        common = common_hostnames(listener.hostname, route.spec.hostnames)
        if common is not None:
            found.append(Attached(gateway, listener, route, common))
    return found or Refused("NoMatchingListenerHostname", "no listener has a hostname that the route has too")


def takes_routes(listener: Listener, kind: str) -> bool:
    kinds = listener.allowed_routes.kinds
    return listener.protocol in SPOKEN and (not kinds or any((k.group, k.kind) == (GROUP, kind) for k in kinds))


def takes_from(listener: Listener, own: str, namespace: str, labels: Labels) -> bool:
    wanted = listener.allowed_routes.namespaces
    if wanted.from_ == "Same":
        return namespace == own
    if wanted.from_ == "Selector":
        return wanted.selector is not None and of_label_selector(wanted.selector).matches(labels.get(namespace, {}))
    return True


def common_hostnames(listener: str | None, route: Sequence[str]) -> tuple[str, ...] | None:
    """What both have; None where they have nothing in common."""
    if not route:
        return (listener,) if listener else ()
    if not listener:
        return tuple(route)
    found = [common for name in route if (common := narrower(listener, name)) is not None]
    return tuple(dict.fromkeys(found)) or None


def narrower(one: str, other: str) -> str | None:
    """Of two hostnames that meet, the one that says more."""
    if one == other or covers(one, other):
        return other
    return one if covers(other, one) else None


def covers(wildcard: str, name: str) -> bool:
    """`*.example.com` covers every name below it, wildcards too."""
    return wildcard.startswith("*.") and name.removeprefix("*").endswith(wildcard[1:]) and name != wildcard


def granted(
    grants: Iterable[ReferenceGrant],
    source: tuple[str, str],
    source_namespace: str,
    target: BackendObject | SecretReference,
) -> bool:
    """Whether something of `source` (group, kind) may refer to this object of another namespace."""
    namespace = target.namespace or source_namespace
    if namespace == source_namespace:
        return True
    return any(
        any((entry.group, entry.kind, entry.namespace) == (*source, source_namespace) for entry in grant.spec.from_)
        and any(
            (to.group, to.kind) == (target.group, target.kind) and to.name in (None, "", target.name)
            for to in grant.spec.to
        )
        for grant in grants
        if grant.metadata.namespace == namespace
    )


def backend_refs(route: HTTPRoute) -> Iterator[BackendObject]:
    for rule in route.spec.rules:
        yield from rule.backend_refs
    for one in filters_in(route):
        if one.request_mirror is not None:
            yield one.request_mirror.backend_ref


def filters_in(route: HTTPRoute) -> Iterator[RouteFilter]:
    for rule in route.spec.rules:
        yield from rule.filters
        for ref in rule.backend_refs:
            yield from ref.filters
