"""What of devices is alpha upstream, and so off: it is left out of what is written, so that nobody relies on what nothing does.

What is stored already stays, should a later version of upstream have written it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from kybern.api.resource_v1 import Device, DeviceAttribute, DeviceClaim, DeviceRequest, ResourceSlice, ResourceSliceSpec
from kybern.registry.defaulting import part, parts
from kybern.registry.parts import changed

T = TypeVar("T")

LISTS = ("bools", "ints", "strings", "versions")


def left_out(rule: Callable[[T], T], new: T, old: T) -> T:
    """The rule, unless the old object is one that it would change."""
    return new if rule(old) is not old else rule(new)


def without(value: T, *names: str) -> T:
    """The value itself where it has none of these."""
    absent: dict[str, Any] = {name: None for name in names if getattr(value, name) is not None}
    return changed(value, **absent) if absent else value  # type: ignore[type-var]


def of_claim(claim: T) -> T:
    return part(claim, "spec", of_claim_spec)


def of_template(template: T) -> T:
    return part(template, "spec", of_claim)


def of_claim_spec(spec: Any) -> Any:
    return part(spec, "devices", of_devices)


def of_devices(devices: DeviceClaim) -> DeviceClaim:
    return parts(devices, "requests", of_request)


def of_request(request: DeviceRequest) -> DeviceRequest:
    return parts(part(request, "exactly", of_wanted), "first_available", of_wanted)


def of_wanted(wanted: T) -> T:
    return without(wanted, "derived_attributes")


def of_slice(found: ResourceSlice) -> ResourceSlice:
    return part(found, "spec", of_slice_spec)


def of_slice_spec(spec: ResourceSliceSpec) -> ResourceSliceSpec:
    return parts(without(spec, "partition_type_attribute", "skip_node_operations"), "devices", of_device)


def of_device(device: Device) -> Device:
    device = part(without(device, "node_allocatable_resources"), "attributes", of_attributes)
    return parts(device, "consumes_counters", lambda one: without(one, "compatibility_groups"))


def of_attributes(attributes: dict[str, DeviceAttribute]) -> dict[str, DeviceAttribute]:
    made = {name: without(attribute, *LISTS) for name, attribute in attributes.items()}
    return attributes if all(made[name] is attributes[name] for name in made) else made
