"""The standard functions and operators: CEL's definition, with numbers of different kinds compared by value."""

import operator
from collections.abc import Callable
from typing import Any

from kybern.cel import costs, times
from kybern.cel.conversions import conversions
from kybern.cel.errors import CostLimitExceeded, EvaluationError
from kybern.cel.functions import Library, Overload, compiled_by_itself, function, member
from kybern.cel.patterns import fitting
from kybern.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    B,
    list_of,
    map_of,
)
from kybern.cel.values import (
    ELEMENTS_MAX,
    Keyed,
    Timestamp,
    UInt,
    Work,
    checked_int,
    checked_uint,
    compare,
    equal,
    has_key,
)

NUMBERS = (INT, UINT, DOUBLE)
ELEMENTS_A_STEP = 100
"""Of lists that are put together."""


# --- order ------------------------------------------------------------------------------------------------------------


def ordered(name: str, holds: Callable[[int], bool]) -> list[Overload]:
    def call(one: Any, other: Any) -> bool:
        found = compare(one, other)
        return found != 2 and holds(found)

    same = [(kind, kind) for kind in (BOOL, TIMESTAMP, DURATION)]
    numbers = [(one, other) for one in NUMBERS for other in NUMBERS]
    sized = [(STRING, STRING), (BYTES, BYTES)]
    return [
        *(function(name, pair, BOOL, call, costs.ONE) for pair in (*same, *numbers)),
        *(function(name, pair, BOOL, call, costs.SMALLER) for pair in sized),
    ]


# --- arithmetic -------------------------------------------------------------------------------------------------------


def quotient(a: int, b: int) -> int:
    """Truncated, not floored as Python has it."""
    if b == 0:
        raise EvaluationError("division by zero")
    found = abs(a) // abs(b)
    return checked_int(found if (a < 0) == (b < 0) else -found)


