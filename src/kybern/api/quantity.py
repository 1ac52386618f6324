"""Quantities: `500m` CPUs, `1Gi` bytes, `1e3` of anything. Exact, in whole billionths.

- A text is parsed once and remembered: the same few amounts come again and again.
- The canonical text keeps the family of suffixes that its author chose: decimal (`m`), binary (`Ki`), exponent (`e3`).
- What is finer than a billionth is rounded away from zero, what is beyond 2^63-1 is capped, as upstream does.
"""

import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from kybern.api.shape import Quantity

Family = Literal["decimal", "binary", "exponent"]

NANO = 10**9
LARGEST = (2**63 - 1) * NANO
EXPONENT_MAX = 63  # beyond it nothing is left after capping, and a long exponent is an attack on memory
TEXT_LENGTH_MAX = 512  # digits of a number are work; nobody writes this many
TEXTS_REMEMBERED = 8192

TEXT = re.compile(r"[+-]?([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
WRONG_NUMBER = "unable to parse numeric part of quantity"
WRONG_SUFFIX = "unable to parse quantity's suffix"

DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in DECIMAL.items()}
BINARY_SUFFIX = ("", *BINARY)


class Amount(NamedTuple):
    nano: int
    family: Family


@lru_cache(maxsize=TEXTS_REMEMBERED)
def parse(text: str) -> Amount:
    """ValueError, in upstream's words, where it is no quantity."""
    whole, fraction, suffix = _split(text)
    negative = text.startswith("-")
    scale, binary, family = _suffix(suffix)
    numerator = int(whole + fraction or "0") << binary
    scale += 9 - len(fraction)
    nano = numerator * 10**scale if scale >= 0 else -(-numerator // 10**-scale)
    nano = min(nano, LARGEST)
    if family == "binary" and nano < NANO:
        family = "decimal"
    return Amount(-nano if negative else nano, family)


def in_64_bits(text: str) -> tuple[int, int] | None:
    """A number and its power of ten, as upstream keeps those for which 64 bits do; None for others, which it keeps apart."""
    whole, fraction, suffix = _split(text)
    scale, binary, family = _suffix(suffix)
    digits = whole.lstrip("0") or "0"
    free = 18 - len(digits + fraction)
    if family == "binary":
        free = -1 if fraction else 14 - len(digits) - binary * 3 // 10
    scale -= len(fraction)
    number = int(digits + fraction) << binary
    if free < 0 or scale < -9 or number >= 2**63:
        return None
    return -number if text.startswith("-") else number, scale


def _split(text: str) -> tuple[str, str, str]:
    """The digits before and after the point, and the suffix."""
    match = TEXT.fullmatch(text) if len(text) <= TEXT_LENGTH_MAX else None
    if match is None or text.rstrip("+-") == "":
        raise ValueError(WRONG_FORMAT)
    whole, fraction, suffix = match.groups("")
    if not whole and not fraction:
        raise ValueError(WRONG_NUMBER)
    return whole, fraction, suffix


def _suffix(suffix: str) -> tuple[int, int, Family]:
    """Its power of ten, its power of two and its family."""
    if (scale := DECIMAL.get(suffix)) is not None:
        return scale, 0, "decimal"
    if (binary := BINARY.get(suffix)) is not None:
        return 0, binary, "binary"
    if suffix[:1] in ("e", "E"):
        try:
            exponent = int(suffix[1:])
        except ValueError:
            raise ValueError(WRONG_SUFFIX) from None
        if abs(exponent) <= EXPONENT_MAX:
            return exponent, 0, "exponent"
    raise ValueError(WRONG_SUFFIX)


@lru_cache(maxsize=TEXTS_REMEMBERED)
def _canonical_of_text(text: str) -> Quantity:
    return from_amount(*parse(text))


def canonical(value: Any) -> Quantity:
    """Upstream's canonical text of a quantity given as text or number. ValueError where it is none."""
    if isinstance(value, str):
        return _canonical_of_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(WRONG_FORMAT)
    return _canonical_of_text(repr(value))


def from_amount(nano: int, family: Family = "decimal") -> Quantity:
    """The canonical text of an amount."""
    if nano == 0:
        return Quantity("0")
    if family == "binary" and abs(nano) >= 1024 * NANO and nano % NANO == 0:
        number, times = _without_factor(nano // NANO, 1024)
        return Quantity(f"{number}{BINARY_SUFFIX[times]}")
    number, times = _without_factor(nano, 10)
    exponent = times - 9
    number *= int(10 ** (exponent % 3))
    exponent -= exponent % 3
    if family == "exponent":
        return Quantity(f"{number}e{exponent}" if exponent else str(number))
    return Quantity(f"{number}{DECIMAL_SUFFIX[exponent]}")


def _without_factor(number: int, factor: int) -> tuple[int, int]:
    times = 0
    while number % factor == 0:
        number //= factor
        times += 1
    return number, times


def of_value(whole: int, family: Family = "decimal") -> Quantity:
    """So many units: bytes, say, with the family `binary`."""
    return from_amount(whole * NANO, family)


def value(quantity: str) -> int:
    """In whole units, rounded away from zero."""
    return _divided(parse(quantity).nano, NANO)


def milli(quantity: str) -> int:
    """In thousandths, rounded away from zero."""
    return _divided(parse(quantity).nano, 1_000_000)


def _divided(nano: int, unit: int) -> int:
    return -(-nano // unit) if nano >= 0 else nano // unit


def compare(one: str, other: str) -> int:
    """-1, 0 or 1, as `one` is less than, equal to or more than `other`."""
    a, b = parse(one).nano, parse(other).nano
    return (a > b) - (a < b)


def add(one: str, other: str) -> Quantity:
    """The sum, in the family of the first that is not zero."""
    a, b = parse(one), parse(other)
    return from_amount(a.nano + b.nano, a.family if a.nano else b.family)


def subtract(one: str, other: str) -> Quantity:
    a, b = parse(one), parse(other)
    return from_amount(a.nano - b.nano, a.family if a.nano else b.family)


def rounded_up_to_milli(quantity: str) -> Quantity:
    """What upstream makes of the amounts in a resource list."""
    return from_amount(milli(quantity) * 1_000_000, parse(quantity).family)
