"""Values of one type as values of another: what every text must look like, and what does not fit is an error."""

import re

from kybern.cel import costs, times
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function
from kybern.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, UINT, A, type_of
from kybern.cel.values import Duration, UInt, checked_int, checked_uint, type_value

WHOLE = re.compile(r"[-+]?[0-9]{1,20}")
DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?|[-+]?(inf|infinity)|nan", re.IGNORECASE)
TRUTHS = {"true": True, "TRUE": True, "True": True, "t": True, "T": True, "1": True}
FALSEHOODS = {"false": False, "FALSE": False, "False": False, "f": False, "F": False, "0": False}


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