def remainder(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("modulus by zero")
    found = abs(a) % abs(b)
    return -found if a < 0 else found


def quotient_uint(a: int, b: int) -> UInt:
    if b == 0:
        raise EvaluationError("division by zero")
    return UInt(a // b)


def remainder_uint(a: int, b: int) -> UInt:
    if b == 0:
        raise EvaluationError("modulus by zero")
    return UInt(a % b)


def quotient_double(a: float, b: float) -> float:
    if b != 0:
        return a / b
    return float("nan") if a == 0 or a != a else float("inf") if (a > 0) == (str(b)[0] != "-") else float("-inf")


def concatenated(a: Any, b: Any, work: Work) -> list[Any]:
    if len(a) + len(b) > ELEMENTS_MAX:
        raise CostLimitExceeded
    work.step((len(a) + len(b)) // ELEMENTS_A_STEP)
    return a.plus(b, work) if isinstance(a, Keyed) else [*a, *b]


def arithmetic() -> Library:
    found = []
    for sign, calculate in (("_+_", operator.add), ("_-_", operator.sub), ("_*_", operator.mul)):
        found += [
            function(sign, (INT, INT), INT, lambda a, b, calculate=calculate: checked_int(calculate(int(a), int(b)))),
            function(
                sign, (UINT, UINT), UINT, lambda a, b, calculate=calculate: checked_uint(calculate(int(a), int(b)))
            ),
            function(sign, (DOUBLE, DOUBLE), DOUBLE, calculate),
        ]
    return (
        *found,
        function("_/_", (INT, INT), INT, quotient),
        function("_/_", (UINT, UINT), UINT, quotient_uint),
        function("_/_", (DOUBLE, DOUBLE), DOUBLE, quotient_double),
        function("_%_", (INT, INT), INT, remainder),
        function("_%_", (UINT, UINT), UINT, remainder_uint),
        function("-_", (INT,), INT, lambda a: checked_int(-a)),
        function("-_", (DOUBLE,), DOUBLE, operator.neg),
        function("_+_", (STRING, STRING), STRING, operator.add, costs.SUM),
        function("_+_", (BYTES, BYTES), BYTES, operator.add, costs.SUM),
        function("_+_", (list_of(A), list_of(A)), list_of(A), concatenated, costs.CONCATENATION, works=True),
        function("_+_", (DURATION, DURATION), DURATION, lambda a, b: times.bounded_duration(a.nano + b.nano)),
        function("_+_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: times.later(a, b.nano)),
        function("_+_", (DURATION, TIMESTAMP), TIMESTAMP, lambda a, b: times.later(b, a.nano)),
        function("_-_", (DURATION, DURATION), DURATION, lambda a, b: times.bounded_duration(a.nano - b.nano)),
        function("_-_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: times.later(a, -b.nano)),
        function("_-_", (TIMESTAMP, TIMESTAMP), DURATION, lambda a, b: times.bounded_duration(a.nano - b.nano)),
    )


# --- containers -------------------------------------------------------------------------------------------------------


def indexed(found: Any, index: int) -> Any:
    if not 0 <= index < len(found):
        raise EvaluationError(f"index out of bounds: {index}")
    return found[index]


def indexed_double(found: Any, index: float) -> Any:
    if index != int(index):
        raise EvaluationError("unsupported index value")
    return indexed(found, int(index))


def looked_up(found: Any, key: Any) -> Any:
    if not has_key(found, key):
        raise EvaluationError(f"no such key: {key}")
    return found[key]


def in_list(value: Any, found: Any, work: Work) -> bool:
    return any(equal(value, each, work) for each in found)


# --- texts and times --------------------------------------------------------------------------------------------------


def texts() -> Library:
    return (
        member("startsWith", (STRING, STRING), BOOL, str.startswith, costs.traversal(1)),
        member("endsWith", (STRING, STRING), BOOL, str.endswith, costs.traversal(1)),
        member("contains", (STRING, STRING), BOOL, lambda text, part: part in text, costs.TEXT_SEARCH),
        member("matches", (STRING, STRING), BOOL, matches, costs.PATTERN_SEARCH, works=True),
        function("matches", (STRING, STRING), BOOL, matches, costs.PATTERN_SEARCH, works=True),
        *(make("size", (type_,), INT, len) for make in (function, member) for type_ in (
            STRING, BYTES, list_of(A), map_of(A, B),
        )),
    )  # fmt: skip


def matches(text: str, pattern: str, work: Work) -> bool:
    return fitting(pattern, text, work).search(text) is not None


def moments() -> Library:
    parts: dict[str, Callable[[Any], int]] = {
        "getFullYear": lambda at: at.year,
        "getMonth": lambda at: at.month - 1,
        "getDayOfYear": lambda at: at.timetuple().tm_yday - 1,
        "getDayOfMonth": lambda at: at.day - 1,
        "getDate": lambda at: at.day,
        "getDayOfWeek": lambda at: at.isoweekday() % 7,
        "getHours": lambda at: at.hour,
        "getMinutes": lambda at: at.minute,
        "getSeconds": lambda at: at.second,
    }
    found: list[Overload] = []
    for name, part in parts.items():

        def call(value: Timestamp, where: str = "UTC", part: Callable[[Any], int] = part) -> int:
            return part(times.moment(value, where))

        found += [member(name, (TIMESTAMP,), INT, call), member(name, (TIMESTAMP, STRING), INT, call)]

    def milliseconds(value: Timestamp, where: str = "UTC") -> int:
        return value.nano % times.SECOND // 1_000_000

    found += [
        member("getMilliseconds", (TIMESTAMP,), INT, milliseconds),
        member("getMilliseconds", (TIMESTAMP, STRING), INT, milliseconds),
    ]
    units = {
        "getHours": 3600 * times.SECOND,
        "getMinutes": 60 * times.SECOND,
        "getSeconds": times.SECOND,
        "getMilliseconds": times.SECOND // 1000,
    }
    for name, unit in units.items():
        found.append(member(name, (DURATION,), INT, lambda value, unit=unit: quotient(value.nano, unit)))
    return tuple(found)


def logic() -> Library:
    return (
        function("_&&_", (BOOL, BOOL), BOOL, compiled_by_itself),
        function("_||_", (BOOL, BOOL), BOOL, compiled_by_itself),
        function("_?_:_", (BOOL, A, A), A, compiled_by_itself),
        function("!_", (BOOL,), BOOL, operator.not_),
        function("_==_", (A, A), BOOL, equal, costs.SMALLER, works=True),
        function("_!=_", (A, A), BOOL, lambda one, other, work: not equal(one, other, work), costs.SMALLER, works=True),
        *ordered("_<_", lambda found: found < 0),
        *ordered("_<=_", lambda found: found <= 0),
        *ordered("_>_", lambda found: found > 0),
        *ordered("_>=_", lambda found: found >= 0),
        function("@in", (A, list_of(A)), BOOL, in_list, costs.MEMBERSHIP, works=True),
        function("@in", (A, map_of(A, B)), BOOL, lambda key, found: has_key(found, key)),
        function("_[_]", (list_of(A), INT), A, indexed),
        function("_[_]", (list_of(A), UINT), A, indexed),
        function("_[_]", (list_of(A), DOUBLE), A, indexed_double),
        function("_[_]", (map_of(A, B), A), B, looked_up),
    )


STANDARD: Library = (*logic(), *arithmetic(), *conversions(), *texts(), *moments())
