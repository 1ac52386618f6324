"""Virtual time stands still while something is worked out, wherever that is meant to be."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from kybern.aio.beside import beside
from kybern.testing import virtual


@pytest.mark.parametrize("apart", [asyncio.to_thread, lambda call, *args: beside(lambda: call(*args))])
def test_what_is_meant_for_a_thread_takes_no_virtual_time(apart: Callable[..., Awaitable[object]]) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        ticking = loop.create_task(ticks())
        before = loop.time()
        await apart(time.sleep, 0.01)
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


def test_who_waits_for_less_than_a_clock_can_tell_waits_for_an_end_all_the_same() -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1e6)
        before = loop.time()
        await asyncio.sleep(1e-12)
        return loop.time() > before

    assert virtual.run(main())
