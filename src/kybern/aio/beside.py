"""Long work beside the loop that others wait for, in a thread that takes turns with it. Without effects, whatever it is.

    found = await beside(lambda: parsed(body), len(body) > LARGE_BYTES)

There is one thread: more of them would leave the loop less.
"""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREAD = ThreadPoolExecutor(1, "beside")
"""As many wait for it as requests are under way, which flow control bounds."""


async def beside(work: Callable[[], T], is_long: bool = True) -> T:
    """What is not long is done at once."""
    if not is_long:
        return work()
    return await asyncio.get_running_loop().run_in_executor(THREAD, uncollected, work)


def uncollected(work: Callable[[], T]) -> T:
    """Python's collector holds everybody up while it looks at a large tree, over and over while that grows."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return work()
    finally:
        if was_enabled:
            gc.enable()
