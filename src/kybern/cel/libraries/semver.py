"""Semantic versions, 2.0.0: strict, or with `normalize` as people write them (`v1.0`)."""

import re
from typing import Any

from kybern.cel import costs
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.types import BOOL, INT, STRING, opaque
from kybern.cel.values import INT_MAX, Opaque

SEMVER_TYPE = opaque("kubernetes.Semver")
DIGITS = re.compile(r"[0-9]*")
IDENTIFIER = re.compile(r"[0-9A-Za-z-]+")
LENGTH_MAX = 1024


class Semver(Opaque):
    __slots__ = ("numbers", "order")
    cel_type = SEMVER_TYPE

    def __init__(self, numbers: tuple[int, ...], before: list[str]) -> None:
        self.numbers = numbers
        parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in before]
        self.order = (numbers, not parts, parts)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Semver) and self.order == other.order

    def __hash__(self) -> int:
        return hash(self.numbers)


def semver(text: str, normalize: bool = False) -> Semver:
    if len(text) > LENGTH_MAX:
        raise EvaluationError(f"version of more than {LENGTH_MAX} characters")
    return parsed(normalized(text) if normalize else text)


def parsed(text: str) -> Semver:
    if not text:
        raise EvaluationError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) < 3:
        raise EvaluationError("No Major.Minor.Patch elements found")
    rest, _, build = parts[2].partition("+")
    patch, dash, before = rest.partition("-")
    numbers = number("Major", parts[0]), number("Minor", parts[1]), number("Patch", patch)
    former = before.split(".") if dash else []
    for part in former:
        check_former(part)
    for part in build.split(".") if "+" in parts[2] else ():
        check(part, "Build meta data is empty", "build meta data")
    return Semver(numbers, former)


def number(name: str, text: str) -> int:
    if DIGITS.fullmatch(text) is None:
        raise EvaluationError(f'Invalid character(s) found in {name.lower()} number "{text}"')
    if len(text) > 1 and text[0] == "0":
        raise EvaluationError(f'{name} number must not contain leading zeroes "{text}"')
    if not text:
        raise EvaluationError('strconv.ParseUint: parsing "": invalid syntax')
    if int(text) > INT_MAX:
        raise EvaluationError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def check_former(part: str) -> None:
    check(part, "Prerelease is empty", "prerelease")
    if part.isdigit() and len(part) > 1 and part[0] == "0":
        raise EvaluationError(f'Numeric PreRelease version must not contain leading zeroes "{part}"')


def check(part: str, empty: str, name: str) -> None:
    if not part:
        raise EvaluationError(empty)
    if IDENTIFIER.fullmatch(part) is None:
        raise EvaluationError(f'Invalid character(s) found in {name} "{part}"')


def normalized(text: str) -> str:
    """Without a leading `v` and zeros, with all three numbers."""
    parts = [without_zeros(part) for part in text.removeprefix("v").split(".", 2)]
    if len(parts) < 3 and any(mark in parts[-1] for mark in "+-"):
        raise EvaluationError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][: max(3, len(parts))])


def without_zeros(part: str) -> str:
    if len(part) < 2:
        return part
    rest = part.lstrip("0")
    return rest if rest and rest[0] in "0123456789" else f"0{rest}"


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
