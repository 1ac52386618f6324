"""Consumable capacity: devices that several claims share, each with as much of their capacity as it asked for.

A request takes what it says, rounded up to what the device's policy has; where it says nothing, the policy's default, or
all there is. What a device can do without being shared is only compared.
"""

from collections.abc import Iterable, Mapping, Sequence

from kybern.api.quantity import from_amount, parse
from kybern.api.resource_v1 import (
    CapacityRequestPolicy,
    CapacityRequestPolicyRange,
    CapacityRequirements,
    Device,
    DeviceCapacity,
    DeviceRequestAllocationResult,
)
from kybern.api.shape import Quantity

Taken = Mapping[str, int]
"""Of each capacity, in thousand-millionths."""
NOTHING_TAKEN: Taken = {}


def needed(device: Device, asked: CapacityRequirements | None) -> Taken | None:
    """What a request takes of a device; None where the device has no such capacity, or gives no such amount."""
    there, wanted = device.capacity or {}, (asked.requests if asked else None) or {}
    if not wanted.keys() <= there.keys():
        return None
    found = {}
    for name, capacity in there.items():
        amount = rounded(wanted.get(name), capacity)
        if amount is None or amount > nano(capacity.value):
            return None
        found[name] = amount
    return found


def rounded(asked: Quantity | None, capacity: DeviceCapacity) -> int | None:
    policy = capacity.request_policy
    if asked is None:
        return nano(policy.default if policy is not None and policy.default is not None else capacity.value)
    if policy is None:
        return nano(asked)
    return by_policy(nano(asked), policy)


def by_policy(asked: int, policy: CapacityRequestPolicy) -> int | None:
    if policy.valid_range is not None:
        return in_range(asked, policy.valid_range)
    if policy.valid_values:
        return min((amount for one in policy.valid_values if (amount := nano(one)) >= asked), default=None)
    return asked


def in_range(asked: int, allowed: CapacityRequestPolicyRange) -> int | None:
    """The least, and so many steps above it as are needed."""
    least, step = nano(allowed.min), nano(allowed.step) if allowed.step is not None else 0
    above = max(asked - least, 0)
    amount = least + (-(-above // step) * step if step > 0 else above)
    return None if allowed.max is not None and amount > nano(allowed.max) else amount


def has_room(device: Device, taken: Taken, more: Taken) -> bool:
    return all(
        taken.get(name, 0) + more.get(name, 0) <= nano(capacity.value)
        for name, capacity in (device.capacity or {}).items()
    )


def sum_of(parts: Iterable[Taken]) -> Taken:
    total: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def taken_by(results: Sequence[DeviceRequestAllocationResult]) -> Taken:
    return sum_of({name: nano(amount) for name, amount in (one.consumed_capacity or {}).items()} for one in results)


def told(device: Device, taken: Taken) -> Mapping[str, Quantity]:
    """As a claim's status has it, in the manner of the device's own figures."""
    there = device.capacity or {}
    return {name: from_amount(amount, parse(there[name].value).family) for name, amount in taken.items()}


def nano(amount: Quantity) -> int:
    return parse(amount).nano
