"""Virtual time: an event loop that never waits. When nothing is ready, its clock jumps to the next timer.

- Hours pass in milliseconds, and what runs from one seed runs the same way again.
- It holds only while no real thread or socket takes part: simulations use the in-memory transport, store and runtime, and
  what is meant for a thread is done at once (while one worked, days would pass).
- When nothing is ready and no timer is set, nothing can ever happen again: `Deadlock`.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(Exception):
    """Every task waits, and nothing will wake them."""


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        alone = len(self.get_map()) == 1  # with what the loop wakes itself by
        ready = [] if alone else super().select(0)
        if not ready and timeout is None:
            raise Deadlock
        if not ready and timeout is not None and timeout > 0:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6  # a jump ends by a rounding error before its timer; do not spin on it

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, is for whoever waits
            done.set_exception(error)
        return done


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
