"""Evaluations on a loop that others wait for: what costs little is done at once, what costs more goes aside.

    found = await paced(lambda at_once: program.evaluate(values, Budget(LIMIT, at_once)))

Evaluating has no effects, so what turns out to be long is begun anew, in a thread of its own. There is one: threads take
turns with the loop, and more of them would leave it less.
"""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kybern.cel.environment import TakesLong

T = TypeVar("T")
Work = Callable[[int | None], T]
"""It is given what its budget may spend at once."""

COST_AT_ONCE = 10_000
"""A few milliseconds of most operations; the budget sees to it where some are dearer."""
ASIDE = ThreadPoolExecutor(1, "expressions")
"""As many wait for it as requests are under way, which flow control bounds."""


async def paced(work: Work[T]) -> T:
    try:
        return work(COST_AT_ONCE)
    except TakesLong:
        return await aside(work)


async def aside(work: Work[T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(ASIDE, uncollected, work)


def uncollected(work: Work[T]) -> T:
    """Python's collector holds everybody up while it looks at a long expression's tree, over and over while that grows."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return work(None)
    finally:
        if was_enabled:
            gc.enable()
