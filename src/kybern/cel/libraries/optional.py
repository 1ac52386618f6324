"""Optionals: a value that may not be there, without an error."""

from typing import Any

from kybern.cel.access import chosen
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.types import BOOL, INT, A, B, list_of, map_of, optional_of
from kybern.cel.values import NONE, Optional

ZERO: tuple[Any, ...] = (None, False, 0, 0.0, "", b"")


def of_non_zero(value: Any) -> Optional:
    empty = len(value) == 0 if isinstance(value, list | tuple | dict) else value in ZERO
    return NONE if empty else Optional(value)


def value_of(optional: Optional) -> Any:
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


OPTIONAL: Library = (
    function("optional.of", (A,), optional_of(A), Optional),
    function("optional.ofNonZeroValue", (A,), optional_of(A), of_non_zero),
    function("optional.none", (), optional_of(A), lambda: NONE),
    member("hasValue", (optional_of(A),), BOOL, lambda found: found.present),
    member("value", (optional_of(A),), A, value_of),
    member("or", (optional_of(A), optional_of(A)), optional_of(A), lambda one, other: one if one.present else other),
    member("orValue", (optional_of(A), A), A, lambda found, other: found.value if found.present else other),
    function("_[?_]", (list_of(A), INT), optional_of(A), chosen),
    function("_[?_]", (optional_of(list_of(A)), INT), optional_of(A), chosen),
    function("_[?_]", (map_of(A, B), A), optional_of(B), chosen),
    function("_[?_]", (optional_of(map_of(A, B)), A), optional_of(B), chosen),
    function("_[_]", (optional_of(list_of(A)), INT), optional_of(A), chosen),
    function("_[_]", (optional_of(map_of(A, B)), A), optional_of(B), chosen),
)
