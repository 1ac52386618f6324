"""All the objects to what the proxy does and what is said of them: one pure function, `programme`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kybern.api.networking_v1 import IngressBackend, IngressServiceBackend, ServiceBackendPort
from kybern.network.gateway.attaching import (
    SPOKEN,
    Attached,
    Labels,
    Refused,
    attach,
    backend_refs,
    filters_in,
    granted,
)
from kybern.network.gateway.conflicts import Admission, age, conflicted, protocols_of
from kybern.network.gateway.objects import (
    GROUP,
    BackendObject,
    Gateway,
    GatewayClass,
    GatewayStatus,
    HTTPRoute,
    Listener,
    ParentReference,
    ReferenceGrant,
    RouteFilter,
    RouteStatus,
)
from kybern.network.gateway.routing import Backend, Filter, Hosts, Rule, hosts, unsupported
from kybern.network.gateway.status import CONTROLLER, ListenerFacts, gateway_status, is_served, route_status
from kybern.network.ingress.routing import Backends, Target

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class World:
    """What there is."""

    classes: Sequence[GatewayClass]
    gateways: Sequence[Gateway]
    routes: Sequence[HTTPRoute]
    """GRPCRoutes too, in other words: see `grpc`."""
    grants: Sequence[ReferenceGrant]
    labels: Labels
    backends: Backends
    addresses: Sequence[str]
    """The proxy's own."""
    unavailable: Mapping[int, str] = field(default_factory=dict)
    """Ports that cannot be listened on, and why."""


@dataclass(frozen=True, slots=True)
class Programme:
    ports: Mapping[int, Hosts]
    secure: frozenset[int]
    """Of these ports, those that speak TLS."""
    certificates: Mapping[int, Sequence[tuple[str, Key]]]
    """Port → hostname (empty: every one) and the Secret of its certificate."""
    gateways: Sequence[tuple[Gateway, GatewayStatus]]
    routes: Sequence[tuple[HTTPRoute, RouteStatus]]


def programme(world: World, certified: Callable[[Key], bool], now: float) -> Programme:
    """`certified`: whether a Secret holds a usable certificate."""
    classes = {found.metadata.name for found in world.classes if found.spec.controller_name == CONTROLLER}
    gateways = {key_of(found): found for found in world.gateways if found.spec.gateway_class_name in classes}
    served = {key: found for key, found in gateways.items() if is_served(found, world.addresses)}
    speak = protocols_of(served.values())
    facts = {key: listeners_of(found, world, speak, certified) for key, found in gateways.items()}
    routes, attached, admission = [], [], Admission()
    for route in sorted(world.routes, key=age):
        dropped = unsupported(route)
        parents: list[tuple[ParentReference, Refused | None]] = []
        for parent in dict.fromkeys(route.spec.parent_refs):
            outcome = attach(route, parent, gateways, world.labels)
            if outcome is None:
                continue
            if isinstance(outcome, list) and dropped and len(dropped) == len(route.spec.rules):
                outcome = Refused("UnsupportedValue", "; ".join(dropped.values()))
            if isinstance(outcome, list):
                outcome = admission.admit(outcome)
            parents.append((parent, outcome if isinstance(outcome, Refused) else None))
            attached += outcome if isinstance(outcome, list) else []
        told = route_status(route, parents, unresolved(route, world), dropped, now)
        if parents or told != route.status:
            routes.append((route, told))
    attached = [
        each
        for each in attached
        if key_of(each.gateway) in served and is_up(facts[key_of(each.gateway)][each.listener.name])
    ]
    return Programme(
        ports=ports_of(served, facts, attached, world),
        secure=frozenset(each.port for each in all_up(served, facts) if each.protocol == "HTTPS"),
        certificates=certificates_of(served, facts),
        gateways=[
            (found, gateway_status(found, counted(key, facts[key], attached), world.addresses, now))
            for key, found in gateways.items()
        ],
        routes=routes,
    )


def key_of(found: Gateway) -> Key:
    return found.metadata.namespace or "", found.metadata.name or ""


def listeners_of(
    gateway: Gateway, world: World, speak: Mapping[int, str], certified: Callable[[Key], bool]
) -> dict[str, ListenerFacts]:
    conflicts = conflicted(gateway.spec.listeners)

    def unavailable(listener: Listener) -> str:
        spoken = speak.get(listener.port, listener.protocol)
        if spoken != listener.protocol:
            return f"port {listener.port} speaks {spoken} for an older Gateway"
        return world.unavailable.get(listener.port, "")

    return {
        listener.name: ListenerFacts(
            conflict=conflicts.get(listener.name, ""),
            unresolved=wrong_certificate(listener, gateway, world, certified),
            unavailable=unavailable(listener),
        )
        for listener in gateway.spec.listeners
    }


def wrong_certificate(
    listener: Listener, gateway: Gateway, world: World, certified: Callable[[Key], bool]
) -> Refused | None:
    if listener.protocol != "HTTPS":
        return None
    own = gateway.metadata.namespace or ""
    references = listener.tls.certificate_refs if listener.tls else ()
    if not references or (listener.tls and listener.tls.mode != "Terminate"):
        return Refused("InvalidCertificateRef", "a listener of protocol HTTPS terminates TLS with a certificate")
    for reference in references:
        if (reference.group, reference.kind) != ("", "Secret"):
            return Refused("InvalidCertificateRef", f"{reference.kind} {reference.name} is no Secret")
        if not granted(world.grants, (GROUP, "Gateway"), own, reference):
            return Refused(
                "RefNotPermitted", f"no ReferenceGrant lets {own} use secret {reference.namespace}/{reference.name}"
            )
        if not certified((reference.namespace or own, reference.name)):
            return Refused("InvalidCertificateRef", f"secret {reference.name} holds no usable certificate")
    return None


