"""What is said of GatewayClasses, Gateways and HTTPRoutes, in the specification's words; of another controller's nothing.

A condition keeps the time of its last change, so that a status which says the same is the same and is not written again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kybern.aio.clock import rfc3339
from kybern.api.meta_v1 import Condition
from kybern.network.gateway.attaching import SPOKEN, Refused
from kybern.network.gateway.objects import (
    ClassStatus,
    Gateway,
    GatewayClass,
    GatewayStatus,
    HTTPRoute,
    Listener,
    ListenerStatus,
    ParentReference,
    ParentStatus,
    RouteKind,
    RouteStatus,
    StatusAddress,
)

CONTROLLER = "kybern.io/gateway-controller"
ROUTES = (RouteKind(kind="HTTPRoute"), RouteKind(kind="GRPCRoute"))


@dataclass(frozen=True, slots=True)
class Fact:
    type: str
    status: bool
    reason: str
    message: str = ""


def conditions(
    known: Iterable[Condition], facts: Iterable[Fact], generation: int | None, now: float
) -> tuple[Condition, ...]:
    before = {condition.type: condition for condition in known}
    found = []
    for fact in facts:
        status = "True" if fact.status else "False"
        old = before.get(fact.type)
        since = old.last_transition_time if old is not None and old.status == status else rfc3339(now)
        found.append(
            Condition(
                type=fact.type, status=status, reason=fact.reason, message=fact.message,
                observed_generation=generation, last_transition_time=since,
            )
        )  # fmt: skip
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ListenerFacts:
    """What is wrong with a listener, as reasons; empty where nothing is."""

    conflict: str = ""
    unresolved: Refused | None = None
    unavailable: str = ""
    """Why its port cannot be listened on."""
    attached: int = 0


def listener_status(
    listener: Listener, found: ListenerFacts, old: Sequence[Condition], generation: int | None, now: float
) -> ListenerStatus:
    supported = listener.protocol in SPOKEN
    asked = listener.allowed_routes.kinds
    kinds = tuple(kind for kind in asked if kind in ROUTES) if asked else ROUTES
    invalid = (
        Refused("InvalidRouteKinds", "HTTPRoute and GRPCRoute are the kinds that are supported")
        if asked and kinds != asked
        else None
    )
    wrong = found.unresolved or invalid
    if not supported:
        accepted = Fact("Accepted", False, "UnsupportedProtocol", f"{listener.protocol} is not supported")
    elif found.unavailable:
        accepted = Fact("Accepted", False, "PortUnavailable", found.unavailable)
    else:
        accepted = Fact("Accepted", not found.conflict, found.conflict or "Accepted")
    works = accepted.status and found.unresolved is None
    facts = (
        accepted,
        Fact("Conflicted", bool(found.conflict), found.conflict or "NoConflicts"),
        Fact("ResolvedRefs", wrong is None, wrong.reason if wrong else "ResolvedRefs", wrong.message if wrong else ""),
        Fact("Programmed", works, "Programmed" if works else found.conflict or "Invalid"),
    )
    return ListenerStatus(
        name=listener.name,
        supported_kinds=kinds if supported else (),
        attached_routes=found.attached,
        conditions=conditions(old, facts, generation, now),
    )


def gateway_status(
    gateway: Gateway, found: Mapping[str, ListenerFacts], addresses: Sequence[str], now: float
) -> GatewayStatus:
    generation = gateway.metadata.generation
    old = {entry.name: entry.conditions for entry in gateway.status.listeners}
    listeners = tuple(
        listener_status(each, found[each.name], old.get(each.name, ()), generation, now)
        for each in gateway.spec.listeners
    )
    works = [
        all(c.status == "True" for c in each.conditions if c.type in ("Accepted", "Programmed")) for each in listeners
    ]
    wrong = unaccepted(gateway)
    if wrong is not None:
        accepted = Fact("Accepted", False, wrong.reason, wrong.message)
    elif all(works):
        accepted = Fact("Accepted", True, "Accepted")
    else:
        named = {
            well: ", ".join(each.name for each, w in zip(listeners, works, strict=True) if w is well)
            for well in (True, False)
        }
        text = f"not valid: {named[False]}; accepted: {named[True] or 'none'}"
        accepted = Fact("Accepted", any(works), "ListenersNotValid", text)
    unusable = unusable_addresses(gateway, addresses)
    if accepted.status and unusable:
        text = f"{', '.join(unusable)} cannot be used: Gateways are answered on {', '.join(addresses)}"
        programmed = Fact("Programmed", False, "AddressNotUsable", text)
    else:
        well = accepted.status and any(works)
        programmed = Fact("Programmed", well, "Programmed" if well else "Invalid")
    facts = (accepted, programmed)
    asked = [each.value for each in gateway.spec.addresses if each.value]
    return GatewayStatus(
        addresses=tuple(StatusAddress(value=each) for each in asked or addresses) if programmed.status else (),
        conditions=conditions(gateway.status.conditions, facts, generation, now),
        listeners=listeners,
    )


def is_served(gateway: Gateway, addresses: Sequence[str]) -> bool:
    return unaccepted(gateway) is None and not unusable_addresses(gateway, addresses)


def unaccepted(gateway: Gateway) -> Refused | None:
    """Addresses are those of the machine, and there is nothing that parameters could be about."""
    for each in gateway.spec.addresses:
        if each.type != "IPAddress":
            return Refused("UnsupportedAddress", f"addresses of type {each.type} are not supported")
    parameters = gateway.spec.infrastructure.parameters_ref if gateway.spec.infrastructure else None
    if parameters is not None:
        return Refused("InvalidParameters", f"{parameters.kind} {parameters.name}: no parameters are supported")
    return None


def unusable_addresses(gateway: Gateway, addresses: Sequence[str]) -> list[str]:
    return [each.value for each in gateway.spec.addresses if each.value and each.value not in addresses]


def class_status(made: GatewayClass, now: float) -> ClassStatus:
    accepted, parameters = Fact("Accepted", True, "Accepted"), made.spec.parameters_ref
    if parameters is not None:
        text = f"{parameters.kind} {parameters.name}: no parameters are supported"
        accepted = Fact("Accepted", False, "InvalidParameters", text)
    return ClassStatus(conditions=conditions(made.status.conditions, (accepted,), made.metadata.generation, now))


def route_status(
    route: HTTPRoute,
    parents: Sequence[tuple[ParentReference, Refused | None]],
    unresolved: Refused | None,
    dropped: Mapping[int, str],
    now: float,
) -> RouteStatus:
    """What others say stays."""
    ours = {entry.parent_ref: entry for entry in route.status.parents if entry.controller_name == CONTROLLER}
    found = [entry for entry in route.status.parents if entry.controller_name != CONTROLLER]
    resolved = Fact("ResolvedRefs", True, "ResolvedRefs")
    if unresolved is not None:
        resolved = Fact("ResolvedRefs", False, unresolved.reason, unresolved.message)
    for reference, refused in parents:
        accepted = Fact("Accepted", True, "Accepted")
        if refused is not None:
            accepted = Fact("Accepted", False, refused.reason, refused.message)
        facts = [accepted, resolved]
        if dropped and accepted.status:
            text = "; ".join(f"{at} ({why})" for at, why in dropped.items())
            facts.append(Fact("PartiallyInvalid", True, "UnsupportedValue", f"Dropped Rule {text}"))
        known = ours[reference].conditions if reference in ours else ()
        found.append(
            ParentStatus(
                parent_ref=reference,
                controller_name=CONTROLLER,
                conditions=conditions(known, facts, route.metadata.generation, now),
            )
        )
    return RouteStatus(parents=tuple(found))
