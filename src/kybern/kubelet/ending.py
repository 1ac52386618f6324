"""A pod that is told to end does not wait for what it need not finish: that is broken off where it stands."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from kybern.aio.timeouts import timeout


class Ending:
    def __init__(self) -> None:
        self.told = asyncio.Event()
        self._scope: asyncio.Timeout | None = None

    def tell(self) -> None:
        """That it is to end, or to end sooner."""
        self.told.set()
        if self._scope is not None and self._scope.when() is None:
            self._scope.reschedule(0)

    async def unless(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work was done before it was told."""
        try:
            async with timeout(0 if self.told.is_set() else None) as scope:
                self._scope = scope
                await work
        except TimeoutError:
            if not scope.expired():
                raise
            return False
        finally:
            self._scope = None
        return True
