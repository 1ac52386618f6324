"""How much of a device's capacity one claim may ask for, where several share the device: some amounts, or a range in steps."""

from collections.abc import Iterator
from itertools import pairwise

from kybern.api import quantity
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, required, too_many
from kybern.api.resource_v1 import CapacityRequestPolicy, CapacityRequestPolicyRange, DeviceCapacity
from kybern.api.shape import Quantity
from kybern.registry.checks import repeated

VALUES_MAX = 10
MILLI = 10**6  # billionths
ONE_POLICY = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'


def nano(amount: Quantity) -> int:
    return quantity.parse(amount).nano


def validate_capacity(capacity: DeviceCapacity, shared: bool, at: str) -> Iterator[FieldError]:
    """`shared`: whether several claims may have a part of it."""
    policy, here = capacity.request_policy, f"{at}.requestPolicy"
    if policy is None:
        return
    if not shared:
        yield forbidden_field(here, "allowMultipleAllocations must be true")
    elif policy.valid_values and policy.valid_range is not None:
        yield forbidden_field(here, ONE_POLICY)
    elif policy.valid_values:
        yield from validate_values(policy, capacity.value, here)
    elif policy.valid_range is not None:
        if policy.default is None:
            yield required(f"{here}.default", "required when validRange is defined")
        else:
            yield from validate_range(policy.default, policy.valid_range, capacity.value, f"{here}.validRange")


def validate_values(policy: CapacityRequestPolicy, most: Quantity, at: str) -> Iterator[FieldError]:
    if policy.default is None:
        yield required(f"{at}.default", "required when validValues is defined")
        return
    here, values = f"{at}.validValues", policy.valid_values or ()
    amounts = [nano(value) for value in values]
    for index, (before, after) in enumerate(pairwise(amounts), 1):
        if before > after:
            yield invalid_value(f"{here}[{index}]", values[index], "values must be sorted in ascending order")
    if len(values) > VALUES_MAX:
        yield too_many(here, len(values), VALUES_MAX)
        return
    again = repeated(amounts)
    for index, value in enumerate(values):
        if amounts[index] > nano(most):
            yield invalid_value(f"{here}[{index}]", value, f"option is larger than capacity value: {most}")
        if index in again:
            yield duplicate(f"{here}[{index}]", value)
    if nano(policy.default) not in amounts:
        yield invalid_value(here, policy.default, "default value is not valid according to the requestPolicy")


def validate_range(
    default: Quantity, found: CapacityRequestPolicyRange, most: Quantity, at: str
) -> Iterator[FieldError]:  # fmt: skip
    low, high = found.min, found.max
    if nano(low) > nano(most):
        yield invalid_value(f"{at}.min", low, f"min is larger than capacity value: {most}")
    if nano(default) < nano(low):
        yield invalid_value(f"{at}.default", default, f"default is less than min: {low}")
    if high is not None:
        if nano(low) > nano(high):
            yield invalid_value(f"{at}.max", low, f"min is larger than max: {high}")
        if nano(high) > nano(most):
            yield invalid_value(f"{at}.max", high, f"max is larger than capacity value: {most}")
        if nano(default) > nano(high):
            yield invalid_value(f"{at}.default", default, f"default is more than max: {high}")
    amounts = {"default": default, "min": low, "max": high, "step": found.step}
    too_fine = [name for name, amount in amounts.items() if amount is not None and nano(amount) % MILLI]
    for name in too_fine:
        yield invalid_value(f"{at}.{name}", amounts[name], "value cannot be represented as a milli value")
    if found.step is not None and not too_fine:
        yield from validate_step(default, found, found.step, most, at)


def validate_step(
    default: Quantity, found: CapacityRequestPolicyRange, step: Quantity, most: Quantity, at: str
) -> Iterator[FieldError]:
    here = f"{at}.step"
    if nano(step) <= 0:
        yield invalid_value(here, step, "must be greater than zero")
        return
    if nano(found.min) + nano(step) > nano(most):
        added = quantity.add(found.min, step)
        yield invalid_value(here, step, f"one step {added} is larger than capacity value: {most}")
    for value in (default, found.max):
        if value is not None and (nano(value) - nano(found.min)) % nano(step):
            why = f"value is not a multiple of a given step ({step}) from ({found.min})"
            yield invalid_value(here, value, why)
