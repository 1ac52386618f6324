"""What a schema says of values, compiled to closures once: types, ranges, lengths, patterns, formats, alternatives.

The order of checks and the words are those of upstream's validator (kube-openapi), clients being used to
`spec.replicas in body should be less than or equal to 10`.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from kybern.api.invalid import FieldError, invalid_value, not_supported, printed, required, too_long, too_many
from kybern.registry.customresources.effort import CONSIDERED_MAX, Effort
from kybern.registry.customresources.formats import FORMATS
from kybern.registry.customresources.numbers import number_checks
from kybern.registry.customresources.patterns import INSTRUCTIONS_PER_STEP, found_by, pattern
from kybern.registry.customresources.places import Check, Findings, Place, Schema, Wrong, text
from kybern.registry.customresources.quick import looking

TYPES: dict[str, tuple[type[Any], ...]] = {
    "string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float), "array": (list,), "object": (dict,),
}  # fmt: skip
NAMES: dict[type[Any], str] = {
    str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object", type(None): "null",
}  # fmt: skip
WORDS = {"type", "description", "title", "default", "nullable", "example"}
LIMITS = {"maxLength", "minLength", "minimum", "maximum", "items"}
INT_END = 2**63
CHOICE_STEPS = 4  # to compare two values with each other
TRY_STEPS = 6  # to try an alternative
FORMAT_STEPS, LETTER_STEPS = 20, 10  # to look whether a text has a format; the dearest are addresses and durations
NOWHERE = "<nil>"
"""What upstream calls the place of an error that knows of none."""


def compiled(schema: Schema, looked: bool = False) -> Check | None:
    """None where every value is right. `looked`: only values come that a quick look at something around them did not
    find right, so that there is none for what is within."""
    types = types_of(schema)
    accepted = frozenset(python for name in types for python in TYPES.get(name, ()))
    wanted, nullable = ",".join(types), bool(schema.get("nullable"))
    whole = "integer" in types and "number" not in types
    either = alternatives(schema)
    of_kind: dict[type[Any], list[Check]] = {}
    for kinds, checks in (
        ((str,), string_checks(schema, types)),
        ((int, float), number_checks(schema)),
        ((list,), list_checks(schema, looked)),
        ((dict,), object_checks(schema, looked)),
    ):
        for kind in kinds:
            if checks:
                of_kind[kind] = checks
    choices = schema.get("enum")
    if not (types or either or of_kind or choices):
        return None
    one_of = enum_check(choices) if choices else None
    simple = either is None and one_of is None

    def check(value: Any, place: Place, wrong: Findings) -> None:
        kind = type(value)
        if simple and kind in accepted:
            for inner in of_kind.get(kind, ()):
                inner(value, place, wrong)
            return
        if value is None:
            if types and not nullable:
                wrong.append(of_type(place, wanted, "null"))
            if one_of is not None:
                one_of(value, place, wrong)
            return
        if types and kind not in accepted and not (whole and kind is float and value.is_integer()):
            wrong.append(of_type(place, wanted, NAMES[kind]))
        if either is not None:
            either(value, place, wrong)
        for inner in of_kind.get(kind, ()):
            inner(value, place, wrong)
        if one_of is not None:
            one_of(value, place, wrong)

    return check


def types_of(schema: Schema) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    return (schema["type"],) if schema.get("type") else ()


def of_type(place: Place, wanted: str, got: str) -> Wrong:
    why = f'Invalid value: {printed(got)}: {text(place)} in body must be of type {wanted}: "{got}"'
    return Wrong(place, FieldError(text(place) or NOWHERE, "FieldValueTypeInvalid", why))


def invalid(place: Place, value: Any, detail: str) -> Wrong:
    return Wrong(place, invalid_value(text(place) or NOWHERE, value, f"{text(place)} in body {detail}"))


def composite(place: Place, detail: str) -> Wrong:
    """What upstream says of a value as a whole, without a place."""
    return Wrong(place, invalid_value(NOWHERE, "", f'"{text(place)}" {detail}'))


def enum_check(choices: list[Any]) -> Check:
    listed = [choice if isinstance(choice, str) else printed(choice) for choice in choices]
    scalars = frozenset(mark_of(choice) for choice in choices if not isinstance(choice, dict | list))
    others = [choice for choice in choices if isinstance(choice, dict | list)]
    steps = CHOICE_STEPS * sum(map(size_of, others))

    def check(value: Any, place: Place, wrong: Findings) -> None:
        if not isinstance(value, dict | list):
            if value is not None and mark_of(value) in scalars:
                return
        else:
            wrong.effort.spend(steps)
            if any(same(value, choice) for choice in others):
                return
        wrong.effort.spend(len(listed))
        wrong.append(Wrong(place, not_supported(text(place) or NOWHERE, value, listed)))

    return check


def mark_of(scalar: Any) -> Any:
    """1 and 1.0 are the same, 1 and true are not."""
    return (scalar,) if isinstance(scalar, bool) else scalar


def size_of(value: Any) -> int:
    """How many values it consists of."""
    if isinstance(value, dict | list):
        return 1 + sum(map(size_of, value.values() if isinstance(value, dict) else value))
    return 1


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(item, other[key]) for key, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


# --- texts, lists, objects --------------------------------------------------------------------------------------------


def string_checks(schema: Schema, types: tuple[str, ...]) -> list[Check]:
    most, least, source = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    form = str(schema.get("format", "")).replace("-", "") if not types or "string" in types else ""
    found: list[Check] = []
    if most is not None or least is not None or source:
        found.append(length_check(most, least, source))
    if form in FORMATS:
        is_valid, name = FORMATS[form], schema["format"]

        def check(value: Any, place: Place, wrong: Findings) -> None:
            wrong.effort.spend(FORMAT_STEPS + LETTER_STEPS * len(value))
            if not is_valid(value):
                why = f"{text(place)} in body must be of type {name}: {printed(value)}"
                error = FieldError(text(place), "FieldValueTypeInvalid", f"Invalid value: {printed(value)}: {why}")
                wrong.append(Wrong(place, error))

        found.append(check)
    return found


def length_check(most: int | None, least: int | None, source: str | None) -> Check:
    matches = found_by(source) if source else None
    instructions = pattern(source).programsize if source else 0

    def check(value: str, place: Place, wrong: Findings) -> None:
        if most is not None and len(value) > most:
            wrong.append(Wrong(place, too_long(text(place), "", most)))
        elif least is not None and len(value) < least:
            wrong.append(invalid(place, value, f"should be at least {least} chars long"))
        elif matches is not None:
            wrong.effort.spend(len(value) * instructions // INSTRUCTIONS_PER_STEP)
            if not matches(value):
                wrong.append(invalid(place, value, f"should match '{source}'"))

    return check


def list_checks(schema: Schema, looked: bool) -> list[Check]:
    most, least = schema.get("maxItems"), schema.get("minItems")
    items = schema.get("items")
    inner = compiled(items, looked) if isinstance(items, dict) else None
    if most is None and least is None and inner is None:
        return []

    def check(value: list[Any], place: Place, wrong: Findings) -> None:
        size = len(value)
        if inner is not None:
            for index, item in enumerate(value):
                inner(item, (place, index), wrong)
        if least is not None and size < least:
            wrong.append(invalid(place, size, f"should have at least {least} items"))
        if most is not None and size > most:
            wrong.append(Wrong(place, too_many(text(place), size, most)))

    return [check]


def object_checks(schema: Schema, looked: bool) -> list[Check]:
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    known = schema.get("properties", {})
    sure = {key: look for key, part in known.items() if (look := sure_of(part, looked)) is not None}
    checks = {key: compiled(part, looked or key in sure) for key, part in known.items()}
    properties = {key: inner for key, inner in checks.items() if inner is not None}
    needed: list[str] = schema.get("required", [])
    values = schema.get("additionalProperties")
    of_values = compiled(values, looked) if isinstance(values, dict) else None
    if most is None and least is None and not properties and not needed and of_values is None:
        return []

    def check(value: dict[str, Any], place: Place, wrong: Findings) -> None:
        size = len(value)
        if least is not None and size < least:
            wrong.append(invalid(place, size, f"should have at least {least} properties"))
        if most is not None and size > most:
            wrong.append(Wrong(place, too_many(text(place), size, most)))
        for key, item in value.items():
            passes = sure.get(key)
            if passes is not None and passes(item):
                continue
            inner = properties.get(key)
            if inner is not None:
                inner(item, (place, key), wrong)
            elif of_values is not None and key not in known:
                of_values(item, (place, key), wrong)
        if len(needed) > size:
            wrong.effort.spend(len(needed))
        for key in needed:
            if key not in value:
                wrong.append(Wrong((place, key), required(text((place, key)))))

    return [check]


def sure_of(schema: Schema, looked: bool) -> Callable[[Any], bool] | None:
    """A quick look at what is simple: one call for a value that is right. It says no where the whole check has to look."""
    if schema.get("type") == "object":
        return None if looked else looking(schema)
    if not schema.keys() <= WORDS | LIMITS or schema.get("type") not in TYPES:
        return None
    kind, asked = schema["type"], schema.keys() & LIMITS
    if kind == "string" and asked <= {"maxLength", "minLength"}:
        shortest, longest = schema.get("minLength") or 0, schema.get("maxLength", sys.maxsize)
        return lambda value: type(value) is str and shortest <= len(value) <= longest
    if kind == "integer" and asked <= {"minimum", "maximum"}:
        least, most = (
            max(schema.get("minimum", -INT_END), -INT_END),
            min(schema.get("maximum", INT_END - 1), INT_END - 1),
        )
        return lambda value: type(value) is int and least <= value <= most
    if kind == "array" and asked == {"items"} and is_plain(schema["items"]) and schema["items"]["type"] != "integer":
        of_items = frozenset(TYPES[schema["items"]["type"]])
        return lambda value: type(value) is list and of_items.issuperset(map(type, value))
    if not asked and kind != "integer":
        kinds = frozenset(TYPES[kind])
        return lambda value: type(value) in kinds
    return None


def is_plain(schema: Schema) -> bool:
    """Whether only the type is asked for."""
    return schema.get("type") in TYPES and schema.keys() <= WORDS


# --- alternatives -----------------------------------------------------------------------------------------------------


def alternatives(schema: Schema) -> Check | None:
    """anyOf, oneOf, allOf and not."""
    any_of, one_of, all_of = ([compiled(part) for part in schema.get(name, ())] for name in ("anyOf", "oneOf", "allOf"))
    banned = [compiled(schema["not"])] if schema.get("not") is not None else []
    if not (any_of or one_of or all_of or banned):
        return None

    def check(value: Any, place: Place, wrong: Findings) -> None:
        if any_of:
            failures = tried(any_of, value, place, wrong.effort)
            if all(failures):
                wrong.append(composite(place, "must validate at least one schema (anyOf)"))
                wrong.add(fewest(failures))
        if one_of:
            failures = tried(one_of, value, place, wrong.effort)
            valid = sum(not failure for failure in failures)
            if valid != 1:
                found = f"Found {valid} valid alternatives" if valid else "Found none valid"
                wrong.append(composite(place, f"must validate one and only one schema (oneOf). {found}"))
                wrong.add([] if valid else fewest(failures))
        if all_of:
            failures = tried(all_of, value, place, wrong.effort)
            if any(failures):
                wrong.add(one for failure in failures for one in failure)
                none = ". None validated" if all(failures) else ""
                wrong.append(composite(place, f"must validate all the schemas (allOf){none}"))
        if banned and not tried(banned, value, place, wrong.effort)[0]:
            wrong.append(composite(place, "must not validate the schema (not)"))

    return check


def fewest(failures: list[Findings]) -> Findings:
    return min(failures, key=lambda failure: len(failure))


def tried(checks: Sequence[Check | None], value: Any, place: Place, effort: Effort) -> list[Findings]:
    """What each of them finds wrong."""
    effort.spend(TRY_STEPS * len(checks))
    told_left, effort.told_left = effort.told_left, CONSIDERED_MAX
    found = []
    for check in checks:
        failure = Findings(effort)
        if check is not None:
            check(value, place, failure)
        found.append(failure)
    effort.told_left = told_left
    return found
