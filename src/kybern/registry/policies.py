"""poddisruptionbudgets, resourcequotas, limitranges, priorityclasses, runtimeclasses: what pods are granted."""

from collections.abc import Iterator

from kybern.api import names, quantity
from kybern.api.core_v1 import LimitRange, LimitRangeItem, ResourceQuota, ScopedResourceSelectorRequirement
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from kybern.api.node_v1 import RuntimeClass
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.api.scheduling_v1 import PriorityClass
from kybern.registry.checks import immutable, int_or_percent, label_selector, named, not_above_all, validate_amounts
from kybern.registry.columns import AGE, CREATED_AT, NAME
from kybern.registry.defaulting import filled, parts
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.podspec.placement import validate_tolerations
from kybern.registry.resource import Column, Resource

USER_PRIORITY_MAX = 1_000_000_000
SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")


def validate_budget(budget: PodDisruptionBudget) -> Iterator[FieldError]:
    spec = budget.spec
    if spec.min_available is not None and spec.max_unavailable is not None:
        yield invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field, value in (("minAvailable", spec.min_available), ("maxUnavailable", spec.max_unavailable)):
        if value is not None:
            yield from int_or_percent(f"spec.{field}", value)
            yield from not_above_all(f"spec.{field}", value)
    yield from label_selector(spec.selector, "spec.selector")
    policy = spec.unhealthy_pod_eviction_policy
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        yield not_supported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))


def or_not_applicable(value: int | str | None) -> str:
    return "N/A" if value is None else str(value)


POD_DISRUPTION_BUDGETS = Resource(
    kind=kind_of(PodDisruptionBudget),
    short_names=("pdb",),
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_budget,
    generation=spec_of,
    subresources=(status(),),
    columns=(
        NAME,
        Column("Min Available", lambda budget, now: or_not_applicable(budget.spec.min_available)),
        Column("Max Unavailable", lambda budget, now: or_not_applicable(budget.spec.max_unavailable)),
        Column("Allowed Disruptions", lambda budget, now: budget.status.disruptions_allowed or 0, type="integer"),
        AGE,
    ),
)


# --- resourcequotas ---------------------------------------------------------------------------------------------------

SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip


def validate_quota(quota: ResourceQuota) -> Iterator[FieldError]:
    for name in quota.spec.hard or {}:
        for wrong in names.qualified_name(name):
            yield invalid_value(f"spec.hard[{name}]", name, wrong)
    yield from validate_amounts(quota.spec.hard, "spec.hard")
    scopes = quota.spec.scopes or ()
    for scope in scopes:
        if scope not in SCOPES:
            yield invalid_value("spec.scopes", scopes, "unsupported scope")
    for one, other in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if one in scopes and other in scopes:
            yield invalid_value("spec.scopes", scopes, "conflicting scopes")
    selector = quota.spec.scope_selector
    for wanted in (selector.match_expressions if selector is not None else None) or ():
        yield from validate_scope(wanted, "spec.scopeSelector.matchExpressions")


def validate_scope(wanted: ScopedResourceSelectorRequirement, at: str) -> Iterator[FieldError]:
    if wanted.scope_name not in SCOPES:
        yield invalid_value(f"{at}.scopeName", wanted.scope_name, "unsupported scope")
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
    subresources=(status(),),
    columns=(
        NAME,
        Column("Request", lambda quota, now: used_cell(quota, limits=False)),
        Column("Limit", lambda quota, now: used_cell(quota, limits=True)),
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
        yield from validate_order(item, at)


def validate_order(item: LimitRangeItem, at: str) -> Iterator[FieldError]:
    """min ≤ defaultRequest ≤ default ≤ max, for every resource."""
    ladder = (
        ("min", item.min or {}, "min value"),
        ("defaultRequest", item.default_request or {}, "default request value"),
        ("default", item.default or {}, "default value"),
        ("max", item.max or {}, "max value"),
    )
    for low in range(len(ladder)):
        for high in range(low + 1, len(ladder)):
            field, amounts, word = ladder[low]
            _, others, other_word = ladder[high]
            for name in amounts:
                if name in others and quantity.compare(amounts[name], others[name]) > 0:
                    why = f"{word} {amounts[name]} is greater than {other_word} {others[name]}"
                    yield invalid_value(f"{at}.{field}[{name}]", amounts[name], why)


LIMIT_RANGES = Resource(
    kind=kind_of(LimitRange),
    short_names=("limits",),
    create_on_update=True,
    default=default_limit_range,
    validate=validate_limit_range,
    columns=(NAME, CREATED_AT),
)


# --- priorityclasses --------------------------------------------------------------------------------------------------


def validate_priority(found: PriorityClass) -> Iterator[FieldError]:
    name, value = found.metadata.name or "", found.value or 0
    if name.startswith("system-"):
        if name not in SYSTEM_CLASSES:
            why = "priority class names with 'system-' prefix are reserved for system use only"
            yield forbidden_field("metadata.name", why)
    elif value > USER_PRIORITY_MAX:
        why = f"maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"
        yield forbidden_field("value", why)
    if found.preemption_policy not in (None, "Never", "PreemptLowerPriority"):
        yield not_supported("preemptionPolicy", found.preemption_policy, ("Never", "PreemptLowerPriority"))


def validate_priority_update(found: PriorityClass, old: PriorityClass) -> Iterator[FieldError]:
    if (found.value or 0) != (old.value or 0):
        yield forbidden_field("value", "may not be changed in an update.")
    yield from immutable("preemptionPolicy", found.preemption_policy, old.preemption_policy)


PRIORITY_CLASSES = Resource(
    kind=kind_of(PriorityClass),
    short_names=("pc",),
    default=lambda found: filled(found, preemption_policy="PreemptLowerPriority"),
    validate=validate_priority,
    validate_update=validate_priority_update,
    generation=lambda found: (found.value, found.global_default, found.description, found.preemption_policy),
    columns=(
        NAME,
        Column("Value", lambda found, now: found.value or 0, type="integer"),
        Column("Global-Default", lambda found, now: bool(found.global_default), type="boolean"),
        AGE,
        Column("PreemptionPolicy", lambda found, now: found.preemption_policy or ""),
    ),
)


# --- runtimeclasses ---------------------------------------------------------------------------------------------------


def validate_runtime(found: RuntimeClass) -> Iterator[FieldError]:
    yield from named("handler", found.handler, names.dns1123_label)
    if found.overhead is not None:
        yield from validate_amounts(found.overhead.pod_fixed, "overhead.podFixed")
    if found.scheduling is not None and found.scheduling.tolerations:
        yield from validate_tolerations(found.scheduling.tolerations, "scheduling.tolerations")


def validate_runtime_update(found: RuntimeClass, old: RuntimeClass) -> Iterator[FieldError]:
    yield from validate_runtime(found)
    yield from immutable("handler", found.handler, old.handler)


RUNTIME_CLASSES = Resource(
    kind=kind_of(RuntimeClass),
    validate=validate_runtime,
    validate_update=validate_runtime_update,
    columns=(NAME, Column("Handler", lambda found, now: found.handler), AGE),
)
