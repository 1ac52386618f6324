"""Whether work on the loop lets others run: how many turns one of them had until it was done."""

import asyncio
from collections.abc import Awaitable
from typing import Any


async def turns_during(work: Awaitable[Any]) -> tuple[int, Any]:
    """And what came of the work."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    meanwhile = asyncio.create_task(other())
    await asyncio.sleep(0)
    before = turns
    try:
        found = await work
        return turns - before, found
    finally:
        meanwhile.cancel()
