"""What keeps claims off devices: taints on them, rules that put taints on many, and tolerations; and what binding waits for."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required, too_many
from kybern.api.resource_v1 import DeviceTaint, DeviceTaintRule, DeviceTaintSelector, DeviceToleration
from kybern.registry.checks import at_most, judged, named, repeated
from kybern.registry.columns import AGE, NAME, age
from kybern.registry.conditions import validate_conditions
from kybern.registry.devicenames import validate_pool_name
from kybern.registry.drivers import validate_driver_name
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

EFFECTS = ("NoExecute", "NoSchedule", "None")
OPERATORS = ("Equal", "Exists")
BINDING_CONDITIONS_MAX = 4
RULE_CONDITIONS_MAX = 8


def validate_taint(taint: DeviceTaint, at: str, old: DeviceTaint | None = None) -> Iterator[FieldError]:
    """`old`: as it was; an effect of a newer version that is there already may stay."""
    yield from named(f"{at}.key", taint.key, names.qualified_name)
    yield from judged(f"{at}.value", taint.value, names.label_value)
    if old is not None and old.effect == taint.effect:
        return
    if not taint.effect:
        yield required(f"{at}.effect")
    elif taint.effect not in EFFECTS:
        yield not_supported(f"{at}.effect", taint.effect, EFFECTS)


def validate_tolerations(tolerations: tuple[DeviceToleration, ...], at: str) -> Iterator[FieldError]:
    for index, toleration in enumerate(tolerations):
        yield from validate_toleration(toleration, f"{at}[{index}]")


def validate_toleration(toleration: DeviceToleration, at: str) -> Iterator[FieldError]:
    yield from judged(f"{at}.key", toleration.key, names.qualified_name)
    if toleration.operator == "Exists":
        if toleration.value:
            yield invalid_value(f"{at}.value", toleration.value, "must be empty for operator `Exists`")
    elif toleration.operator == "Equal":
        yield from judged(f"{at}.value", toleration.value, names.label_value)
    elif not toleration.operator:
        yield required(f"{at}.operator")
    else:
        yield not_supported(f"{at}.operator", toleration.operator, OPERATORS)
    if toleration.effect and toleration.effect not in EFFECTS:
        yield not_supported(f"{at}.effect", toleration.effect, EFFECTS)


def validate_binding(
    ready: tuple[str, ...] | None, failed: tuple[str, ...] | None, at: str
) -> Iterator[FieldError]:  # fmt: skip
    """The conditions that binding a pod to the device waits for, and those that end the wait."""
    sides = (("bindingConditions", ready or ()), ("bindingFailureConditions", failed or ()))
    for field, conditions in sides:
        if len(conditions) > BINDING_CONDITIONS_MAX:
            yield too_many(f"{at}.{field}", len(conditions), BINDING_CONDITIONS_MAX)
            continue
        again = repeated(conditions)
        for index, condition in enumerate(conditions):
            yield from named(f"{at}.{field}[{index}]", condition, names.qualified_name)
            if index in again:
                yield duplicate(f"{at}.{field}[{index}]", condition)
    awaited = frozenset(ready or ())
    for index, condition in enumerate(failed or ()):
        if condition in awaited:
            why = "bindingFailureConditions must not overlap with bindingConditions"
            yield invalid_value(f"{at}.bindingFailureConditions[{index}]", condition, why)
    for (field, conditions), (other, others) in (sides, sides[::-1]):
        if others and not conditions:
            yield invalid_value(f"{at}.{field}", conditions, f"{field} are required to use {other}")


def validate_selector(selector: DeviceTaintSelector, at: str) -> Iterator[FieldError]:
    if selector.driver is not None:
        yield from validate_driver_name(selector.driver, f"{at}.driver")
    if selector.pool is not None:
        yield from validate_pool_name(selector.pool, f"{at}.pool")
    if selector.device is not None:
        for wrong in names.dns1123_label(selector.device):
            yield invalid_value(f"{at}.device", selector.device, wrong)


def validate(rule: DeviceTaintRule) -> Iterator[FieldError]:
    yield from validate_rule(rule, None)


def validate_rule(rule: DeviceTaintRule, old: DeviceTaintRule | None) -> Iterator[FieldError]:
    if rule.spec.device_selector is not None:
        yield from validate_selector(rule.spec.device_selector, "spec.deviceSelector")
    yield from validate_taint(rule.spec.taint, "spec.taint", old.spec.taint if old is not None else None)


def validate_rule_status(rule: DeviceTaintRule, old: DeviceTaintRule) -> Iterator[FieldError]:
    conditions = rule.status.conditions or ()
    yield from validate_conditions(conditions, "status.conditions")
    yield from at_most("status.conditions", conditions, RULE_CONDITIONS_MAX)


def added_cell(rule: DeviceTaintRule, now: float) -> str:
    return age(rule.spec.taint.time_added, now) if rule.spec.taint.time_added else ""


DEVICE_TAINT_RULES = Resource(
    kind=kind_of(DeviceTaintRule),
    on_create=clear_status,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_rule,
    generation=spec_of,
    subresources=(status("all", validate_rule_status),),
    columns=(
        NAME,
        Column("Key", lambda rule, now: rule.spec.taint.key, of="resource_v1.DeviceTaint.key"),
        Column("Value", lambda rule, now: rule.spec.taint.value or "", of="resource_v1.DeviceTaint.value"),
        Column("Effect", lambda rule, now: rule.spec.taint.effect, of="resource_v1.DeviceTaint.effect"),
        Column("TimeAdded", added_cell, of="resource_v1.DeviceTaint.timeAdded"),
        AGE,
    ),
)
