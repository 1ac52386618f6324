"""Filling in what was left out, without copying what is already complete.

Upstream tells absent from zero only where its field is a pointer. So there are two ways: `filled` takes a missing or empty
text as absent, `filled_zero` also a zero.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import structs

T = TypeVar("T")


def filled(obj: T, **defaults: Any) -> T:
    """`obj` with these fields where it has none; the very same object where nothing was missing."""
    missing = {name: value for name, value in defaults.items() if getattr(obj, name) in (None, "")}
    return structs.replace(obj, **missing) if missing else obj  # type: ignore[type-var]


def filled_zero(obj: T, **defaults: Any) -> T:
    missing = {name: value for name, value in defaults.items() if not getattr(obj, name)}
    return structs.replace(obj, **missing) if missing else obj  # type: ignore[type-var]


def part(obj: T, name: str, rule: Callable[[Any], Any]) -> T:
    """`obj` with the rule applied to one field, if it is there."""
    before = getattr(obj, name)
    if before is None:
        return obj
    after = rule(before)
    return obj if after is before else structs.replace(obj, **{name: after})  # type: ignore[type-var]


def each(items: tuple[T, ...], rule: Callable[[T], T]) -> tuple[T, ...]:
    """The rule applied to each; the very same tuple where nothing changed."""
    made = tuple(map(rule, items))
    return items if all(map(_same, items, made)) else made


def _same(one: object, other: object) -> bool:
    return one is other


def parts(obj: T, name: str, rule: Callable[[Any], Any]) -> T:
    """`obj` with the rule applied to each item of one field."""
    before = getattr(obj, name)
    if not before:
        return obj
    after = each(before, rule)
    return obj if after is before else structs.replace(obj, **{name: after})  # type: ignore[type-var]
