"""resourceslices: devices of one pool, as their driver offers them, on the nodes that the slice or each device names."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from kybern.api import names
from kybern.api.invalid import FieldError, invalid_value, required, too_long, too_many
from kybern.api.resource_v1 import (
    Counter,
    CounterSet,
    Device,
    DeviceAttribute,
    DeviceCounterConsumption,
    ResourceSlice,
    ResourceSliceSpec,
)
from kybern.registry.capacitypolicies import validate_capacity
from kybern.registry.checks import immutable, named, validate_each
from kybern.registry.columns import AGE, NAME
from kybern.registry.devicealpha import left_out, of_slice
from kybern.registry.devicenames import validate_pool_name, validate_qualified
from kybern.registry.devicetaints import validate_binding, validate_taint
from kybern.registry.drivers import validate_driver_name
from kybern.registry.parts import kind_of, spec_of
from kybern.registry.podspec.placement import validate_node_selector
from kybern.registry.resource import Column, Resource

DEVICES_MAX = 128
BUSY_DEVICES_MAX = 64  # with taints, or with counters that they share
COUNTER_SETS_MAX = 8
COUNTERS_MAX = 32
CONSUMPTIONS_MAX = 2
TAINTS_MAX = 16
PARTS_MAX = 32
VALUES_MAX = 48
VALUE_BYTES_MAX = 64
PLACES = ("nodeName", "nodeSelector", "allNodes")
OF_SLICE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
OF_DEVICE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
NOT_OF_DEVICE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
NUMBER = "(?:0|[1-9][0-9]*)"
PRERELEASE = f"(?:{NUMBER}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
BUILD = "[0-9a-zA-Z-]+"
VERSION = re.compile(rf"{NUMBER}\.{NUMBER}\.{NUMBER}(?:-{PRERELEASE}(?:\.{PRERELEASE})*)?(?:\+{BUILD}(?:\.{BUILD})*)?")
ONE_VALUE = "exactly one value must be specified"
NOT_FALSE = "must be either unset or set to true"


def validate(found: ResourceSlice) -> Iterator[FieldError]:
    yield from validate_spec(found.spec, {})


def validate_update(found: ResourceSlice, old: ResourceSlice) -> Iterator[FieldError]:
    yield from validate_spec(found.spec, {device.name: device for device in old.spec.devices or ()})
    yield from immutable("spec.pool.name", found.spec.pool.name, old.spec.pool.name)
    yield from immutable("spec.driver", found.spec.driver, old.spec.driver)
    yield from immutable("spec.nodeName", found.spec.node_name, old.spec.node_name)


def validate_spec(spec: ResourceSliceSpec, before: Mapping[str, Device]) -> Iterator[FieldError]:
    """`before`: the devices as they were; what they had then need not be right by today's rules."""
    yield from validate_driver_name(spec.driver, "spec.driver")
    yield from validate_pool_name(spec.pool.name, "spec.pool.name")
    if spec.pool.resource_slice_count <= 0:
        yield invalid_value("spec.pool.resourceSliceCount", spec.pool.resource_slice_count, "must be greater than zero")
    if spec.pool.generation < 0:
        yield invalid_value("spec.pool.generation", spec.pool.generation, "must be greater than or equal to zero")
    yield from validate_place(spec, "spec")
    devices, sets = spec.devices or (), spec.shared_counters or ()
    if spec.shared_counters is not None and spec.devices is not None:
        yield invalid_value("spec", "", "only one of `sharedCounters` or `devices` is allowed")
    most = BUSY_DEVICES_MAX if any(one.taints or one.consumes_counters for one in devices) else DEVICES_MAX
    if len(devices) > most:
        yield too_many("spec.devices", len(devices), most)
    else:
        each = bool(spec.per_device_node_selection)
        yield from validate_each("spec.devices", devices, lambda one: one.name,
                                 lambda one, at: validate_device(one, before.get(one.name), each, at))  # fmt: skip
    if len(sets) > COUNTER_SETS_MAX:
        yield too_many("spec.sharedCounters", len(sets), COUNTER_SETS_MAX)
    else:
        yield from validate_each("spec.sharedCounters", sets, lambda one: one.name, validate_counter_set)


def validate_place(found: ResourceSliceSpec | Device, at: str) -> Iterator[FieldError]:
    """On which nodes: told in one way. A device may not leave it to others."""
    of_slice = isinstance(found, ResourceSliceSpec)
    told = []
    if found.node_name is not None:
        if found.node_name:
            told.append("`nodeName`")
            yield from named(f"{at}.nodeName", found.node_name, names.dns1123_subdomain)
        else:
            why = "must be either unset or set to a non-empty string" if of_slice else "must not be empty"
            yield invalid_value(f"{at}.nodeName", "", why)
    if found.node_selector is not None:
        told.append("`nodeSelector`")
        yield from validate_node_selector(found.node_selector, f"{at}.nodeSelector")
        terms = found.node_selector.node_selector_terms
        if of_slice and len(terms) != 1:
            yield invalid_value(
                f"{at}.nodeSelector.nodeSelectorTerms", terms, "must have exactly one node selector term"
            )
    flags = [("allNodes", found.all_nodes)]
    if isinstance(found, ResourceSliceSpec):
        flags.append(("perDeviceNodeSelection", found.per_device_node_selection))
    for field, value in flags:
        if value:
            told.append(f"`{field}`")
        elif value is not None:
            yield invalid_value(f"{at}.{field}", value, NOT_FALSE)
    why = OF_SLICE if of_slice else OF_DEVICE
    if not told:
        yield required(at, why)
    elif len(told) > 1:
        more = ", but multiple fields are set" if of_slice else ""
        yield invalid_value(at, f"{{{', '.join(told)}}}", f"{why}{more}")


