"""resourcequotas, limitranges: what a namespace may ask for, as a whole and one by one.

A quota counts some resources within some scopes, and not every scope can count every resource; a range bounds what
one pod, container or claim asks for, and fills in what a container leaves out.
"""

from collections.abc import Iterator, Mapping

from kybern.api import names, quantity
from kybern.api.core_v1 import LimitRange, LimitRangeItem, ResourceQuota, ScopedResourceSelectorRequirement
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, required
from kybern.api.shape import Quantity
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import parts
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, status
from kybern.registry.podspec.amounts import (
    STANDARD,
    is_huge,
    is_shared,
    validate_container_resource_name,
    validate_resource_name,
    validate_value,
)
from kybern.registry.resource import Column, Resource

OPPOSITES = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
POD_RESOURCES = {
    "pods", "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
    "limits.cpu", "limits.memory", "limits.ephemeral-storage",
}  # fmt: skip
QUOTA_RESOURCES = POD_RESOURCES | {
    "requests.storage", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
    "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
}  # fmt: skip
EXISTS_ONLY = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
NEEDS_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip


def validate_quota(quota: ResourceQuota) -> Iterator[FieldError]:
    yield from validate_hard(quota.spec.hard, "spec.hard")
    scopes = quota.spec.scopes or ()
    counted = sorted(name for name in quota.spec.hard or {} if name in QUOTA_RESOURCES)
    for scope in scopes:
        if scope not in SCOPES:
            yield invalid_value("spec.scopes", scopes, "unsupported scope")
        for name in counted:
            if not applies(scope, name):
                yield invalid_value("spec.scopes", scopes, "unsupported scope applied to resource")
    for one, other in OPPOSITES:
        if one in scopes and other in scopes:
            yield invalid_value("spec.scopes", scopes, "conflicting scopes")
    selector = quota.spec.scope_selector
    at = "spec.scopeSelector.matchExpressions"
    wanted_scopes = set()
    for wanted in (selector.match_expressions if selector is not None else None) or ():
        yield from validate_scope(wanted, at)
        wanted_scopes.add(wanted.scope_name)
        for name in counted:
            if not applies(wanted.scope_name, name):
                yield invalid_value(at, selector, "unsupported scope applied to resource")
    for one, other in OPPOSITES:
        if {one, other} <= wanted_scopes:
            yield invalid_value(at, scopes, "conflicting scopes")


def validate_hard(amounts: Mapping[str, Quantity] | None, at: str) -> Iterator[FieldError]:
    for name, amount in (amounts or {}).items():
        here = f"{at}[{name}]"
        yield from validate_resource_name(name, here)
        if "/" not in name and name not in QUOTA_RESOURCES and not is_huge(name.removeprefix("requests.")):
            yield invalid_value(here, name, "must be a standard resource for quota")
        yield from validate_value(name, amount, here)


def applies(scope: str, name: str) -> bool:
    """Whether a quota within a scope can count this resource."""
    if scope in ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"):
        return name in POD_RESOURCES
    if scope == "BestEffort":
        return name == "pods"
    if scope == "VolumeAttributesClass":
        return name in ("persistentvolumeclaims", "requests.storage")
    return True


def validate_quota_status(quota: ResourceQuota, old: ResourceQuota) -> Iterator[FieldError]:
    yield from validate_hard(quota.status.hard, "status.hard")
    yield from validate_hard(quota.status.used, "status.used")


def validate_scope(wanted: ScopedResourceSelectorRequirement, at: str) -> Iterator[FieldError]:
    if wanted.scope_name not in SCOPES:
        yield invalid_value(f"{at}.scopeName", wanted.scope_name, "unsupported scope")
    if wanted.scope_name in EXISTS_ONLY and wanted.operator != "Exists":
        yield invalid_value(f"{at}.operator", wanted.operator, NEEDS_EXISTS)
    if wanted.operator in ("In", "NotIn"):
        if not wanted.values:
            why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            yield required(f"{at}.values", why)
    elif wanted.operator in ("Exists", "DoesNotExist"):
        if wanted.values:
            why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            yield invalid_value(f"{at}.values", wanted.values, why)
    else:
        yield invalid_value(f"{at}.operator", wanted.operator, "not a valid selector operator")


def validate_quota_update(quota: ResourceQuota, old: ResourceQuota) -> Iterator[FieldError]:
    yield from validate_quota(quota)
    if set(quota.spec.scopes or ()) != set(old.spec.scopes or ()):
        yield invalid_value("spec.scopes", quota.spec.scopes, "field is immutable")


def used_cell(quota: ResourceQuota, limits: bool) -> str:
    used, hard = quota.status.used or {}, quota.status.hard or {}
    chosen = sorted(name for name in hard if name.startswith("limits.") == limits)
    return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in chosen)


