"""Evaluations on a loop that others wait for: what costs little is done at once, what costs more goes aside.

    found = await paced(lambda at_once: program.evaluate(values, Budget(LIMIT, at_once)))

Evaluating has no effects, so what turns out to be long is begun anew, beside the loop.
"""

from collections.abc import Callable
from typing import TypeVar

from kybern.aio.beside import TakesLong, beside

T = TypeVar("T")
Work = Callable[[int | None], T]
"""It is given what its budget may spend at once."""

COST_AT_ONCE = 10_000
"""A few milliseconds of most operations; the budget sees to it where some are dearer."""


async def paced(work: Work[T]) -> T:
    try:
        return work(COST_AT_ONCE)
    except TakesLong:
        return await aside(work)


async def aside(work: Work[T]) -> T:
    return await beside(lambda: work(None))
