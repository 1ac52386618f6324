"""Devices: what drivers offer by their ResourceSlices, and which of them a node's claims could be given.

- `offered` is what a node has: of each pool only the newest generation, and only once all its slices are there.
- `Allocator` tries devices for one request after the other and goes back where a later one finds none, within a bound.
- A device is given once, to one claim, but for who looks after it (admin access), and devices that say that they can be
  shared (`device_capacity`); devices that are parts of one another share counters, and no counter is given out twice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from kybern.api.core_v1 import Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kybern.api.quantity import value
from kybern.api.resource_v1 import (
    AllocationResult,
    Device,
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceClass,
    DeviceConstraint,
    DeviceRequest,
    DeviceRequestAllocationResult,
    DeviceSubRequest,
    DeviceToleration,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceSlice,
)
from kybern.scheduler.claims import Lookup, term_holds
from kybern.scheduler.device_capacity import NOTHING_TAKEN, Taken, has_room, needed, sum_of, taken_by, told

STEPS_MAX = 20_000  # of trying, for one pod on one node: then it does not fit there
KEEPS_OUT = ("NoSchedule", "NoExecute")

Id = tuple[str, str, str]
"""Driver, pool, device."""


@dataclass(frozen=True, slots=True)
class Offered:
    id: Id
    device: Device
    slice: ResourceSlice
    counters: Mapping[str, Mapping[str, int]]
    """The pool's, by set and name."""


class Inventory:
    """What all drivers offer, and what is taken of it, at one moment."""

    def __init__(self, view: Lookup, assumed: Mapping[str, AllocationResult]) -> None:
        self.view = view
        given = given_out(view.list(ResourceClaim), assumed)
        self.taken = {id_of(one) for one in given if not one.admin_access}
        shares: dict[Id, list[DeviceRequestAllocationResult]] = defaultdict(list)
        for one in given:
            if one.consumed_capacity is not None:
                shares[id_of(one)].append(one)
        self.shared = {device: taken_by(parts) for device, parts in shares.items()}
        self.of_node: dict[str, list[ResourceSlice]] = defaultdict(list)
        self.of_several: list[ResourceSlice] = []
        for part in view.list(ResourceSlice):
            (self.of_node[part.spec.node_name] if part.spec.node_name else self.of_several).append(part)

    def allocate(self, claims: Sequence[ResourceClaim], node: Node) -> "Given | None":
        slices = [*self.of_node.get(node.metadata.name or "", ()), *self.of_several]
        return Allocator(offered(node, slices), set(self.taken), self.view, self.shared).allocate(claims)


class NoSuch(Exception):
    """A claim asks for something that does not exist."""


def offered(node: Node, slices: Iterable[ResourceSlice]) -> list[Offered]:
    pools: dict[tuple[str, str], list[ResourceSlice]] = defaultdict(list)
    for one in slices:
        pools[one.spec.driver, one.spec.pool.name].append(one)
    found: list[Offered] = []
    for (driver, pool), parts in pools.items():
        newest = max(part.spec.pool.generation for part in parts)
        current = [part for part in parts if part.spec.pool.generation == newest]
        if len(current) < current[0].spec.pool.resource_slice_count:
            continue
        counters = {
            one.name: {name: value(counter.value) for name, counter in one.counters.items()}
            for part in current
            for one in part.spec.shared_counters or ()
        }
        found += [
            Offered((driver, pool, device.name), device, part, counters)
            for part in current
            for device in part.spec.devices or ()
            if is_for(node, device if part.spec.per_device_node_selection else part.spec)
        ]
    return sorted(found, key=lambda one: one.id)


def is_for(node: Node, where: Any) -> bool:
    """`where`: a slice's spec, or a device."""
    if where.node_name:
        return bool(where.node_name == node.metadata.name)
    if where.node_selector is not None:
        return any(term_holds(term, node) for term in where.node_selector.node_selector_terms)
    return bool(where.all_nodes)


# Selecting


def selected(one: Offered, expressions: Iterable[str]) -> bool:
    from kybern.scheduler.device_selectors import select  # with the engine, which most clusters never ask

    texts = tuple(expressions)
    return not texts or select(one.id[0], one.device, texts)


def tolerated(device: Device, tolerations: Sequence[DeviceToleration]) -> bool:
    return all(
        any(
            (t.effect or taint.effect) == taint.effect
            and (t.key or taint.key) == taint.key
            and (t.operator == "Exists" or (t.value or "") == (taint.value or ""))
            for t in tolerations
        )
        for taint in device.taints or ()
        if taint.effect in KEEPS_OUT
    )


