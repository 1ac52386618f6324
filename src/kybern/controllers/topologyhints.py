"""Topology-aware hints (KEP-2433): with `service.kubernetes.io/topology-mode: Auto` every zone is told to use as many
endpoints as its share of the cluster's processors, its own first.

- There are none unless every zone can have enough: no endpoint may be overloaded by more than a fifth.
- Slices that need no other change keep their hints while these still fit, since every change goes to every node.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from kybern.api.core_v1 import Node, Service
from kybern.api.discovery_v1 import Endpoint, EndpointHints, EndpointSlice, ForZone
from kybern.api.quantity import milli
from kybern.reconcile.nodes import node_is_ready

MODES = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")  # the older name first
ZONE = "topology.kubernetes.io/zone"
CONTROL_PLANE = {"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}
OVERLOAD_MAX = 0.2

ENABLED, DISABLED = "TopologyAwareHintsEnabled", "TopologyAwareHintsDisabled"
NO_NODES = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
FEW_ENDPOINTS = "Insufficient number of endpoints"
TOO_UNEVEN = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
NO_ZONE = "One or more endpoints do not have a zone specified"
ON, OFF = "Topology Aware Hints has been enabled", "Topology Aware Hints has been disabled"

Shares = Mapping[str, float]
"""Zone → its part of the cluster's processors. Empty where that cannot be told, or there is one zone only."""


def is_automatic(service: Service) -> bool:
    annotations = service.metadata.annotations or {}
    told = next((annotations[name] for name in MODES if name in annotations), "")
    return told in ("Auto", "auto")


def shares_of(nodes: Iterable[Node]) -> Shares:
    cpus: Counter[str] = Counter()
    for node in nodes:
        labels = node.metadata.labels or {}
        if labels.keys() & CONTROL_PLANE or not node_is_ready(node):
            continue
        zone, cpu = labels.get(ZONE), milli((node.status.allocatable or {}).get("cpu", "0"))
        if not zone or not cpu:
            return {}
        cpus[zone] += cpu
    total = cpus.total()
    return {zone: cpu / total for zone, cpu in cpus.items()} if len(cpus) > 1 else {}


@dataclass(frozen=True, slots=True)
class Allocation:
    """How many endpoints a zone should have."""

    least: int
    most: int
    desired: float


@dataclass(frozen=True, slots=True)
class Hinted:
    slices: list[EndpointSlice]
    """All of them, in the order given."""
    refusal: str = ""
    """Why there are no hints."""


def allocations(shares: Shares, endpoints: int) -> tuple[Mapping[str, Allocation], str]:
    """Empty, and the reason, where the zones cannot be served evenly enough."""
    if not shares:
        return {}, NO_NODES
    told = f"({endpoints} endpoints, {len(shares)} zones)"
    if len(shares) > endpoints:
        return {}, f"{FEW_ENDPOINTS} {told}"
    desired = {zone: share * endpoints for zone, share in shares.items()}
    least = {zone: math.ceil(number * (1 / (1 + OVERLOAD_MAX))) for zone, number in desired.items()}
    spare = endpoints - sum(least.values())
    if spare < 0:
        return {}, f"{TOO_UNEVEN} {told}"
    return {
        zone: Allocation(least[zone], least[zone] + spare, max(number, least[zone])) for zone, number in desired.items()
    }, ""


def with_hints(kept: Sequence[EndpointSlice], changing: Sequence[EndpointSlice], shares: Shares) -> Hinted:
    """`kept` need no change but for hints, `changing` are written anyway."""
    ready = sum(is_ready(endpoint) for found in (*kept, *changing) for endpoint in found.endpoints or ())
    wanted, refusal = allocations(shares, ready)
    given: Counter[str] = Counter()
    fitting = {index for index, found in enumerate(kept) if not refusal and takes_part(found, wanted, given)}
    fresh = [found for index, found in enumerate(kept) if index not in fitting] + list(changing)
    if not refusal and any(is_ready(end) and not end.zone for found in fresh for end in found.endpoints or ()):
        refusal = NO_ZONE
    if refusal:
        return Hinted([without_hints(found) for found in (*kept, *changing)], refusal)
    given.update(end.zone or "" for found in fresh for end in found.endpoints or () if is_ready(end))
    moving = moves(wanted, given)
    done = [kept[i] if i in fitting else hinted(kept[i], moving) for i in range(len(kept))]
    return Hinted(done + [hinted(found, moving) for found in changing])


def is_ready(endpoint: Endpoint) -> bool:
    return endpoint.conditions is not None and bool(endpoint.conditions.ready)


def takes_part(found: EndpointSlice, wanted: Mapping[str, Allocation], given: Counter[str]) -> bool:
    """Whether the hints of a slice may stay; they are counted then."""
    hints: Counter[str] = Counter()
    for endpoint in found.endpoints or ():
        zones = [zone.name for zone in (endpoint.hints and endpoint.hints.for_zones) or ()]
        if is_ready(endpoint) and (not zones or any(zone not in wanted for zone in zones)):
            return False
        hints.update(zones if is_ready(endpoint) else ())
    if any(number + given[zone] > wanted[zone].most for zone, number in hints.items()):
        return False
    given.update(hints)
    return True


@dataclass(slots=True)
class Moves:
    """How many endpoints each zone gives to others, and takes from them."""

    give: Counter[str] = field(default_factory=Counter)
    take: Counter[str] = field(default_factory=Counter)

    def zone_for(self, zone: str) -> str:
        """The zone that an endpoint in this one is to serve."""
        receiver = min((name for name, number in self.take.items() if number > 0), default="")
        if not receiver or self.give[zone] <= 0:
            return zone
        self.give[zone] -= 1
        self.take[receiver] -= 1
        return receiver


def moves(wanted: Mapping[str, Allocation], given: Counter[str]) -> Moves:
    surplus = {zone: given[zone] - one.desired for zone, one in wanted.items() if given[zone] > one.desired}
    lack = {zone: one.desired - given[zone] for zone, one in wanted.items() if given[zone] < one.desired}
    found = Moves()
    while surplus and lack:
        giver, receiver = (max(sorted(of), key=of.__getitem__) for of in (surplus, lack))
        most, least = max(surplus[giver], lack[receiver]), min(surplus[giver], lack[receiver])
        if most < 1.0 or least < 0.5:
            break
        found.give[giver] += 1
        found.take[receiver] += 1
        surplus[giver] -= 1
        lack[receiver] -= 1
    return found


def hinted(found: EndpointSlice, moving: Moves) -> EndpointSlice:
    def told() -> Iterator[Endpoint]:
        for endpoint in found.endpoints or ():
            zone = moving.zone_for(endpoint.zone or "") if is_ready(endpoint) else ""
            yield replace(endpoint, hints=EndpointHints(for_zones=(ForZone(name=zone),)) if zone else None)

    return replace(found, endpoints=tuple(told()) or None)


def without_hints(found: EndpointSlice) -> EndpointSlice:
    return replace(found, endpoints=tuple(replace(end, hints=None) for end in found.endpoints or ()) or None)


def has_hints(slices: Iterable[EndpointSlice]) -> bool:
    return any(endpoint.hints is not None for found in slices for endpoint in found.endpoints or ())
