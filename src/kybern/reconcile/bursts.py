"""Many writes of one sort: few at first and twice as many each time, so that a broken template fails a few times only."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

BATCH_MAX = 64  # requests of one burst in flight


async def slow_start(items: Sequence[T], act: Callable[[T], Awaitable[R]]) -> tuple[list[R], Exception | None]:
    """Act on all items in batches of 1, 2, 4...; stop after a batch in which one failed. What was done, and the first
    failure."""
    return await _in_batches(items, act, 1)


async def at_once(items: Sequence[T], act: Callable[[T], Awaitable[R]]) -> tuple[list[R], Exception | None]:
    """As `slow_start`, without the caution: for deletions."""
    return await _in_batches(items, act, BATCH_MAX)


async def _in_batches(
    items: Sequence[T], act: Callable[[T], Awaitable[R]], size: int
) -> tuple[list[R], Exception | None]:
    done: list[R] = []
    start = 0
    while start < len(items):
        results = await asyncio.gather(*map(act, items[start : start + size]), return_exceptions=True)
        failed: Exception | None = None
        for result in results:
            if isinstance(result, Exception):
                failed = failed or result
            elif isinstance(result, BaseException):
                raise result
            else:
                done.append(result)
        if failed is not None:
            return done, failed
        start += size
        size = min(size * 2, BATCH_MAX)
    return done, None
