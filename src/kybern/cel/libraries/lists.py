"""Lists of what has an order: sums, extremes, places."""

import itertools
from typing import Any

from kybern.cel import costs, times
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, Overload, member
from kybern.cel.types import BOOL, BYTES, DOUBLE, DURATION, INT, STRING, TIMESTAMP, UINT, A, Type, list_of
from kybern.cel.values import Work, checked_int, checked_uint, compare, equal, kind_of

ORDERED = (INT, UINT, DOUBLE, BOOL, DURATION, TIMESTAMP, STRING, BYTES)
SUMMED = (INT, UINT, DOUBLE, DURATION)


def is_sorted(found: Any) -> bool:
    return all(compare(one, other) <= 0 for one, other in itertools.pairwise(found))


def extreme(name: str, sign: int) -> Any:
    def call(found: Any) -> Any:
        if not found:
            raise EvaluationError(f"{name} called on empty list")
        best = found[0]
        for each in found[1:]:
            if compare(each, best) == sign:
                best = each
        return best

    return call


def sum_of(kind: Type) -> Any:
    def call(found: Any) -> Any:
        if any(kind_of(each) != kind.kind for each in found):
            raise EvaluationError("no such overload")
        match kind.kind:
            case "duration":
                return times.bounded_duration(sum(each.nano for each in found))
            case "uint":
                return checked_uint(sum(map(int, found)))
            case "int":
                return checked_int(sum(found))
        return float(sum(found))

    return call


def summing(kind: Type) -> Any:
    """`kind` is what the elements are declared to be, which tells only of an empty list for certain."""
    kinds = {each.kind: each for each in SUMMED}
    return lambda found: sum_of(kinds.get(kind_of(found[0]), INT) if found else kind)(found)


def first_place(found: Any, wanted: Any, work: Work) -> int:
    return next((index for index, each in enumerate(found) if equal(each, wanted, work)), -1)


def last_place(found: Any, wanted: Any, work: Work) -> int:
    return next((index for index in reversed(range(len(found))) if equal(found[index], wanted, work)), -1)


def over(name: str, kinds: tuple[Type, ...], result: Type | None, call: Any) -> list[Overload]:
    models = {kind: costs.TEXT_ELEMENTS if kind in (STRING, BYTES) else costs.ELEMENTS for kind in kinds}
    return [member(name, (list_of(kind),), result or kind, call, models[kind]) for kind in kinds]


LISTS: Library = (
    *over("isSorted", ORDERED, BOOL, is_sorted),
    *over("max", ORDERED, None, extreme("max", 1)),
    *over("min", ORDERED, None, extreme("min", -1)),
    *(each for kind in SUMMED for each in over("sum", (kind,), None, summing(kind))),
    member("indexOf", (list_of(A), A), INT, first_place, costs.ELEMENTS, works=True),
    member("lastIndexOf", (list_of(A), A), INT, last_place, costs.ELEMENTS, works=True),
)
