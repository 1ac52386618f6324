"""What all drivers offer, and what is taken of it, at one moment."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from kybern.api.core_v1 import Node
from kybern.api.resource_v1 import (
    AllocationResult,
    DeviceRequestAllocationResult,
    DeviceTaintRule,
    ResourceClaim,
    ResourceSlice,
)
from kybern.scheduler.claims import Lookup
from kybern.scheduler.device_allocation import Allocator, Given
from kybern.scheduler.device_capacity import taken_by
from kybern.scheduler.devices import Id, id_of, offered


class Inventory:
    def __init__(self, view: Lookup, assumed: Mapping[str, AllocationResult]) -> None:
        self.view = view
        given = given_out(view.list(ResourceClaim), assumed)
        self.taken = {id_of(one) for one in given if not one.admin_access}
        shares: dict[Id, list[DeviceRequestAllocationResult]] = defaultdict(list)
        for one in given:
            if one.consumed_capacity is not None:
                shares[id_of(one)].append(one)
        self.shared = {device: taken_by(parts) for device, parts in shares.items()}
        self.rules = view.list(DeviceTaintRule)
        self.of_node: dict[str, list[ResourceSlice]] = defaultdict(list)
        self.of_several: list[ResourceSlice] = []
        for part in view.list(ResourceSlice):
            (self.of_node[part.spec.node_name] if part.spec.node_name else self.of_several).append(part)

    def allocate(self, claims: Sequence[ResourceClaim], node: Node) -> Given | None:
        slices = [*self.of_node.get(node.metadata.name or "", ()), *self.of_several]
        return Allocator(offered(node, slices, self.rules), set(self.taken), self.view, self.shared).allocate(claims)


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
