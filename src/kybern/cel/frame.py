"""One evaluation under way: the variables' values, the loops' own variables, and what may still be spent."""

from collections.abc import Callable, Mapping
from typing import Any

from kybern.cel.errors import CostLimitExceeded


class Frame:
    __slots__ = ("left", "slots", "values")

    def __init__(self, values: Mapping[str, Any], slots: int, left: int) -> None:
        self.values = values
        self.slots: list[Any] = [None] * slots
        self.left = left

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise CostLimitExceeded


Run = Callable[[Frame], Any]
