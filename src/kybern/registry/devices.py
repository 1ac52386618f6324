"""resource.k8s.io: devices that nodes offer, classes of them, and claims for them."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required, too_many
from kybern.api.resource_v1 import (
    DeviceClaim,
    DeviceClass,
    DeviceRequest,
    DeviceTaintRule,
    ResourceClaim,
    ResourceClaimSpec,
    ResourceClaimTemplate,
    ResourceSlice,
)
from kybern.registry.checks import immutable, named
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

REQUESTS_MAX = 32
DEVICES_MAX = 128
ALLOCATION_MODES = ("All", "ExactCount")


def default_claim(claim: ResourceClaim) -> ResourceClaim:
    return part(claim, "spec", default_claim_spec)


def default_template(template: ResourceClaimTemplate) -> ResourceClaimTemplate:
    return part(template, "spec", lambda spec: part(spec, "spec", default_claim_spec))


def default_claim_spec(spec: ResourceClaimSpec) -> ResourceClaimSpec:
    return part(spec, "devices", lambda devices: parts(devices, "requests", default_request))


def default_request(request: DeviceRequest) -> DeviceRequest:
    return parts(part(request, "exactly", default_count), "first_available", default_count)


def default_count(request: Any) -> Any:
    request = filled(request, allocation_mode="ExactCount")
    return filled(request, count=1) if request.allocation_mode == "ExactCount" else request


def validate_claim(claim: ResourceClaim) -> Iterator[FieldError]:
    yield from validate_devices(claim.spec.devices, "spec.devices")


def validate_template(template: ResourceClaimTemplate) -> Iterator[FieldError]:
    yield from validate_devices(template.spec.spec.devices, "spec.spec.devices")


def validate_devices(devices: DeviceClaim | None, at: str) -> Iterator[FieldError]:
    if devices is None:
        return
    requests = devices.requests or ()
    if len(requests) > REQUESTS_MAX:
        yield too_many(f"{at}.requests", len(requests), REQUESTS_MAX)
    seen: set[str] = set()
    for index, request in enumerate(requests):
        here = f"{at}.requests[{index}]"
        yield from named(f"{here}.name", request.name, names.dns1123_label)
        if request.name in seen:
            yield duplicate(f"{here}.name", request.name)
        seen.add(request.name)
        if (request.exactly is None) == (not request.first_available):
            yield required(here, "exactly one of `exactly` or `firstAvailable` is required")
        elif request.exactly is not None:
            yield from validate_request(request.exactly, f"{here}.exactly")
        for place, alternative in enumerate(request.first_available or ()):
            yield from validate_request(alternative, f"{here}.firstAvailable[{place}]")


def validate_request(request: Any, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.deviceClassName", request.device_class_name, names.dns1123_subdomain)
    if request.allocation_mode not in ALLOCATION_MODES:
        yield not_supported(f"{at}.allocationMode", request.allocation_mode, ALLOCATION_MODES)
    elif request.allocation_mode == "ExactCount" and (request.count or 0) <= 0:
        yield invalid_value(f"{at}.count", request.count, "must be greater than zero")


def validate_claim_update(claim: ResourceClaim, old: ResourceClaim) -> Iterator[FieldError]:
    yield from immutable("spec", claim.spec, old.spec)


def state_cell(claim: ResourceClaim, now: float) -> str:
    words = []
    if claim.metadata.deletion_timestamp:
        words.append("deleted")
    if claim.status.allocation is None:
        words.append("pending")
    else:
        words.append("allocated")
        if claim.status.reserved_for:
            words.append("reserved")
    return ",".join(words)


RESOURCE_CLAIMS = Resource(
    kind=kind_of(ResourceClaim),
    default=default_claim,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_claim,
    validate_update=validate_claim_update,
    subresources=(status("all"),),
    columns=(NAME, Column("State", state_cell), AGE),
)


def validate_template_update(template: ResourceClaimTemplate, old: ResourceClaimTemplate) -> Iterator[FieldError]:
    yield from immutable("spec", template.spec, old.spec)


RESOURCE_CLAIM_TEMPLATES = Resource(
    kind=kind_of(ResourceClaimTemplate),
    default=default_template,
    validate=validate_template,
    validate_update=validate_template_update,
    columns=(NAME, AGE),
)


def validate_class(found: DeviceClass) -> Iterator[FieldError]:
    for index, selector in enumerate(found.spec.selectors or ()):
        if selector.cel is None or not selector.cel.expression:
            yield required(f"spec.selectors[{index}].cel")


DEVICE_CLASSES = Resource(
    kind=kind_of(DeviceClass), validate=validate_class, generation=spec_of, columns=(NAME, AGE)
)  # fmt: skip


def validate_slice(found: ResourceSlice) -> Iterator[FieldError]:
    spec = found.spec
    yield from named("spec.driver", spec.driver, names.dns1123_subdomain)
    if not spec.pool.name:
        yield required("spec.pool.name")
    if spec.pool.resource_slice_count <= 0:
        yield invalid_value("spec.pool.resourceSliceCount", spec.pool.resource_slice_count, "must be greater than zero")
    chosen = [
        bool(spec.node_name),
        spec.node_selector is not None,
        bool(spec.all_nodes),
        bool(spec.per_device_node_selection),
    ]
    if sum(chosen) != 1:
        why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
        yield required("spec", why)
    devices = spec.devices or ()
    if len(devices) > DEVICES_MAX:
        yield too_many("spec.devices", len(devices), DEVICES_MAX)
    seen: set[str] = set()
    for index, device in enumerate(devices):
        yield from named(f"spec.devices[{index}].name", device.name, names.dns1123_label)
        if device.name in seen:
            yield duplicate(f"spec.devices[{index}].name", device.name)
        seen.add(device.name)


def validate_slice_update(found: ResourceSlice, old: ResourceSlice) -> Iterator[FieldError]:
    yield from validate_slice(found)
    yield from immutable("spec.driver", found.spec.driver, old.spec.driver)
    yield from immutable("spec.pool.name", found.spec.pool.name, old.spec.pool.name)
    yield from immutable("spec.nodeName", found.spec.node_name, old.spec.node_name)


RESOURCE_SLICES = Resource(
    kind=kind_of(ResourceSlice),
    validate=validate_slice,
    validate_update=validate_slice_update,
    generation=spec_of,
    selectable={
        "spec.driver": lambda found: found.spec.driver,
        "spec.nodeName": lambda found: found.spec.node_name or "",
    },
    columns=(
        NAME,
        Column("Node", lambda found, now: found.spec.node_name or ""),
        Column("Driver", lambda found, now: found.spec.driver),
        Column("Pool", lambda found, now: found.spec.pool.name),
        AGE,
    ),
)


def validate_taint_rule(rule: DeviceTaintRule) -> Iterator[FieldError]:
    yield from named("spec.taint.key", rule.spec.taint.key, names.qualified_name)
    effects = ("NoExecute", "NoSchedule", "None")
    if not rule.spec.taint.effect:
        yield required("spec.taint.effect")
    elif rule.spec.taint.effect not in effects:
        yield not_supported("spec.taint.effect", rule.spec.taint.effect, effects)


DEVICE_TAINT_RULES = Resource(
    kind=kind_of(DeviceTaintRule),
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_taint_rule,
    generation=spec_of,
    subresources=(status("all"),),
    columns=(NAME, AGE),
)
