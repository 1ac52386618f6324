"""What calls cost: one model for each way that work grows, upstream's factors, for sizes known and for sizes feared.

A cost is reckoned twice: from bounds when an expression is written, so that a rule that could run away is refused, and
from the actual sizes when it runs, so that one that does is stopped. Both come from the same model here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from kybern.cel.types import UNBOUNDED
from kybern.cel.values import size_of

TRAVERSAL = 0.1
PATTERN = 0.25


class Span(NamedTuple):
    """The least and the most: of a size or a cost. Saturates where Go's would."""

    least: int
    most: int

    def plus(self, other: "Span") -> "Span":
        return Span(capped(self.least + other.least), capped(self.most + other.most))

    def times(self, other: "Span") -> "Span":
        return Span(capped(self.least * other.least), capped(self.most * other.most))

    def scaled(self, factor: float) -> "Span":
        return Span(scaled(self.least, factor), scaled(self.most, factor))

    def union(self, other: "Span") -> "Span":
        return Span(min(self.least, other.least), max(self.most, other.most))


UNKNOWN = Span(0, UNBOUNDED)


def capped(value: int) -> int:
    return min(value, UNBOUNDED)


def scaled(value: int, factor: float) -> int:
    return UNBOUNDED if value >= UNBOUNDED else capped(ceil(value * factor))


def exactly(value: int) -> Span:
    return Span(value, value)


@dataclass(frozen=True, slots=True)
class Cost:
    actual: Callable[[Sequence[Any], Any], int] | None
    """(arguments, result) -> cost; None where it always is `fixed`."""
    estimate: Callable[[Sequence[Span]], tuple[Span, Span | None]]
    """(sizes of the arguments) -> (cost, size of the result where it is known)."""
    fixed: int = 1
    by_items: Callable[[Sequence[Span], Sequence[Span]], tuple[Span, Span | None]] | None = None
    """The same where it matters how large the things are that an argument holds."""
    by_literals: Callable[[Sequence[Span], Sequence[int | None]], tuple[Span, Span | None]] | None = None
    """The same where it matters which numbers stand there."""


def fixed(cost: int) -> Cost:
    return Cost(None, lambda sizes: (exactly(cost), None), cost)


def traversal(argument: int = 0, factor: float = TRAVERSAL, *, same_size: bool = False) -> Cost:
    """Once along one of the arguments."""
    return Cost(
        lambda args, result: ceil(size_of(args[argument]) * factor),
        lambda sizes: (sizes[argument].scaled(factor), sizes[argument] if same_size else None),
    )


def _pattern_estimate(sizes: Sequence[Span]) -> tuple[Span, Span | None]:
    text = sizes[0].plus(exactly(1)).scaled(TRAVERSAL)
    return text.times(sizes[1].scaled(PATTERN)), Span(0, sizes[0].most)


def _smaller_estimate(sizes: Sequence[Span]) -> tuple[Span, Span | None]:
    most = min(sizes[0].most, sizes[1].most)
    return Span(1 if most else 0, most).scaled(TRAVERSAL), None


def _sum_estimate(sizes: Sequence[Span]) -> tuple[Span, Span | None]:
    both = sizes[0].plus(sizes[1])
    return both.scaled(TRAVERSAL), both


def times(factor: int) -> Cost:
    """Each element of one list against each of the other."""
    return Cost(
        lambda args, result: 1 + size_of(args[0]) * size_of(args[1]) * factor,
        lambda sizes: (exactly(1).plus(sizes[0].times(sizes[1]).times(exactly(factor))), None),
    )


def deep(value: Any) -> int:
    """What walking through all of a value costs."""
    if isinstance(value, str | bytes):
        return int(len(value) * TRAVERSAL)
    if isinstance(value, list | tuple):
        return sum(map(deep, value))
    if isinstance(value, dict):
        return sum(deep(key) + deep(inner) for key, inner in value.items())
    return 1


ONE, NOTHING = fixed(1), fixed(0)
SAME = traversal(same_size=True)
PATTERN_SEARCH = Cost(
    lambda args, result: ceil((1 + size_of(args[0])) * TRAVERSAL) * ceil(size_of(args[1]) * PATTERN), _pattern_estimate
)
TEXT_SEARCH = Cost(
    lambda args, result: ceil(size_of(args[0]) * TRAVERSAL) * ceil(size_of(args[1]) * TRAVERSAL),
    lambda sizes: (sizes[0].scaled(TRAVERSAL).times(sizes[1].scaled(TRAVERSAL)), None),
)
SMALLER = Cost(lambda args, result: ceil(min(size_of(args[0]), size_of(args[1])) * TRAVERSAL), _smaller_estimate)
SUM = Cost(lambda args, result: ceil((size_of(args[0]) + size_of(args[1])) * TRAVERSAL), _sum_estimate)
CONCATENATION = Cost(None, lambda sizes: (exactly(1), sizes[0].plus(sizes[1])))
MEMBERSHIP = Cost(lambda args, result: size_of(args[1]), lambda sizes: (sizes[1], None))
ELEMENTS = Cost(lambda args, result: deep(args[0]), lambda sizes: (sizes[0], None))
TEXT_ELEMENTS = Cost(
    ELEMENTS.actual,
    ELEMENTS.estimate,
    by_items=lambda sizes, items: (sizes[0].times(exactly(1).plus(items[0].scaled(TRAVERSAL))), None),
)


def replaced_size(sizes: Sequence[Span]) -> Span:
    """Of a text in which each of something became something else."""
    text, old, new = sizes[:3]
    if old.least == 0:
        most = text.plus(exactly(1)).times(new).plus(text).most
    elif new.most <= old.least:
        most = text.most
    else:
        most = capped(text.most if text.most >= UNBOUNDED else ceil(text.most / old.least) * new.most)
    return Span(0, most)


REPLACED = Cost(
    lambda args, result: ceil((size_of(args[0]) + size_of(result)) * TRAVERSAL),
    lambda sizes: (sizes[0].scaled(2 * TRAVERSAL), replaced_size(sizes)),
)
SPLIT = Cost(
    lambda args, result: ceil(size_of(args[0]) * 2 * TRAVERSAL),
    lambda sizes: (sizes[0].scaled(2 * TRAVERSAL), Span(0, sizes[0].most)),
)
FORMATTED = Cost(
    lambda args, result: ceil(size_of(args[0]) * TRAVERSAL),
    lambda sizes: (sizes[0].scaled(TRAVERSAL), UNKNOWN),
)
