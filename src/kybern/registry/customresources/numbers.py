"""What a schema says of numbers: bounds, multiples, and the range of int32, int64 and float."""

import math
from decimal import Decimal

from kybern.api.invalid import invalid_value
from kybern.registry.customresources.places import Check, Findings, Place, Schema, Wrong, text

INT_RANGES = {"int32": 2**31, "int64": 2**63, "": 2**63}
WHOLE = 2.0**53  # and beyond, floats have no fractions
FLOAT32_MAX = 3.4028234663852886e38


def number_checks(schema: Schema) -> list[Check]:
    most, least, factor = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    whole = schema.get("type") == "integer"
    form = schema.get("format", "") if schema.get("format") in ("int32", "int64", "float", "double") else ""
    range_end = INT_RANGES.get(form, 2**63) if whole else FLOAT32_MAX if form == "float" else math.inf
    over = bool(schema.get("exclusiveMaximum"))
    under = bool(schema.get("exclusiveMinimum"))

    def check(value: float, place: Place, wrong: Findings) -> None:
        if not -range_end <= value < range_end:
            wrong.append(out_of_range(place, schema.get("type", "number"), form))
        if factor is not None and not is_multiple(value, factor):
            wrong.append(beyond(place, value, f"should be a multiple of {go_number(factor)}"))
        if least is not None and (value <= least if under else value < least):
            than = "greater than" if under else "greater than or equal to"
            wrong.append(beyond(place, value, f"should be {than} {bound(least, value)}"))
        if most is not None and (value >= most if over else value > most):
            than = "less than" if over else "less than or equal to"
            wrong.append(beyond(place, value, f"should be {than} {bound(most, value)}"))

    if range_end == math.inf and most is None and least is None and factor is None:
        return []
    return [check]


def out_of_range(place: Place, kind: str, form: str) -> Wrong:
    said = f"with format {form}" if form else "(default format)"
    why = f"Checked value must be of type {kind} {said} in {text(place)}"
    return Wrong(place, invalid_value("<nil>", "", why))


def beyond(place: Place, value: float, why: str) -> Wrong:
    return Wrong(place, invalid_value(text(place), value, f"{text(place)} in body {why}"))


def is_multiple(value: float, factor: float) -> bool:
    if factor <= 0:
        return False
    if isinstance(value, int) and float(factor).is_integer():
        return value % int(factor) == 0
    quotient = value / factor if factor >= 1 else value * (1 / factor)
    if not abs(quotient) < WHOLE:
        return math.isfinite(quotient)
    return abs(quotient - round(quotient)) <= 1e-9 * max(1.0, abs(quotient))


def bound(limit: float, value: float) -> str:
    """A bound as upstream prints it: a whole number beside a whole number."""
    return str(int(limit)) if isinstance(value, int) else go_number(limit)


def go_number(number: float) -> str:
    """As Go prints a float: 1.5, 100000, 1e+06."""
    sign, digits, exponent = Decimal(repr(float(number))).normalize().as_tuple()
    scale = len(digits) + int(exponent) - 1
    if -4 <= scale < 6:
        return repr(float(number)).removesuffix(".0")
    first, *rest = map(str, digits)
    mantissa = f"{first}.{''.join(rest)}" if rest else first
    return f"{'-' if sign else ''}{mantissa}e{'-' if scale < 0 else '+'}{abs(scale):02d}"
