"""Reading one value of a configuration file. ValueError says what is wrong with it; whoever asks says where."""

from collections.abc import Sequence
from typing import Any

from kybern.api.quantity import value

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def whole_number(given: Any, least: int = 0) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise ValueError(f"must be a whole number of at least {least}")
    return given


def truth(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError("must be true or false")
    return given


def text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("must be a text")
    return given


def texts(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError("must be a list of names")
    return tuple(given)


def one_of(given: Any, known: Sequence[str]) -> str:
    if given not in known:
        raise ValueError(f"unknown policy {given!r}; there are {', '.join(known)}")
    return str(given)


def size(given: Any) -> int:
    """`10Mi`."""
    return value(text(given))


def share(given: Any) -> float:
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given <= 1:
        raise ValueError("must be greater than 0 and not greater than 1")
    return float(given)


def seconds(given: Any) -> float:
    """As Go writes a duration: `1m30s`."""
    total, number = 0.0, ""
    rest = text(given)
    while rest:
        unit = next((u for u in ("ms", "s", "m", "h") if rest.startswith(u)), "")
        if unit and number:
            total, number, rest = total + float(number) * UNITS[unit], "", rest[len(unit) :]
        elif rest[0].isdecimal() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
        else:
            raise ValueError(f"{given!r} is no duration")
    if number:
        raise ValueError(f"{given!r} lacks a unit")
    return total