# Allocating


@dataclass(frozen=True, slots=True)
class Part:
    """One request of one claim, in one of its forms."""

    claim: ResourceClaim
    name: str
    """`gpu`, or `gpu/large` for one of several that would do."""
    asked: ExactDeviceRequest | DeviceSubRequest
    of_class: DeviceClass

    @property
    def admin(self) -> bool:
        return bool(getattr(self.asked, "admin_access", None))

    @property
    def count(self) -> int:
        """0: all there are."""
        return 0 if self.asked.allocation_mode == "All" else self.asked.count or 1

    def matches(self, one: Offered) -> bool:
        if needed(one.device, self.asked.capacity) is None:
            return False
        selectors = (*(self.of_class.spec.selectors or ()), *(self.asked.selectors or ()))
        return tolerated(one.device, self.asked.tolerations or ()) and selected(
            one, [selector.cel.expression for selector in selectors if selector.cel is not None]
        )


Given = list[tuple[Part, Offered]]


@dataclass(slots=True)
class Allocator:
    here: Sequence[Offered]
    taken: set[Id]
    view: Lookup
    shared: Mapping[Id, Taken] = field(default_factory=dict)
    """What others take of devices that are shared."""
    given: Given = field(default_factory=list)
    steps: int = 0

    def allocate(self, claims: Sequence[ResourceClaim]) -> Given | None:
        """For all claims together; None where the devices do not suffice. NoSuch where a class is missing."""
        requests = [
            (claim, request)
            for claim in claims
            for request in (claim.spec.devices.requests if claim.spec.devices else None) or ()
        ]
        forms = [list(forms_of(claim, request, self.view)) for claim, request in requests]
        return list(self.given) if self._from(forms, 0) else None

    def _from(self, forms: Sequence[Sequence[Part]], at: int) -> bool:
        if at == len(forms):
            return True
        for part in forms[at]:
            matching = [one for one in self.here if part.matches(one)]
            count = part.count or len(matching)
            enough = count <= len(matching) or (part.count and any(map(can_be_shared, matching)))
            if matching and enough and self._choose(part, matching, 0, count, forms, at):
                return True
        return False

    def _choose(
        self, part: Part, matching: Sequence[Offered], first: int, count: int, forms: Sequence[Sequence[Part]], at: int
    ) -> bool:
        if count == 0:
            return self._from(forms, at + 1)
        again = part.count and any(map(can_be_shared, matching))
        for place in range(first, len(matching) if again else len(matching) - count + 1):
            self.steps += 1
            if self.steps > STEPS_MAX:
                return False
            one = matching[place]
            if self._may_have(part, one):
                new = set() if part.admin else {one.id} - self.taken
                self.given.append((part, one))
                self.taken |= new
                if self._choose(part, matching, place + (not (again and can_be_shared(one))), count - 1, forms, at):
                    return True
                self.given.pop()
                self.taken -= new
            if part.count == 0:
                return False  # all of them, and this one cannot be had
        return False

    def _may_have(self, part: Part, one: Offered) -> bool:
        if not part.admin and not (self._has_share(part, one) and self._counters_suffice(one)):
            return False
        constraints = (part.claim.spec.devices.constraints if part.claim.spec.devices else None) or ()
        return all(self._holds(constraint, part, one) for constraint in constraints)

    def _has_share(self, part: Part, one: Offered) -> bool:
        if not can_be_shared(one):
            return one.id not in self.taken
        mine = (needed(one.device, p.asked.capacity) or {} for p, other in self.given if other is one and not p.admin)
        taken = sum_of((self.shared.get(one.id, NOTHING_TAKEN), *mine))
        return has_room(one.device, taken, needed(one.device, part.asked.capacity) or {})

    def _counters_suffice(self, one: Offered) -> bool:
        used: Counter[tuple[str, str]] = Counter()
        for other in self.here:
            if other.id[:2] == one.id[:2] and (other.id in self.taken or other.id == one.id):
                for use in other.device.consumes_counters or ():
                    for name, counter in use.counters.items():
                        used[use.counter_set, name] += value(counter.value)
        return all(
            used[use.counter_set, name] <= one.counters.get(use.counter_set, {}).get(name, 0)
            for use in one.device.consumes_counters or ()
            for name in use.counters
        )

    def _holds(self, constraint: DeviceConstraint, part: Part, one: Offered) -> bool:
        def concerns(other: Part) -> bool:
            names = constraint.requests or ()
            return other.claim is part.claim and (
                not names or other.name in names or other.name.partition("/")[0] in names
            )

        if not concerns(part):
            return True
        others = [device for other, device in self.given if concerns(other)]
        if constraint.match_attribute is not None:
            mine = attribute_of(one, constraint.match_attribute)
            return mine is not None and all(attribute_of(o, constraint.match_attribute) == mine for o in others)
        if constraint.distinct_attribute is not None:
            mine = attribute_of(one, constraint.distinct_attribute)
            return mine is not None and all(attribute_of(o, constraint.distinct_attribute) != mine for o in others)
        return True


