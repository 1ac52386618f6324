"""Semantic versions, 2.0.0: strict, or with `normalize` as people write them (`v1.0`)."""

import re
from typing import Any

from kybern.cel import costs
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.types import BOOL, INT, STRING, opaque
from kybern.cel.values import INT_MAX, Opaque

SEMVER_TYPE = opaque("kubernetes.Semver")
NUMBER = r"(?:0|[1-9][0-9]*)"
IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
VERSION = re.compile(
    rf"({NUMBER})\.({NUMBER})\.({NUMBER})(?:-({IDENTIFIER}(?:\.{IDENTIFIER})*))?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)
LENGTH_MAX = 1024


class Semver(Opaque):
    __slots__ = ("numbers", "order")
    cel_type = SEMVER_TYPE

    def __init__(self, numbers: tuple[int, ...], before: str | None) -> None:
        self.numbers = numbers
        parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in before.split(".")] if before else []
        self.order = (numbers, not parts, parts)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Semver) and self.order == other.order

    def __hash__(self) -> int:
        return hash(self.numbers)


def semver(text: str, normalize: bool = False) -> Semver:
    match = VERSION.fullmatch(normalized(text) if normalize else text) if len(text) <= LENGTH_MAX else None
    numbers = tuple(map(int, match.groups()[:3])) if match is not None else ()
    if match is None or max(numbers) > INT_MAX:
        raise EvaluationError(f"{text[:64]!r} is not a semantic version")
    return Semver(numbers, match.group(4))


def normalized(text: str) -> str:
    text = text.removeprefix("v")
    cut = next((at for at, char in enumerate(text) if char in "-+"), len(text))
    numbers = [part.lstrip("0") or "0" for part in text[:cut].split(".")]
    return ".".join([*numbers, "0", "0"][: max(3, len(numbers))]) + text[cut:]


def is_semver(text: str, normalize: bool = False) -> bool:
    try:
        semver(text, normalize)
    except EvaluationError:
        return False
    return True


def compared(one: Semver, other: Semver) -> int:
    return (one.order > other.order) - (one.order < other.order)


TWO = (SEMVER_TYPE, SEMVER_TYPE)
SEMVER: Library = (
    function("semver", (STRING,), SEMVER_TYPE, semver, costs.traversal()),
    function("semver", (STRING, BOOL), SEMVER_TYPE, semver, costs.traversal()),
    function("isSemver", (STRING,), BOOL, is_semver, costs.traversal()),
    function("isSemver", (STRING, BOOL), BOOL, is_semver, costs.traversal()),
    member("isGreaterThan", TWO, BOOL, lambda one, other: one.order > other.order),
    member("isLessThan", TWO, BOOL, lambda one, other: one.order < other.order),
    member("compareTo", TWO, INT, compared),
    member("major", (SEMVER_TYPE,), INT, lambda found: found.numbers[0]),
    member("minor", (SEMVER_TYPE,), INT, lambda found: found.numbers[1]),
    member("patch", (SEMVER_TYPE,), INT, lambda found: found.numbers[2]),
)
