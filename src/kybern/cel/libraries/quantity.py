"""Kubernetes quantities: compared and added as what they are, not as texts."""

from functools import lru_cache
from typing import Any

from kybern.api import quantity as quantities
from kybern.cel import costs
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.types import BOOL, DOUBLE, INT, STRING, opaque
from kybern.cel.values import INT_MAX, INT_MIN, Opaque

TEXTS_REMEMBERED = 1024
QUANTITY_TYPE = opaque("kubernetes.Quantity")


Scaled = tuple[int, int] | None
"""A number of 64 bits and its power of ten; None where it takes more. Only of the first it is said that it is whole."""


class Quantity(Opaque):
    __slots__ = ("nano", "scaled")
    cel_type = QUANTITY_TYPE

    def __init__(self, nano: int, scaled: Scaled) -> None:
        self.nano = nano
        self.scaled = scaled

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __hash__(self) -> int:
        return hash(self.nano)


@lru_cache(maxsize=TEXTS_REMEMBERED)
def quantity(text: str) -> Quantity:
    try:
        return Quantity(quantities.parse(text).nano, quantities.in_64_bits(text))
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except ValueError:
        return False
    return True


def whole(found: Quantity) -> int | None:
    if found.scaled is None or found.scaled[1] < 0:
        return None
    return fitting(found.scaled[0] * 10 ** found.scaled[1])


def fitting(number: int) -> int | None:
    return number if INT_MIN <= number <= INT_MAX else None


def as_integer(found: Quantity) -> int:
    number = whole(found)
    if number is None:
        raise EvaluationError("cannot convert value to integer")
    return number


def plus(one: Quantity, other: Quantity, times: int = 1) -> Quantity:
    return Quantity(one.nano + times * other.nano, scaled_sum(one.scaled, other.scaled, times))


def scaled_sum(one: Scaled, other: Scaled, times: int) -> Scaled:
    if one is None or other is None:
        return None
    if other[0] == 0:
        return one
    if one[0] == 0:
        return times * other[0], other[1]
    scale = min(one[1], other[1])
    number = fitting(one[0] * 10 ** (one[1] - scale) + times * other[0] * 10 ** (other[1] - scale))
    return None if number is None else (number, scale)


def of_int(number: int) -> Quantity:
    return Quantity(number * quantities.NANO, (number, 0))


def sign(found: int) -> int:
    return (found > 0) - (found < 0)


TWO = (QUANTITY_TYPE, QUANTITY_TYPE)
QUANTITY: Library = (
    function("quantity", (STRING,), QUANTITY_TYPE, quantity, costs.traversal()),
    function("isQuantity", (STRING,), BOOL, is_quantity, costs.traversal()),
    function("sign", (QUANTITY_TYPE,), INT, lambda found: sign(found.nano)),
    member("isInteger", (QUANTITY_TYPE,), BOOL, lambda found: whole(found) is not None),
    member("asInteger", (QUANTITY_TYPE,), INT, as_integer),
    member("asApproximateFloat", (QUANTITY_TYPE,), DOUBLE, lambda found: found.nano / quantities.NANO),
    member("isGreaterThan", TWO, BOOL, lambda one, other: one.nano > other.nano),
    member("isLessThan", TWO, BOOL, lambda one, other: one.nano < other.nano),
    member("compareTo", TWO, INT, lambda one, other: sign(one.nano - other.nano)),
    member("add", TWO, QUANTITY_TYPE, plus),
    member("sub", TWO, QUANTITY_TYPE, lambda one, other: plus(one, other, -1)),
    member("add", (QUANTITY_TYPE, INT), QUANTITY_TYPE, lambda one, more: plus(one, of_int(more))),
    member("sub", (QUANTITY_TYPE, INT), QUANTITY_TYPE, lambda one, less: plus(one, of_int(less), -1)),
)
