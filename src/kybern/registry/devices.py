"""resourceclaims, their templates, and deviceclasses: which devices a pod wants, and what makes one of a class."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from kybern.api import names
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required, too_long, too_many
from kybern.api.resource_v1 import (
    DeviceClaim,
    DeviceClass,
    DeviceConstraint,
    DeviceRequest,
    DeviceSelector,
    DeviceSubRequest,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimSpec,
    ResourceClaimTemplate,
)
from kybern.registry.checks import at_most, immutable, named, validate_each
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.devicealpha import left_out, of_claim, of_template
from kybern.registry.devicenames import request_names, validate_fully_qualified, validate_opaque, validate_refs
from kybern.registry.devicestatus import validate_status
from kybern.registry.devicetaints import validate_tolerations
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.podspec.amounts import is_extended
from kybern.registry.resource import Column, Resource, is_large

REQUESTS_MAX = 32
SELECTORS_LENGTH_MAX = 64 * 1024
"""Of one claim: whoever may make one has them compiled here and by the scheduler, some ten microseconds a character."""
TOLERATIONS_MAX = 16
ALTERNATIVES_MAX = 8
EXPRESSION_BYTES_MAX = 10 * 1024
ONE_FORM = "exactly one of `exactly` or `firstAvailable` is required"
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
    requests, here = devices.requests or (), f"{at}.requests"
    if sum(map(selectors_length, requests)) > SELECTORS_LENGTH_MAX:
        yield forbidden_field(here, f"all selectors together may have at most {SELECTORS_LENGTH_MAX} characters")
    elif len(requests) > REQUESTS_MAX:
        yield too_many(here, len(requests), REQUESTS_MAX)
    else:
        yield from validate_each(here, requests, lambda one: one.name, validate_request)
    known = request_names(requests)
    constraints, configs = devices.constraints or (), devices.config or ()
    yield from at_most(f"{at}.constraints", constraints, REQUESTS_MAX)
    yield from at_most(f"{at}.config", configs, REQUESTS_MAX)
    for index, constraint in enumerate(constraints[:REQUESTS_MAX]):
        yield from validate_refs(constraint.requests or (), known, f"{at}.constraints[{index}].requests")
        yield from validate_constraint(constraint, f"{at}.constraints[{index}]")
    for index, config in enumerate(configs[:REQUESTS_MAX]):
        yield from validate_refs(config.requests or (), known, f"{at}.config[{index}].requests")
        yield from validate_opaque(config.opaque, f"{at}.config[{index}].opaque")


def selectors_length(request: DeviceRequest) -> int:
    wanted = (request.exactly, *(request.first_available or ()))
    selectors = (selector for one in wanted if one is not None for selector in one.selectors or ())
    return sum(len(selector.cel.expression) for selector in selectors if selector.cel is not None)


def validate_request(request: DeviceRequest, at: str) -> Iterator[FieldError]:
    """One device, or the first that can be had of several."""
    yield from named(f"{at}.name", request.name, names.dns1123_label)
    alternatives, here = request.first_available or (), f"{at}.firstAvailable"
    if request.exactly is None and not alternatives:
        yield required(at, ONE_FORM)
    elif request.exactly is not None and alternatives:
        yield invalid_value(at, None, f"{ONE_FORM}, but multiple fields are set")
    elif request.exactly is not None:
        yield from validate_wanted(request.exactly, f"{at}.exactly")
    elif len(alternatives) > ALTERNATIVES_MAX:
        yield too_many(here, len(alternatives), ALTERNATIVES_MAX)
    else:
        yield from validate_each(here, alternatives, lambda one: one.name, validate_alternative)


def validate_alternative(alternative: DeviceSubRequest, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.name", alternative.name, names.dns1123_label)
    yield from validate_wanted(alternative, at)


def validate_constraint(constraint: DeviceConstraint, at: str) -> Iterator[FieldError]:
    if constraint.match_attribute is not None:
        yield from validate_fully_qualified(constraint.match_attribute, f"{at}.matchAttribute")
    elif constraint.distinct_attribute is not None:
        yield from validate_fully_qualified(constraint.distinct_attribute, f"{at}.distinctAttribute")
    else:
        why = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
        yield required(at, why)


def validate_wanted(wanted: ExactDeviceRequest | DeviceSubRequest, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.deviceClassName", wanted.device_class_name, names.dns1123_subdomain)
    if wanted.allocation_mode not in ALLOCATION_MODES:
        yield not_supported(f"{at}.allocationMode", wanted.allocation_mode, ALLOCATION_MODES)
    elif wanted.allocation_mode == "All" and wanted.count:
        why = "must not be specified when allocationMode is 'All'"
        yield invalid_value(f"{at}.count", wanted.count, why)
    elif wanted.allocation_mode == "ExactCount" and (wanted.count or 0) <= 0:
        yield invalid_value(f"{at}.count", wanted.count, "must be greater than zero")
    yield from validate_selectors(wanted.selectors or (), f"{at}.selectors")
    tolerations = wanted.tolerations or ()
    if len(tolerations) > TOLERATIONS_MAX:
        yield too_many(f"{at}.tolerations", len(tolerations), TOLERATIONS_MAX)
    else:
        yield from validate_tolerations(tolerations, f"{at}.tolerations")


def validate_selectors(selectors: tuple[DeviceSelector, ...], at: str) -> Iterator[FieldError]:
    if len(selectors) > REQUESTS_MAX:
        yield too_many(at, len(selectors), REQUESTS_MAX)
        return
    for index, selector in enumerate(selectors):
        yield from validate_selector(selector, f"{at}[{index}].cel")


def validate_selector(selector: DeviceSelector, at: str) -> Iterator[FieldError]:
    from kybern.registry import deviceselectors  # the engine takes 20 ms to import, and most clusters never ask it

    if selector.cel is None:
        yield required(at)
    elif len(selector.cel.expression) > EXPRESSION_BYTES_MAX:
        yield too_long(f"{at}.expression", "", EXPRESSION_BYTES_MAX)
    elif wrong := deviceselectors.wrong_with(selector.cel.expression):
        yield invalid_value(f"{at}.expression", selector.cel.expression, wrong)
    elif deviceselectors.is_costly(selector.cel.expression):
        yield forbidden_field(f"{at}.expression", "too complex, exceeds cost limit")


def validate_claim_update(claim: ResourceClaim, old: ResourceClaim) -> Iterator[FieldError]:
    yield from immutable("spec", claim.spec, old.spec)


def state_cell(claim: ResourceClaim, now: float) -> str:
    words = []
    if claim.metadata.deletion_timestamp:
        words.append("deleted")
    elif claim.status.allocation is None:
        words.append("pending")
    if claim.status.allocation is not None:
        words.append("allocated")
        if claim.status.reserved_for:
            words.append("reserved")
    return ",".join(words)


RESOURCE_CLAIMS = Resource(
    kind=kind_of(ResourceClaim),
    default=default_claim,
    on_create=lambda claim: of_claim(clear_status(claim)),
    on_update=lambda claim, old: left_out(of_claim, keep_status(claim, old), old),
    validate=validate_claim,
    validate_update=validate_claim_update,
    validates_long=is_large,
    subresources=(status("all", validate=validate_status),),
    columns=(
        NAME,
        Column("State", state_cell, description="A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    ),
)


def validate_template_update(template: ResourceClaimTemplate, old: ResourceClaimTemplate) -> Iterator[FieldError]:
    yield from immutable("spec", template.spec, old.spec)


RESOURCE_CLAIM_TEMPLATES = Resource(
    kind=kind_of(ResourceClaimTemplate),
    default=default_template,
    on_create=of_template,
    on_update=partial(left_out, of_template),
    validate=validate_template,
    validate_update=validate_template_update,
    validates_long=is_large,
    columns=(NAME, AGE),
)


def validate_class(found: DeviceClass) -> Iterator[FieldError]:
    yield from validate_class_parts(found, selectors=True)


def validate_class_update(found: DeviceClass, old: DeviceClass) -> Iterator[FieldError]:
    """Expressions that are there already were right by the rules of their day."""
    yield from validate_class_parts(found, selectors=found.spec.selectors != old.spec.selectors)


def validate_class_parts(found: DeviceClass, *, selectors: bool) -> Iterator[FieldError]:
    spec = found.spec
    if selectors:
        yield from validate_selectors(spec.selectors or (), "spec.selectors")
    configs = spec.config or ()
    yield from at_most("spec.config", configs, REQUESTS_MAX)
    for index, config in enumerate(configs[:REQUESTS_MAX]):
        yield from validate_opaque(config.opaque, f"spec.config[{index}].opaque")
    name = spec.extended_resource_name
    if name is not None and not is_extended(name):
        yield invalid_value("spec.extendedResourceName", name, "must be a valid extended resource name")


DEVICE_CLASSES = Resource(
    kind=kind_of(DeviceClass),
    validate=validate_class,
    validate_update=validate_class_update,
    validates_long=is_large,
    generation=spec_of,
    columns=(NAME, AGE),
)
