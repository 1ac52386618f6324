"""Numbers that may be percentages: maxSurge, maxUnavailable and their like."""

import math

from kybern.api.numbers import INT32_MAX

DIGITS_MAX = 10
"""What has more says no size that anything can have."""


def scaled(value: int | str, total: int, *, up: bool) -> int:
    """A number as it is, a percentage of `total` rounded up or down; of either no more than an int32 holds."""
    if isinstance(value, int):
        return value
    digits = value.removesuffix("%").lstrip("0") or "0"
    if len(digits) > DIGITS_MAX:
        return INT32_MAX if total else 0
    share = int(digits) * total / 100
    return min(math.ceil(share) if up else math.floor(share), INT32_MAX)
