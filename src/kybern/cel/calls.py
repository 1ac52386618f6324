"""Calls of functions: whose type is known, whose cost depends on sizes, or whose overload is found by what comes.

What a call looks at beyond its arguments (`Work`) is charged where it is more than upstream's costs count with, so that
comparing what is deep costs what it takes.
"""

from collections.abc import Callable
from typing import Any

from kybern.cel.errors import no_such_overload
from kybern.cel.frame import Frame, Run
from kybern.cel.functions import Overload
from kybern.cel.values import WORK_COST, Work, equal, fits

WORK_FREE = 100
SCALARS = Work(2**63)


def compared(left: Run, right: Run, wanted: bool) -> Run:
    """Equality where one side has no size."""
    if wanted:
        return lambda frame: equal(left(frame), right(frame), SCALARS)
    return lambda frame: not equal(left(frame), right(frame), SCALARS)


def enumerated(value: Run, wanted: list[Any]) -> Run:
    """Whether it is one of these, which are all of one type."""
    kind, members = type(wanted[0]), frozenset(wanted)

    def run(frame: Frame) -> Any:
        found = value(frame)
        if type(found) is kind:
            return found in members
        return any(equal(found, each, SCALARS) for each in wanted)

    return run


def plain(call: Callable[..., Any], runs: list[Run]) -> Run:
    match runs:
        case [one]:
            return lambda frame: call(one(frame))
        case [one, two]:
            return lambda frame: call(one(frame), two(frame))
    return lambda frame: call(*[run(frame) for run in runs])


def charged(overload: Overload, runs: list[Run]) -> Run:
    return lambda frame: invoked(frame, overload, [run(frame) for run in runs])


def invoked(frame: Frame, overload: Overload, args: list[Any]) -> Any:
    cost, looked_at = overload.cost, 0
    if overload.works:
        limit = (frame.left + frame.rest) // WORK_COST + WORK_FREE
        work = Work(limit)
        result = overload.call(*args, work)
        looked_at = limit - work.left
    else:
        result = overload.call(*args)
    spent = cost.fixed if cost.actual is None else cost.actual(args, result)
    frame.spend(max(spent, looked_at * WORK_COST) if looked_at > WORK_FREE else spent)
    return result


def dispatched(overloads: list[Overload], runs: list[Run]) -> Run:
    """By the types that come; what was found for them once is remembered."""
    remembered: dict[tuple[type[Any], ...], Overload] = {}

    def run(frame: Frame) -> Any:
        args = [arg(frame) for arg in runs]
        types = tuple(map(type, args))
        overload = remembered.get(types)
        if overload is None:
            overload = remembered[types] = fitting(overloads, args)
        return invoked(frame, overload, args)

    return run


def fitting(overloads: list[Overload], args: list[Any]) -> Overload:
    for overload in overloads:
        if all(map(fits, args, overload.params)):
            return overload
    raise no_such_overload()