def can_be_shared(one: Offered) -> bool:
    return bool(one.device.allow_multiple_allocations)


def split(name: str, driver: str) -> tuple[str, str]:
    """A name without a domain is the driver's own."""
    domain, slash, plain = name.rpartition("/")
    return (domain, plain) if slash else (driver, name)


def attribute_of(one: Offered, name: str) -> Any:
    from kybern.scheduler.device_selectors import plain_value

    domain, plain = split(name, one.id[0])
    for key, attribute in (one.device.attributes or {}).items():
        if split(key, one.id[0]) == (domain, plain):
            return plain_value(attribute)
    return None


def forms_of(claim: ResourceClaim, request: DeviceRequest, view: Lookup) -> Iterator[Part]:
    alternatives: list[tuple[str, ExactDeviceRequest | DeviceSubRequest]] = (
        [(request.name, request.exactly)]
        if request.exactly is not None
        else [(f"{request.name}/{sub.name}", sub) for sub in request.first_available or ()]
    )
    for name, asked in alternatives:
        of_class = view.get(DeviceClass, asked.device_class_name)
        if of_class is None:
            raise NoSuch(f"request {name}: device class {asked.device_class_name} does not exist")
        yield Part(claim, name, asked, of_class)


def given_out(
    claims: Iterable[ResourceClaim], assumed: Mapping[str, AllocationResult]
) -> list[DeviceRequestAllocationResult]:
    """What was given, or is about to be; each claim once."""
    written = {
        claim.metadata.uid or "": claim.status.allocation for claim in claims if claim.status.allocation is not None
    }
    return [
        result
        for allocation in {**assumed, **written}.values()
        for result in (allocation.devices.results if allocation.devices else None) or ()
    ]


def id_of(result: DeviceRequestAllocationResult) -> Id:
    return result.driver, result.pool, result.device


def share_of(claim: ResourceClaim, number: int, part: Part, one: Offered) -> dict[str, Any]:
    """Which part of a shared device this is: told apart by an id, the same however often it is worked out."""
    if not can_be_shared(one):
        return {}
    identity = uuid5(NAMESPACE_OID, f"{claim.metadata.uid}/{part.name}/{number}/{'/'.join(one.id)}")
    taken = {} if part.admin else needed(one.device, part.asked.capacity) or {}
    return {"share_id": str(identity), "consumed_capacity": told(one.device, taken)}


def result_of(claim: ResourceClaim, given: Given, node: str) -> AllocationResult:
    """What is written into the claim's status. It can be used where its devices are."""
    mine = [(part, one) for part, one in given if part.claim is claim]
    results = tuple(
        DeviceRequestAllocationResult(
            request=part.name, driver=one.id[0], pool=one.id[1], device=one.id[2], admin_access=part.admin or None,
            tolerations=part.asked.tolerations, **share_of(claim, number, part, one),
        )
        for number, (part, one) in enumerate(mine)
    )  # fmt: skip
    config = [
        DeviceAllocationConfiguration(source="FromClass", requests=(part.name,), opaque=one.opaque)
        for part in {part.name: part for part, _ in mine}.values()
        for one in part.of_class.spec.config or ()
    ]
    config += [
        DeviceAllocationConfiguration(source="FromClaim", requests=one.requests, opaque=one.opaque)
        for one in (claim.spec.devices.config if claim.spec.devices else None) or ()
    ]
    local = any(one.slice.spec.node_name or one.device.node_name for _, one in mine)
    field_ = NodeSelectorRequirement(key="metadata.name", operator="In", values=(node,))
    selector = NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(field_,)),)) if local else None
    return AllocationResult(
        devices=DeviceAllocationResult(results=results, config=tuple(config) or None), node_selector=selector
    )
