"""Whole numbers that somebody wrote as text, as Go's strconv.ParseInt reads them.

Python's `int` takes more (spaces, underscores, the digits of other scripts), and fails for what has thousands of digits.
Whoever writes an annotation or a label may choose all of these.
"""

import re

INT32_MAX = 2**31 - 1

NUMBER = re.compile(r"[+-]?0*[0-9]{1,19}", re.ASCII)
"""No more digits than an int64 can have, whatever zeros stand before them."""


def integer(text: str | None, bits: int = 64) -> int | None:
    """None for what is no decimal number, or none that a signed integer of so many bits holds."""
    if text is None or NUMBER.fullmatch(text) is None:
        return None
    sign, digits = -1 if text.startswith("-") else 1, text.lstrip("+-0")
    number = sign * int(digits or "0")
    return number if -(1 << bits - 1) <= number < 1 << bits - 1 else None


def compares(value: str | None, operator: str, limit: str) -> bool:
    """`Gt` or `Lt` of a selector: both are numbers, and the value is on the right side of the limit."""
    number, bound = integer(value), integer(limit)
    if number is None or bound is None:
        return False
    return number > bound if operator == "Gt" else number < bound