def is_up(found: ListenerFacts) -> bool:
    return not found.conflict and found.unresolved is None and not found.unavailable


def all_up(gateways: Mapping[Key, Gateway], facts: Mapping[Key, Mapping[str, ListenerFacts]]) -> list[Listener]:
    return [
        listener
        for key, gateway in gateways.items()
        for listener in gateway.spec.listeners
        if listener.protocol in SPOKEN and is_up(facts[key][listener.name])
    ]


def counted(key: Key, facts: Mapping[str, ListenerFacts], attached: Sequence[Attached]) -> dict[str, ListenerFacts]:
    def routes(name: str) -> int:
        on = {id(e.route) for e in attached if key_of(e.gateway) == key and e.listener.name == name}
        return len(on)

    return {
        name: ListenerFacts(found.conflict, found.unresolved, found.unavailable, routes(name))
        for name, found in facts.items()
    }


def ports_of(
    gateways: Mapping[Key, Gateway],
    facts: Mapping[Key, Mapping[str, ListenerFacts]],
    attached: Sequence[Attached],
    world: World,
) -> dict[int, Hosts]:
    listeners = all_up(gateways, facts)
    found: dict[int, list[tuple[Attached, Sequence[Rule]]]] = {each.port: [] for each in listeners}
    made: dict[int, Sequence[Rule]] = {}
    for each in attached:
        rules = made.setdefault(id(each.route), rules_of(each.route, world))
        found[each.listener.port].append((each, rules))
    return {port: hosts((each for each in listeners if each.port == port), rules) for port, rules in found.items()}


def certificates_of(
    gateways: Mapping[Key, Gateway], facts: Mapping[Key, Mapping[str, ListenerFacts]]
) -> dict[int, list[tuple[str, Key]]]:
    found: dict[int, list[tuple[str, Key]]] = {}
    for key, gateway in gateways.items():
        for listener in gateway.spec.listeners:
            if listener.protocol == "HTTPS" and listener.tls is not None and is_up(facts[key][listener.name]):
                reference = listener.tls.certificate_refs[0]
                secret = (reference.namespace or key[0], reference.name)
                found.setdefault(listener.port, []).append((listener.hostname or "", secret))
    return found


def rules_of(route: HTTPRoute, world: World) -> list[Rule]:
    meta = route.metadata
    name = f"{meta.namespace}/{meta.name}"
    dropped = unsupported(route)
    return [
        Rule(
            match=match,
            rule=rule,
            backends=tuple(
                Backend(ref.weight, target_of(ref, route, world), filters_of(ref.filters, route, world))
                for ref in rule.backend_refs
            ),
            filters=filters_of(rule.filters, route, world),
            route=name,
            kind=route.kind,
            age=(str(meta.creation_timestamp or ""), name, at, part),
        )
        for at, rule in enumerate(route.spec.rules)
        if at not in dropped
        for part, match in enumerate(rule.matches)
    ]


def filters_of(filters: Sequence[RouteFilter], route: HTTPRoute, world: World) -> tuple[Filter, ...]:
    return tuple(
        Filter(one, target_of(one.request_mirror.backend_ref, route, world) if one.request_mirror else None)
        for one in filters
    )


def target_of(ref: BackendObject, route: HTTPRoute, world: World) -> Target | None:
    if wrong_backend(ref, route, world) is not None:
        return None
    return looked_up(ref, route, world)


def looked_up(ref: BackendObject, route: HTTPRoute, world: World) -> Target:
    asked = IngressBackend(service=IngressServiceBackend(name=ref.name, port=ServiceBackendPort(number=ref.port)))
    found = world.backends.target(ref.namespace or route.metadata.namespace or "", asked)
    return replace(found, speaks="h2c") if route.kind == "GRPCRoute" else found


def wrong_backend(ref: BackendObject, route: HTTPRoute, world: World) -> Refused | None:
    if (ref.group, ref.kind) != ("", "Service"):
        return Refused("InvalidKind", f"{ref.kind} {ref.name} is no Service")
    own = route.metadata.namespace or ""
    if not granted(world.grants, (GROUP, route.kind), own, ref):
        return Refused("RefNotPermitted", f"no ReferenceGrant lets {own} use service {ref.namespace}/{ref.name}")
    problem = looked_up(ref, route, world).problem
    return Refused("BackendNotFound", problem) if problem else None


def unresolved(route: HTTPRoute, world: World) -> Refused | None:
    """The first reference that leads nowhere."""
    for one in filters_in(route):
        if one.extension_ref is not None:
            return Refused("InvalidKind", f"{one.extension_ref.kind} {one.extension_ref.name} is no filter known here")
    found = (wrong_backend(ref, route, world) for ref in backend_refs(route))
    return next((wrong for wrong in found if wrong is not None), None)
