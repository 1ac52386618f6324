"""What a task waits for, and for how long, whatever happened to it before."""

import asyncio

import pytest

from kybern.aio.timeouts import timeout
from kybern.testing.virtual import run


async def fails() -> None:
    raise OSError("gone")


async def failed_before() -> None:
    """As a group leaves its task, that failed while the task waited for it."""
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails())


def test_a_timeout_says_so_after_a_group_has_failed() -> None:
    async def scenario() -> None:
        await failed_before()
        with pytest.raises(TimeoutError):
            async with timeout(1.0):
                await asyncio.sleep(2.0)
        async with timeout(1.0) as scope:
            await asyncio.sleep(0.5)
        assert not scope.expired()

    run(scenario())


def test_a_timeout_in_the_clean_up_of_a_cancelled_task_says_so() -> None:
    said: list[str] = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(60.0)
        finally:
            try:
                async with timeout(1.0):
                    await asyncio.sleep(5.0)
            except TimeoutError:
                said.append("it took too long")

    async def scenario() -> None:
        task = asyncio.create_task(cleans_up())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert (said, task.cancelled()) == (["it took too long"], True)

    run(scenario())


def test_a_cancellation_while_time_runs_out_is_a_cancellation() -> None:
    async def waiting() -> None:
        await failed_before()
        async with timeout(1.0):
            await asyncio.sleep(2.0)

    async def scenario() -> None:
        task = asyncio.create_task(waiting())
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())


def test_a_scope_can_be_given_another_moment() -> None:
    async def scenario() -> None:
        await failed_before()
        with pytest.raises(TimeoutError):
            async with timeout(None) as scope:
                scope.reschedule(asyncio.get_running_loop().time() + 1.0)
                await asyncio.sleep(2.0)

    run(scenario())
