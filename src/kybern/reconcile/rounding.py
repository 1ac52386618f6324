"""Numbers that may be percentages: maxSurge, maxUnavailable and their like."""

import math


def scaled(value: int | str, total: int, *, up: bool) -> int:
    """A number as it is, a percentage of `total` rounded up or down."""
    if isinstance(value, int):
        return value
    share = int(value.removesuffix("%")) * total / 100
    return math.ceil(share) if up else math.floor(share)
