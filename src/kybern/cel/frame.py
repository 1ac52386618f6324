"""One evaluation under way: the variables' values, the loops' own variables, and what may still be spent.

What may be spent is handed out in slices, and between two of them it is seen whether there still is time.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kybern.cel.errors import CostLimitExceeded


class Frame:
    __slots__ = ("in_time", "left", "rest", "slice", "slots", "values")

    def __init__(
        self, values: Mapping[str, Any], slots: int, limit: int, slice_: int, in_time: Callable[[], None]
    ) -> None:
        """`in_time` raises where it has taken too long."""
        self.values = values
        self.slots: list[Any] = [None] * slots
        self.slice = slice_
        self.left = min(limit, slice_)
        self.rest = limit - self.left
        self.in_time = in_time

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            self.refill()

    def refill(self) -> None:
        """For whoever finds `left` below zero."""
        self.in_time()
        more = min(self.rest, max(self.slice, -self.left))
        self.rest -= more
        self.left += more
        if self.left < 0:
            raise CostLimitExceeded


Run = Callable[[Frame], Any]
