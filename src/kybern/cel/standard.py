"""The standard functions and operators: CEL's definition, with numbers of different kinds compared by value."""

import operator
import re
from collections.abc import Callable
from typing import Any

from kybern.cel import costs, times
from kybern.cel.errors import CostLimitExceeded, EvaluationError
from kybern.cel.functions import Library, Overload, function, member
from kybern.cel.patterns import compiled
from kybern.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    B,
    list_of,
    map_of,
    type_of,
)
from kybern.cel.values import (
    Duration,
    Timestamp,
    UInt,
    Work,
    checked_int,
    checked_uint,
    compare,
    equal,
    has_key,
    type_value,
)

NUMBERS = (INT, UINT, DOUBLE)
ELEMENTS_MAX = 1_000_000
"""Of a list: joining lists is counted as one step, and doubling them would not stay one for long."""
WHOLE = re.compile(r"[-+]?[0-9]{1,20}")
DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?|[-+]?(inf|infinity)|nan", re.IGNORECASE)
TRUTHS = {"true": True, "TRUE": True, "True": True, "t": True, "T": True, "1": True}
FALSEHOODS = {"false": False, "FALSE": False, "False": False, "f": False, "F": False, "0": False}


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


def concatenated(a: Any, b: Any) -> list[Any]:
    if len(a) + len(b) > ELEMENTS_MAX:
        raise CostLimitExceeded
    return [*a, *b]


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
        function("_+_", (list_of(A), list_of(A)), list_of(A), concatenated, costs.CONCATENATION),
        function("_+_", (DURATION, DURATION), DURATION, lambda a, b: times.bounded_duration(a.nano + b.nano)),
        function("_+_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: times.bounded_timestamp(a.nano + b.nano)),
        function("_+_", (DURATION, TIMESTAMP), TIMESTAMP, lambda a, b: times.bounded_timestamp(a.nano + b.nano)),
        function("_-_", (DURATION, DURATION), DURATION, lambda a, b: times.bounded_duration(a.nano - b.nano)),
        function("_-_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: times.bounded_timestamp(a.nano - b.nano)),
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


# --- conversions ------------------------------------------------------------------------------------------------------


def int_of_text(text: str) -> int:
    if WHOLE.fullmatch(text) is None:
        raise EvaluationError(f'strconv.ParseInt: parsing "{text[:64]}": invalid syntax')
    return checked_int(int(text))


def uint_of_text(text: str) -> UInt:
    if WHOLE.fullmatch(text) is None or text[0] in "-+":
        raise EvaluationError(f'strconv.ParseUint: parsing "{text[:64]}": invalid syntax')
    return checked_uint(int(text))


def int_of_double(value: float) -> int:
    if not -(2.0**63) < value < 2.0**63:
        raise EvaluationError("integer overflow")
    return int(value)


def uint_of_double(value: float) -> UInt:
    if not 0 <= value < 2.0**64:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)


def double_of_text(text: str) -> float:
    if len(text) > 512 or DECIMAL.fullmatch(text) is None:
        raise EvaluationError(f'strconv.ParseFloat: parsing "{text[:64]}": invalid syntax')
    return float(text)


def bool_of_text(text: str) -> bool:
    found = TRUTHS.get(text, FALSEHOODS.get(text))
    if found is None:
        raise EvaluationError(f'strconv.ParseBool: parsing "{text[:64]}": invalid syntax')
    return found


def text_of_double(value: float) -> str:
    """The shortest that reads back as the same, in Go's notation."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    return re.sub(r"e([-+])(\d)$", r"e\g<1>0\2", text)


def text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def conversions() -> Library:
    seconds = times.SECOND
    return (
        *(function(name, (type_,), type_, lambda value: value) for name, type_ in (
            ("int", INT), ("uint", UINT), ("double", DOUBLE), ("bool", BOOL), ("string", STRING), ("bytes", BYTES),
            ("timestamp", TIMESTAMP), ("duration", DURATION),
        )),
        function("int", (UINT,), INT, checked_int),
        function("int", (DOUBLE,), INT, int_of_double),
        function("int", (STRING,), INT, int_of_text),
        function("int", (TIMESTAMP,), INT, lambda value: value.nano // seconds),
        function("int", (DURATION,), INT, lambda value: value.nano),
        function("uint", (INT,), UINT, checked_uint),
        function("uint", (DOUBLE,), UINT, uint_of_double),
        function("uint", (STRING,), UINT, uint_of_text),
        function("double", (INT,), DOUBLE, float),
        function("double", (UINT,), DOUBLE, float),
        function("double", (STRING,), DOUBLE, double_of_text),
        function("bool", (STRING,), BOOL, bool_of_text),
        function("string", (INT,), STRING, str),
        function("string", (UINT,), STRING, lambda value: str(int(value))),
        function("string", (DOUBLE,), STRING, text_of_double),
        function("string", (BOOL,), STRING, lambda value: "true" if value else "false"),
        function("string", (BYTES,), STRING, text_of_bytes, costs.SAME),
        function("string", (TIMESTAMP,), STRING, times.text_of_timestamp),
        function("string", (DURATION,), STRING, times.text_of_duration),
        function("bytes", (STRING,), BYTES, str.encode, costs.SAME),
        function("timestamp", (STRING,), TIMESTAMP, times.timestamp),
        function("timestamp", (INT,), TIMESTAMP, lambda value: times.bounded_timestamp(value * seconds)),
        function("duration", (STRING,), DURATION, times.duration),
        function("duration", (INT,), DURATION, Duration),
        function("dyn", (A,), DYN, lambda value: value),
        function("type", (A,), type_of(A), type_value),
    )  # fmt: skip


# --- texts and times --------------------------------------------------------------------------------------------------


def texts() -> Library:
    return (
        member("startsWith", (STRING, STRING), BOOL, str.startswith, costs.traversal(1)),
        member("endsWith", (STRING, STRING), BOOL, str.endswith, costs.traversal(1)),
        member("contains", (STRING, STRING), BOOL, lambda text, part: part in text, costs.TEXT_SEARCH),
        member("matches", (STRING, STRING), BOOL, matches, costs.PATTERN_SEARCH),
        function("matches", (STRING, STRING), BOOL, matches, costs.PATTERN_SEARCH),
        *(make("size", (type_,), INT, len) for make in (function, member) for type_ in (
            STRING, BYTES, list_of(A), map_of(A, B),
        )),
    )  # fmt: skip


def matches(text: str, pattern: str) -> bool:
    return compiled(pattern).search(text) is not None


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
    units = {"getHours": 3600 * times.SECOND, "getMinutes": 60 * times.SECOND, "getSeconds": times.SECOND}
    for name, unit in units.items():
        found.append(member(name, (DURATION,), INT, lambda value, unit=unit: quotient(value.nano, unit)))
    found.append(member("getMilliseconds", (DURATION,), INT, lambda value: quotient(value.nano, 1_000_000) % 1000))
    return tuple(found)


def logic() -> Library:
    """The calls of `&&`, `||` and `?:` are never made: the compiler has its own way for them."""

    def never(*args: Any) -> Any:
        raise AssertionError("compiled by itself")

    return (
        function("_&&_", (BOOL, BOOL), BOOL, never),
        function("_||_", (BOOL, BOOL), BOOL, never),
        function("_?_:_", (BOOL, A, A), A, never),
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