def validate_device(device: Device, old: Device | None, each_tells: bool, at: str) -> Iterator[FieldError]:
    for wrong in names.dns1123_label(device.name):
        yield invalid_value(f"{at}.name", device.name, wrong)
    attributes, capacity = device.attributes or {}, device.capacity or {}
    if len(attributes) + len(capacity) > PARTS_MAX:
        why = f"the total number of attributes and capacities must not exceed {PARTS_MAX}"
        yield invalid_value(at, len(attributes) + len(capacity), why)
    values = sum(map(value_count, attributes.values()))
    if values > VALUES_MAX:
        yield invalid_value(at, values, f"the total number of attribute values must not exceed {VALUES_MAX}")
    for name, attribute in attributes.items():
        yield from validate_qualified(name, f"{at}.attributes")
        yield from validate_attribute(attribute, f"{at}.attributes[{name}]")
    if old is None or old.capacity != device.capacity:
        for name, one in capacity.items():
            yield from validate_qualified(name, f"{at}.capacity")
            yield from validate_capacity(one, bool(device.allow_multiple_allocations), f"{at}.capacity[{name}]")
    taints = device.taints or ()
    if (old is None or old.taints != device.taints) and len(taints) > TAINTS_MAX:
        yield too_many(f"{at}.taints", len(taints), TAINTS_MAX)
    elif old is None or old.taints != device.taints:
        for index, taint in enumerate(taints):
            yield from validate_taint(taint, f"{at}.taints[{index}]")
    consumed = device.consumes_counters or ()
    if len(consumed) > CONSUMPTIONS_MAX:
        yield too_many(f"{at}.consumesCounters", len(consumed), CONSUMPTIONS_MAX)
    else:
        yield from validate_each(f"{at}.consumesCounters", consumed, lambda one: one.counter_set, validate_consumption)
    if each_tells:
        yield from validate_place(device, at)
    elif device.node_name is not None or device.node_selector is not None or device.all_nodes is not None:
        yield invalid_value(at, None, NOT_OF_DEVICE)
    yield from validate_binding(device.binding_conditions, device.binding_failure_conditions, at)


def value_count(attribute: DeviceAttribute) -> int:
    lists = (attribute.bools, attribute.ints, attribute.strings, attribute.versions)
    return sum(len(one or ()) for one in lists) or 1


def validate_attribute(attribute: DeviceAttribute, at: str) -> Iterator[FieldError]:
    given = [field for field in DeviceAttribute.__struct_fields__ if getattr(attribute, field) is not None]
    for field in given:
        value = getattr(attribute, field)
        here, several = f"{at}.{field.rstrip('_')}", isinstance(value, tuple)
        if several and not value:
            yield invalid_value(here, value, "must not be empty if specified")
        for index, one in enumerate(value if several else (value,)):
            yield from validate_value(field, one, f"{here}[{index}]" if several else here)
    if not given:
        yield invalid_value(at, "", ONE_VALUE)
    elif len(given) > 1:
        yield invalid_value(at, attribute, ONE_VALUE)


def validate_value(field: str, value: Any, at: str) -> Iterator[FieldError]:
    if field.startswith("version") and not VERSION.fullmatch(value):
        yield invalid_value(at, value, "must be a string compatible with semver.org spec 2.0.0")
    if isinstance(value, str) and len(value.encode()) > VALUE_BYTES_MAX:
        yield too_long(at, "", VALUE_BYTES_MAX)


def validate_counter_set(found: CounterSet, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.name", found.name, names.dns1123_label)
    yield from validate_counters(found.counters, f"{at}.counters")


def validate_consumption(found: DeviceCounterConsumption, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.counterSet", found.counter_set, names.dns1123_label)
    yield from validate_counters(found.counters, f"{at}.counters")


def validate_counters(counters: Mapping[str, Counter], at: str) -> Iterator[FieldError]:
    if not counters:
        yield required(at)
    elif len(counters) > COUNTERS_MAX:
        yield too_many(at, len(counters), COUNTERS_MAX)
    else:
        for name in counters:
            for wrong in names.dns1123_label(name):
                yield invalid_value(at, name, wrong)


RESOURCE_SLICES = Resource(
    kind=kind_of(ResourceSlice),
    on_create=of_slice,
    on_update=partial(left_out, of_slice),
    validate=validate,
    validate_update=validate_update,
    generation=spec_of,
    not_selectable="field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {}",
    selectable={
        "spec.driver": lambda found: found.spec.driver,
        "spec.nodeName": lambda found: found.spec.node_name or "",
    },
    columns=(
        NAME,
        Column("Node", lambda found, now: found.spec.node_name or "", of="resource_v1.ResourceSliceSpec.nodeName"),
        Column("Driver", lambda found, now: found.spec.driver, of="resource_v1.ResourceSliceSpec.driver"),
        Column("Pool", lambda found, now: found.spec.pool.name, of="resource_v1.ResourcePool.name"),
        AGE,
    ),
)
