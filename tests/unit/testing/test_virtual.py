"""Virtual time stands still while something is worked out, wherever that is meant to be."""

import asyncio
import time

import pytest

from kybern.testing import virtual


def test_what_is_meant_for_a_thread_takes_no_virtual_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        ticking = loop.create_task(ticks())
        before = loop.time()
        await asyncio.to_thread(time.sleep, 0.01)
        ticking.cancel()
        return loop.time() - before

    async def ticks() -> None:
        while True:
            await asyncio.sleep(3600)

    assert virtual.run(main()) == 0


def test_what_fails_there_fails_here() -> None:
    async def main() -> None:
        await asyncio.to_thread(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        virtual.run(main())
