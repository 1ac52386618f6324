"""The selectors of an access review: which part of a collection is asked about.

They only ever narrow a question, so what cannot be understood is left out: the question gets wider, and a "yes" to it
holds for the narrower one too.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from kybern.api.authorization_v1 import FieldSelectorAttributes, LabelSelectorAttributes, ResourceAttributes
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.api.selectors import (
    EXPRESSION_OPERATORS,
    FieldRequirement,
    Requirement,
    checked,
    parse_fields,
    parse_labels,
)

T = TypeVar("T")
OPERATORS = {
    "in": "In",
    "=": "In",
    "==": "In",
    "notin": "NotIn",
    "!=": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
}


def fields_of(selector: FieldSelectorAttributes | None) -> tuple[FieldRequirement, ...]:
    if selector is None:
        return ()
    if selector.raw_selector:
        return understood(lambda: parse_fields(selector.raw_selector or "").requirements)
    return tuple(
        FieldRequirement(one.key, one.operator == "In", one.values[0])
        for one in selector.requirements or ()
        if one.operator in ("In", "NotIn") and one.values is not None and len(one.values) == 1
    )


def labels_of(selector: LabelSelectorAttributes | None) -> tuple[Requirement, ...]:
    if selector is None:
        return ()
    if selector.raw_selector:
        return understood(lambda: parse_labels(selector.raw_selector or "").requirements)
    found: list[Requirement] = []
    for one in selector.requirements or ():
        operator = EXPRESSION_OPERATORS.get(one.operator)
        if operator is not None:
            found += understood(lambda: (checked(one.key, operator, tuple(one.values or ())),))  # noqa: B023 - called here
    return tuple(found)


def understood(read: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
    try:
        return read()
    except ValueError:
        return ()


def told_fields(fields: Iterable[FieldRequirement]) -> list[dict[str, Any]]:
    """As a webhook is told of them."""
    return [{"key": one.path, "operator": "In" if one.equal else "NotIn", "values": [one.value]} for one in fields]


def told_labels(labels: Iterable[Requirement]) -> list[dict[str, Any]]:
    told = []
    for one in labels:
        operator = OPERATORS.get(one.operator)
        if operator is not None:
            told.append({"key": one.key, "operator": operator, **({"values": list(one.values)} if one.values else {})})
    return told


def wrong_selectors(asked: ResourceAttributes, at: str) -> Iterator[FieldError]:
    selectors = {"fieldSelector": asked.field_selector, "labelSelector": asked.label_selector}
    for name, selector in selectors.items():
        path = f"{at}.{name}"
        if selector is None:
            continue
        if selector.raw_selector and selector.requirements:
            why = "may not specified at the same time as requirements"
            yield invalid_value(f"{path}.rawSelector", selector.raw_selector, why)
        if not selector.raw_selector and not selector.requirements:
            why = f"when {path} is specified, requirements or rawSelector is required"
            yield required(f"{path}.requirements", why)
