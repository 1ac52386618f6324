"""resource.k8s.io: devices that nodes offer, classes of them, and claims for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api import names
from kybern.api.invalid import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)
from kybern.api.resource_v1 import (
    DeviceClaim,
    DeviceClass,
    DeviceConstraint,
    DeviceRequest,
    DeviceSelector,
    DeviceTaintRule,
    ResourceClaim,
    ResourceClaimSpec,
    ResourceClaimTemplate,
    ResourceSlice,
)
from kybern.registry.checks import immutable, named, repeated
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.drivers import validate_driver_name
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

REQUESTS_MAX = 32
DEVICES_MAX = 128
ALTERNATIVES_MAX = 8
EXPRESSION_BYTES_MAX = 10 * 1024
RESERVATIONS_MAX = 256
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
        alternatives = request.first_available or ()
        if request.exactly is None and not alternatives:
            yield required(here, ONE_FORM)
        elif request.exactly is not None and alternatives:
            yield invalid_value(here, "null", f"{ONE_FORM}, but multiple fields are set")
        elif request.exactly is not None:
            yield from validate_request(request.exactly, f"{here}.exactly")
        if len(alternatives) > ALTERNATIVES_MAX:
            yield too_many(f"{here}.firstAvailable", len(alternatives), ALTERNATIVES_MAX)
        again = repeated(alternative.name for alternative in alternatives)
        for place, alternative in enumerate(alternatives):
            at_one = f"{here}.firstAvailable[{place}]"
            yield from named(f"{at_one}.name", alternative.name, names.dns1123_label)
            if place in again:
                yield duplicate(f"{at_one}.name", alternative.name)
            yield from validate_request(alternative, at_one)
    known = request_names(requests)
    constraints, configs = devices.constraints or (), devices.config or ()
    if len(constraints) > REQUESTS_MAX:
        yield too_many(f"{at}.constraints", len(constraints), REQUESTS_MAX)
    if len(configs) > REQUESTS_MAX:
        yield too_many(f"{at}.config", len(configs), REQUESTS_MAX)
    for index, constraint in enumerate(constraints):
        yield from validate_refs(constraint.requests or (), known, f"{at}.constraints[{index}].requests")
        yield from validate_constraint(constraint, f"{at}.constraints[{index}]")
    for index, config in enumerate(configs):
        yield from validate_refs(config.requests or (), known, f"{at}.config[{index}].requests")
        if config.opaque is None:
            yield required(f"{at}.config[{index}].opaque")
        else:
            here = f"{at}.config[{index}].opaque"
            yield from validate_driver_name(config.opaque.driver, f"{here}.driver")
            if config.opaque.parameters is None:
                yield required(f"{here}.parameters")
            elif not isinstance(config.opaque.parameters, Mapping):
                yield invalid_value(f"{here}.parameters", "<value omitted>", "must be a valid JSON object")


def request_names(requests: tuple[DeviceRequest, ...]) -> set[str]:
    """What constraints and configuration may refer to: `gpu`, and `gpu/large` for one of its alternatives."""
    found = {request.name for request in requests}
    return found | {f"{request.name}/{one.name}" for request in requests for one in request.first_available or ()}


def validate_refs(refs: tuple[str, ...], known: set[str], at: str) -> Iterator[FieldError]:
    again = repeated(refs)
    for index, ref in enumerate(refs):
        here = f"{at}[{index}]"
        if index in again:
            yield duplicate(here, ref)
        if ref not in known:
            why = (
                "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
            )
            yield invalid_value(here, ref, why)


def validate_constraint(constraint: DeviceConstraint, at: str) -> Iterator[FieldError]:
    for field, name in (
        ("matchAttribute", constraint.match_attribute), ("distinctAttribute", constraint.distinct_attribute)
    ):  # fmt: skip
        if name is None:
            continue
        domain, slash, own = name.partition("/")
        if not slash:
            yield invalid_value(f"{at}.{field}", name, "must include a domain")
            continue
        for wrong in names.dns1123_subdomain(domain):
            yield invalid_value(f"{at}.{field}", domain, wrong)
        for wrong in names.c_identifier(own):
            yield invalid_value(f"{at}.{field}", own, wrong)
    if constraint.match_attribute is None and constraint.distinct_attribute is None:
        why = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
        yield required(at, why)


def validate_request(request: Any, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.deviceClassName", request.device_class_name, names.dns1123_subdomain)
    if request.allocation_mode not in ALLOCATION_MODES:
        yield not_supported(f"{at}.allocationMode", request.allocation_mode, ALLOCATION_MODES)
    elif request.allocation_mode == "All" and request.count:
        why = "must not be specified when allocationMode is 'All'"
        yield invalid_value(f"{at}.count", request.count, why)
    elif request.allocation_mode == "ExactCount" and (request.count or 0) <= 0:
        yield invalid_value(f"{at}.count", request.count, "must be greater than zero")
    selectors = request.selectors or ()
    if len(selectors) > REQUESTS_MAX:
        yield too_many(f"{at}.selectors", len(selectors), REQUESTS_MAX)
    for index, selector in enumerate(selectors):
        yield from validate_selector(selector, f"{at}.selectors[{index}].cel")


def validate_selector(selector: DeviceSelector, at: str) -> Iterator[FieldError]:
    from kybern.registry import deviceselectors  # the engine takes 20 ms to import, and most clusters never ask it

    if selector.cel is None:
        yield required(at)
    elif len(selector.cel.expression) > EXPRESSION_BYTES_MAX:
        yield too_long(f"{at}.expression", "", EXPRESSION_BYTES_MAX)
    elif wrong := deviceselectors.wrong_with(selector.cel.expression):
        yield invalid_value(f"{at}.expression", selector.cel.expression, wrong)


def validate_claim_update(claim: ResourceClaim, old: ResourceClaim) -> Iterator[FieldError]:
    yield from immutable("spec", claim.spec, old.spec)


def validate_claim_status(claim: ResourceClaim, old: ResourceClaim) -> Iterator[FieldError]:
    """Who may use what was found: settled once it is, and nobody new once the claim is to go."""
    found, before = claim.status, old.status
    users, known = found.reserved_for or (), before.reserved_for or ()
    here = "status.reservedFor"
    if len(users) > RESERVATIONS_MAX:
        yield too_many(here, len(users), RESERVATIONS_MAX)
    again = repeated(user.uid for user in users)
    for index, user in enumerate(users):
        for field, value in (("resource", user.resource), ("name", user.name), ("uid", user.uid)):
            if not value:
                yield required(f"{here}[{index}].{field}")
        if index in again:
            yield duplicate(f"{here}[{index}].uid", user.uid)
    if users and found.allocation is None:
        yield forbidden_field(here, "may not be specified when `allocated` is not set")
    elif users and claim.metadata.deletion_timestamp and not set(users) <= set(known):
        why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        yield forbidden_field(here, why)
    if before.allocation is not None and found.allocation is not None:
        yield from immutable("status.allocation", found.allocation, before.allocation)


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
    subresources=(status("all", validate=validate_claim_status),),
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
        yield from validate_selector(selector, f"spec.selectors[{index}].cel")


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
