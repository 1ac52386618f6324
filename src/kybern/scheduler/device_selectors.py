"""Which devices an expression means: `device.attributes["gpu.example.com"].model == "a100"`.

What a device says nothing of has no names, so that `has()` can ask for it; an expression that fails, or costs too much,
says no.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from kybern.api.codec import decode, encode
from kybern.api.resource_v1 import Device
from kybern.cel import Budget, CompileFailed, CostLimitExceeded, EvaluationError
from kybern.cel.libraries.quantity import quantity
from kybern.cel.libraries.semver import semver
from kybern.registry.deviceselectors import COST_MAX, program
from kybern.scheduler.devices import split

ANSWERS_KEPT = 4096


def select(driver: str, device: Device, expressions: Iterable[str]) -> bool:
    """Devices that say the same of themselves are alike: of a thousand of one model one is looked at."""
    says = Device(
        name="", attributes=device.attributes, capacity=device.capacity,
        allow_multiple_allocations=device.allow_multiple_allocations,
    )  # fmt: skip
    return alike(driver, encode(says), tuple(expressions))


@lru_cache(ANSWERS_KEPT)
def alike(driver: str, says: bytes, expressions: tuple[str, ...]) -> bool:
    seen = seen_by_selectors(driver, decode(Device, says))
    try:
        return all(program(text).evaluate({"device": seen}, Budget(COST_MAX)) is True for text in expressions)
    except (CompileFailed, EvaluationError, CostLimitExceeded):
        return False


class Domains(dict[str, Any]):
    """Each domain is there; one that a device says nothing of is empty."""

    def __contains__(self, domain: object) -> bool:
        return True

    def __missing__(self, domain: str) -> dict[str, Any]:
        return {}


def seen_by_selectors(driver: str, device: Device) -> dict[str, Any]:
    attributes, capacity = Domains(), Domains()
    for name, attribute in (device.attributes or {}).items():
        domain, plain = split(name, driver)
        attributes.setdefault(domain, {})[plain] = plain_value(attribute)
    for name, amount in (device.capacity or {}).items():
        domain, plain = split(name, driver)
        capacity.setdefault(domain, {})[plain] = quantity(amount.value)
    several = bool(device.allow_multiple_allocations)
    return {"driver": driver, "attributes": attributes, "capacity": capacity, "allowMultipleAllocations": several}


def plain_value(attribute: Any) -> Any:
    for found in (attribute.string, attribute.int_, attribute.bool_):
        if found is not None:
            return found
    return semver(attribute.version) if attribute.version is not None else None
