"""Conditions of the shape that all newer kinds share (meta/v1 Condition): each type once, and every part of it there."""

import re
from collections.abc import Iterator, Sequence

from kybern.api import names
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required, too_long
from kybern.api.meta_v1 import Condition
from kybern.registry.checks import named, repeated

STATUSES = ("False", "True", "Unknown")
REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
REASON_BYTES_MAX = 1024
MESSAGE_BYTES_MAX = 32 * 1024
WRONG_REASON = names.mismatch(
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_'",
    REASON.pattern,
    "my_name",
    "MY_NAME",
    "MyName",
    "ReasonA,ReasonB",
    "ReasonA:ReasonB",
)


def validate_conditions(conditions: Sequence[Condition], at: str) -> Iterator[FieldError]:
    again = repeated(condition.type for condition in conditions)
    for index, condition in enumerate(conditions):
        here = f"{at}[{index}]"
        if index in again:
            yield duplicate(f"{here}.type", condition.type)
        yield from validate_condition(condition, here)


def validate_condition(condition: Condition, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.type", condition.type, names.qualified_name)
    if condition.status not in STATUSES:
        yield not_supported(f"{at}.status", condition.status, STATUSES)
    if (condition.observed_generation or 0) < 0:
        why = "must be greater than or equal to zero"
        yield invalid_value(f"{at}.observedGeneration", condition.observed_generation, why)
    if not condition.last_transition_time:
        yield required(f"{at}.lastTransitionTime", "must be set")
    if len(condition.reason) > REASON_BYTES_MAX:
        yield too_long(f"{at}.reason", condition.reason, REASON_BYTES_MAX)
    if not condition.reason:
        yield required(f"{at}.reason", "must be set")
    elif not REASON.fullmatch(condition.reason):
        yield invalid_value(f"{at}.reason", condition.reason, WRONG_REASON)
    if len(condition.message.encode()) > MESSAGE_BYTES_MAX:
        yield too_long(f"{at}.message", condition.message, MESSAGE_BYTES_MAX)
