"""`asyncio.timeout`, for tasks that live on after a group of theirs has failed.

A TaskGroup that fails while its task waits for it leaves one of the task's cancellations counted. Python 3.11.2, which is
Debian 12's, takes that for a cancellation of now when a later timeout has expired: it ends the task, which nobody notices,
where TimeoutError is due. Later versions compare with what was counted before, and so does this.
"""

import asyncio
from types import TracebackType


class timeout:
    def __init__(self, seconds: float | None) -> None:
        """From now on; None: until the scope is given a moment."""
        self.scope = asyncio.timeout(seconds)
        self.cancellations = 0

    async def __aenter__(self) -> asyncio.Timeout:
        self.cancellations = cancellations()
        return await self.scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.scope.__aexit__(kind, error, trace)
        if kind is asyncio.CancelledError and self.scope.expired() and cancellations() <= self.cancellations:
            raise TimeoutError from error


def cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
