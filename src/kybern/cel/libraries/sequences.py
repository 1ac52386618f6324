"""Lists made of lists: parts of them, in another order, without what is there twice, without their inner brackets.

What a call costs grows with the square of the list where elements are compared, as upstream reckons it; a list for which
that is more than a call may cost is not even begun.
"""

from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Any

from kybern.cel.costs import TRAVERSAL, Cost, Span, exactly
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, Overload, function, member
from kybern.cel.libraries.lists import ORDERED
from kybern.cel.types import BYTES, DYN, INT, STRING, UNBOUNDED, A, Type, list_of
from kybern.cel.values import Work, compare, equal, kind_of, size_of

MADE = 11
"""Of the call and its new list."""
EACH = 2


def sliced(found: Any, start: int, end: int) -> list[Any]:
    why = f"cannot slice({start}, {end}), "
    if start < 0 or end < 0:
        raise EvaluationError(f"{why}negative indexes not supported")
    if start > end:
        raise EvaluationError(f"{why}start index must be less than or equal to end index")
    if end > len(found):
        raise EvaluationError(f"{why}list is length {len(found)}")
    return list(found[start:end])


def range_to(count: int, work: Work) -> list[int]:
    work.begin(max(count, 0))
    return list(range(count))


def flattened(found: Any, *rest: Any) -> list[Any]:
    *depth, work = rest
    if depth and depth[0] < 0:
        raise EvaluationError("level must be non-negative")
    made: list[Any] = []
    flatten(found, depth[0] if depth else 1, made, work)
    return made


def flatten(found: Any, depth: int, made: list[Any], work: Work) -> None:
    for each in found:
        work.step()
        if depth and kind_of(each) == "list":
            flatten(each, depth - 1, made, work)
        else:
            made.append(each)


def backwards(found: Any) -> list[Any]:
    return list(reversed(found))


def distinct(found: Any, work: Work) -> list[Any]:
    begin_comparing(found, work)
    made: list[Any] = []
    for each in found:
        if not any(equal(each, other, work) for other in made):
            made.append(each)
    return made


def ordered(found: Any, work: Work) -> list[Any]:
    return ordered_by(found, found, work)


def ordered_by(found: Any, keys: Any, work: Work) -> list[Any]:
    begin_comparing(keys, work)
    kinds = set(map(kind_of, keys))
    if kinds - {kind.kind for kind in ORDERED}:
        raise EvaluationError("list elements must be comparable")
    if len(kinds) > 1:
        raise EvaluationError("list elements must have the same type")
    before = cmp_to_key(lambda one, other: -(compare(keys[one], keys[other]) == -1))
    return [found[index] for index in sorted(range(len(keys)), key=before)]


def begin_comparing(found: Any, work: Work) -> None:
    work.begin(EACH * len(found) ** 2)


# --- what they cost ---------------------------------------------------------------------------------------------------

Sizes = Sequence[Span]
Literals = Sequence[int | None]
Estimated = tuple[Span, Span | None]


def made(size: Span, factor: float = 1) -> Estimated:
    return size.scaled(factor).plus(exactly(MADE)), size


def slice_estimate(sizes: Sizes, literals: Literals) -> Estimated:
    start, end = literals[1], literals[2]
    return made(exactly(((sizes[0].most if end is None else end) - (start or 0)) % 2**64))


def range_estimate(sizes: Sizes, literals: Literals) -> Estimated:
    return made(exactly(UNBOUNDED if literals[0] is None else max(literals[0], 0)))


def flatten_estimate(sizes: Sizes, literals: Literals) -> Estimated:
    depth = 1 if len(literals) == 1 else literals[1]
    return made(sizes[0], UNBOUNDED if depth is None else max(depth, 0))


def as_made(args: Sequence[Any], result: Any) -> int:
    return len(result) + MADE


def by_depth(args: Sequence[Any], result: Any) -> int:
    return int(size_of(args[0]) * (args[1] if len(args) == 2 else 1)) + MADE


def compared(which: int, kind: Type | None = None) -> Cost:
    """Each element of an argument with each other; `kind` is of what is compared."""
    factor = EACH + TRAVERSAL if kind in (STRING, BYTES) else EACH

    def actual(args: Sequence[Any], result: Any) -> int:
        each = EACH + TRAVERSAL if args[which] and kind_of(args[which][0]) in ("string", "bytes") else EACH
        return int(len(args[which]) ** 2 * each) + MADE

    return Cost(actual, lambda sizes: made(sizes[which].times(sizes[which]), factor))


def with_literals(actual: Callable[..., int], estimate: Callable[..., Estimated]) -> Cost:
    return Cost(actual, lambda sizes: estimate(sizes, [None] * len(sizes)), by_literals=estimate)


def over_ordered(name: str, first: tuple[Type, ...], result: Type | None, call: Callable[..., Any]) -> list[Overload]:
    which = len(first)
    return [
        member(name, (*first, list_of(kind)), result or list_of(kind), call, compared(which, kind), works=True)
        for kind in ORDERED
    ]


FLATTENED = with_literals(by_depth, flatten_estimate)
SEQUENCES: Library = (
    member("slice", (list_of(A), INT, INT), list_of(A), sliced, with_literals(as_made, slice_estimate)),
    member("flatten", (list_of(list_of(A)),), list_of(A), flattened, FLATTENED, works=True),
    member("flatten", (list_of(DYN), INT), list_of(DYN), flattened, FLATTENED, works=True),
    member("reverse", (list_of(A),), list_of(A), backwards, Cost(as_made, lambda sizes: made(sizes[0]))),
    member("distinct", (list_of(A),), list_of(A), distinct, compared(0), works=True),
    function("lists.range", (INT,), list_of(INT), range_to, with_literals(as_made, range_estimate), works=True),
    *over_ordered("sort", (), None, ordered),
    *over_ordered("@sortByAssociatedKeys", (list_of(A),), list_of(A), ordered_by),
)
