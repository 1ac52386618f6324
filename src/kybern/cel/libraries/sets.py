"""Lists as sets: who is in whom, in any order."""

from typing import Any

from kybern.cel import costs
from kybern.cel.functions import Library, function
from kybern.cel.types import BOOL, A, list_of
from kybern.cel.values import Work, equal


def contains(found: Any, wanted: Any, work: Work) -> bool:
    work.begin(len(found) * len(wanted))
    return all(any(equal(each, one, work) for each in found) for one in wanted)


def equivalent(one: Any, other: Any, work: Work) -> bool:
    return contains(one, other, work) and contains(other, one, work)


def intersects(one: Any, other: Any, work: Work) -> bool:
    work.begin(len(one) * len(other))
    return any(equal(each, another, work) for each in one for another in other)


PAIR = (list_of(A), list_of(A))
SETS: Library = (
    function("sets.contains", PAIR, BOOL, contains, costs.times(1), works=True),
    function("sets.equivalent", PAIR, BOOL, equivalent, costs.times(2), works=True),
    function("sets.intersects", PAIR, BOOL, intersects, costs.times(1), works=True),
)
