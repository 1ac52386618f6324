"""Which of the devices that a node offers its claims could be given.

- `Allocator` tries devices for one request after the other and goes back where a later one finds none, within a bound.
- A device is given once, to one claim, but for who looks after it (admin access), and devices that say that they can be
  shared (`device_capacity`); devices that are parts of one another share counters, and no counter is given out twice.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kybern.api.quantity import value
from kybern.api.resource_v1 import (
    DeviceClass,
    DeviceConstraint,
    DeviceRequest,
    DeviceSubRequest,
    DeviceTaint,
    DeviceToleration,
    ExactDeviceRequest,
    ResourceClaim,
)
from kybern.reconcile.device_taints import tolerating
from kybern.scheduler.claims import Lookup
from kybern.scheduler.device_capacity import NOTHING_TAKEN, Taken, has_room, needed, sum_of
from kybern.scheduler.devices import Id, Offered, attribute_of, can_be_shared

STEPS_MAX = 20_000  # of trying, for one pod on one node: then it does not fit there
KEEPS_OUT = ("NoSchedule", "NoExecute")


class NoSuch(Exception):
    """A claim asks for something that does not exist."""


def selected(one: Offered, expressions: Iterable[str]) -> bool:
    from kybern.scheduler.device_selectors import select  # with the engine, which most clusters never ask

    texts = tuple(expressions)
    return not texts or select(one.id[0], one.device, texts)


def tolerated(taints: Iterable[DeviceTaint], tolerations: Sequence[DeviceToleration]) -> bool:
    return all(tolerating(tolerations, taint) for taint in taints if taint.effect in KEEPS_OUT)


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
        return tolerated(one.taints, self.asked.tolerations or ()) and selected(
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
