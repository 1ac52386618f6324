"""Kubernetes quantities: compared and added as what they are, not as texts."""

from typing import Any

from kybern.api import quantity as quantities
from kybern.cel import costs
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.types import BOOL, DOUBLE, INT, STRING, opaque
from kybern.cel.values import INT_MAX, INT_MIN, Opaque

QUANTITY_TYPE = opaque("kubernetes.Quantity")


class Quantity(Opaque):
    __slots__ = ("nano",)
    cel_type = QUANTITY_TYPE

    def __init__(self, nano: int) -> None:
        self.nano = nano

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __hash__(self) -> int:
        return hash(self.nano)


def quantity(text: str) -> Quantity:
    try:
        return Quantity(quantities.parse(text).nano)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except ValueError:
        return False
    return True


def is_integer(found: Quantity) -> bool:
    return found.nano % quantities.NANO == 0 and INT_MIN <= found.nano // quantities.NANO <= INT_MAX


def as_integer(found: Quantity) -> int:
    if not is_integer(found):
        raise EvaluationError("cannot convert value to integer")
    return found.nano // quantities.NANO


def sign(found: int) -> int:
    return (found > 0) - (found < 0)


TWO = (QUANTITY_TYPE, QUANTITY_TYPE)
QUANTITY: Library = (
    function("quantity", (STRING,), QUANTITY_TYPE, quantity, costs.traversal()),
    function("isQuantity", (STRING,), BOOL, is_quantity, costs.traversal()),
    *(make("sign", (QUANTITY_TYPE,), INT, lambda found: sign(found.nano)) for make in (function, member)),
    member("isInteger", (QUANTITY_TYPE,), BOOL, is_integer),
    member("asInteger", (QUANTITY_TYPE,), INT, as_integer),
    member("asApproximateFloat", (QUANTITY_TYPE,), DOUBLE, lambda found: found.nano / quantities.NANO),
    member("isGreaterThan", TWO, BOOL, lambda one, other: one.nano > other.nano),
    member("isLessThan", TWO, BOOL, lambda one, other: one.nano < other.nano),
    member("compareTo", TWO, INT, lambda one, other: sign(one.nano - other.nano)),
    member("add", TWO, QUANTITY_TYPE, lambda one, other: Quantity(one.nano + other.nano)),
    member("sub", TWO, QUANTITY_TYPE, lambda one, other: Quantity(one.nano - other.nano)),
    member("add", (QUANTITY_TYPE, INT), QUANTITY_TYPE, lambda one, more: Quantity(one.nano + more * quantities.NANO)),
    member("sub", (QUANTITY_TYPE, INT), QUANTITY_TYPE, lambda one, less: Quantity(one.nano - less * quantities.NANO)),
)