RESOURCE_QUOTAS = Resource(
    kind=kind_of(ResourceQuota),
    short_names=("quota",),
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_quota,
    validate_update=validate_quota_update,
    subresources=(status(validate=validate_quota_status),),
    columns=(
        NAME,
        Column(
            "Request",
            lambda quota, now: used_cell(quota, limits=False),
            description="Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column(
            "Limit",
            lambda quota, now: used_cell(quota, limits=True),
            description="Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        AGE,
    ),
)


# --- limitranges ------------------------------------------------------------------------------------------------------


def default_limit_range(found: LimitRange) -> LimitRange:
    spec = parts(found.spec, "limits", default_limits)
    return found if spec is found.spec else changed(found, spec=spec)


def default_limits(item: LimitRangeItem) -> LimitRangeItem:
    """A container's default limit is its maximum, its default request the default limit, else the minimum."""
    if item.type != "Container":
        return item
    limits = {**(item.max or {}), **(item.default or {})}
    requests = {**(item.min or {}), **limits, **(item.default_request or {})}
    if limits == (item.default or {}) and requests == (item.default_request or {}):
        return item
    return changed(item, default=limits or None, default_request=requests or None)


LIMITED_TYPES = ("Pod", "Container", "PersistentVolumeClaim")


def validate_limit_range(found: LimitRange) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, item in enumerate(found.spec.limits):
        at = f"spec.limits[{index}]"
        for wrong in names.qualified_name(item.type):
            yield invalid_value(f"{at}.type", item.type, wrong)
        if "/" not in item.type and item.type not in LIMITED_TYPES:
            yield invalid_value(f"{at}.type", item.type, "must be a standard limit type or fully qualified")
        if item.type in seen:
            yield duplicate(f"{at}.type", item.type)
        seen.add(item.type)
        if item.type == "Pod":
            for field, value in (("default", item.default), ("defaultRequest", item.default_request)):
                if value:
                    yield forbidden_field(f"{at}.{field}", "may not be specified when `type` is 'Pod'")
        yield from validate_limited_names(item, at)
        if item.type == "PersistentVolumeClaim" and "storage" not in {**(item.min or {}), **(item.max or {})}:
            why = "either minimum or maximum storage value is required, but neither was provided"
            yield required(f"{at}.limits", why)
        yield from validate_order(item, at)


def validate_limited_names(item: LimitRangeItem, at: str) -> Iterator[FieldError]:
    rule = validate_container_resource_name if item.type in ("Pod", "Container") else validate_resource_name
    for field, amounts in (
        ("max", item.max), ("min", item.min), ("default", item.default if item.type != "Pod" else None),
        ("defaultRequest", item.default_request if item.type != "Pod" else None),
        ("maxLimitRequestRatio", item.max_limit_request_ratio),
    ):  # fmt: skip
        for name in amounts or {}:
            if name not in STANDARD:
                yield from rule(name, f"{at}.{field}[{name}]")


def validate_order(item: LimitRangeItem, at: str) -> Iterator[FieldError]:
    """min ≤ defaultRequest ≤ default ≤ max, for every resource. Which amount is shown is upstream's choice."""
    amounts = {
        "min": item.min or {}, "defaultRequest": item.default_request or {}, "default": item.default or {},
        "max": item.max or {},
    }  # fmt: skip
    for low, high, at_field, shown, words in (
        ("min", "max", "min", "min", ("min value", "max value")),
        ("min", "defaultRequest", "defaultRequest", "defaultRequest", ("min value", "default request value")),
        ("defaultRequest", "max", "defaultRequest", "defaultRequest", ("default request value", "max value")),
        ("defaultRequest", "default", "defaultRequest", "defaultRequest",
         ("default request value", "default limit value")),
        ("min", "default", "default", "min", ("min value", "default value")),
        ("default", "max", "default", "max", ("default value", "max value")),
    ):  # fmt: skip
        for name, small in amounts[low].items():
            large = amounts[high].get(name)
            if large is not None and quantity.compare(small, large) > 0:
                why = f"{words[0]} {small} is greater than {words[1]} {large}"
                yield invalid_value(f"{at}.{at_field}[{name}]", amounts[shown][name], why)
    yield from validate_ratios(item, at)
    for name, request in amounts["defaultRequest"].items():
        limit = amounts["default"].get(name)
        if limit is not None and not is_shared(name) and quantity.compare(limit, request) != 0:
            why = f"default value {limit} must equal to defaultRequest value {request} in {name}"
            yield invalid_value(f"{at}.defaultRequest[{name}]", request, why)


def validate_ratios(item: LimitRangeItem, at: str) -> Iterator[FieldError]:
    for name, ratio in (item.max_limit_request_ratio or {}).items():
        here = f"{at}.maxLimitRequestRatio[{name}]"
        if quantity.compare(ratio, "1") < 0:
            yield invalid_value(here, ratio, f"ratio {ratio} is less than 1")
        low, high = (item.min or {}).get(name), (item.max or {}).get(name)
        if low is None or high is None or quantity.parse(low).nano <= 0:
            continue
        most = quantity.parse(high).nano / quantity.parse(low).nano
        if quantity.parse(ratio).nano / quantity.NANO > most:
            yield invalid_value(here, ratio, f"ratio {ratio} is greater than max/min = {most:f}")


LIMIT_RANGES = Resource(
    kind=kind_of(LimitRange),
    short_names=("limits",),
    create_on_update=True,
    default=default_limit_range,
    validate=validate_limit_range,
)
