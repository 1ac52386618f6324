"""Optionals: a value that may not be there, without an error."""

from typing import Any

from kybern.cel.access import as_optional, chosen
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, compiled_by_itself, function, member
from kybern.cel.times import FIRST
from kybern.cel.types import BOOL, INT, A, B, list_of, map_of, optional_of
from kybern.cel.values import NONE, Duration, Optional, Timestamp, Work

ELEMENTS_A_STEP = 10
ZERO: tuple[Any, ...] = (None, False, 0, 0.0, "", b"", Duration(0), Timestamp(FIRST))


def of_non_zero(value: Any) -> Optional:
    empty = len(value) == 0 if isinstance(value, list | tuple | dict) else value in ZERO
    return NONE if empty else Optional(value)


def value_of(optional: Optional) -> Any:
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


def at_end(index: int) -> Any:
    return lambda found: Optional(found[index]) if found else NONE


def unwrapped(found: Any, work: Work) -> list[Any]:
    work.step(len(found) // ELEMENTS_A_STEP)
    return [each.value for each in map(as_optional, found) if each.present]


OPTIONAL: Library = (
    member("first", (list_of(A),), optional_of(A), at_end(0)),
    member("last", (list_of(A),), optional_of(A), at_end(-1)),
    function("optional.unwrap", (list_of(optional_of(A)),), list_of(A), unwrapped, works=True),
    member("unwrapOpt", (list_of(optional_of(A)),), list_of(A), unwrapped, works=True),
    function("optional.of", (A,), optional_of(A), Optional),
    function("optional.ofNonZeroValue", (A,), optional_of(A), of_non_zero),
    function("optional.none", (), optional_of(A), lambda: NONE),
    member("hasValue", (optional_of(A),), BOOL, lambda found: found.present),
    member("value", (optional_of(A),), A, value_of),
    member("or", (optional_of(A), optional_of(A)), optional_of(A), compiled_by_itself),
    member("orValue", (optional_of(A), A), A, compiled_by_itself),
    function("_[?_]", (list_of(A), INT), optional_of(A), chosen),
    function("_[?_]", (optional_of(list_of(A)), INT), optional_of(A), chosen),
    function("_[?_]", (map_of(A, B), A), optional_of(B), chosen),
    function("_[?_]", (optional_of(map_of(A, B)), A), optional_of(B), chosen),
    function("_[_]", (optional_of(list_of(A)), INT), optional_of(A), chosen),
    function("_[_]", (optional_of(map_of(A, B)), A), optional_of(B), chosen),
)
