"""An event loop of one page: descriptors that are ready, and moments that have come."""

import select
import time
import traceback
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Loop:
    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.callbacks: dict[int, Callable[[], None]] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.stopped = False

    def watch(self, descriptor: int, callback: Callable[[], None], events: int = READ) -> None:
        """One callback for a descriptor; watching it again changes what is waited for."""
        if descriptor in self.callbacks:
            self.epoll.modify(descriptor, events)
        else:
            self.epoll.register(descriptor, events)
        self.callbacks[descriptor] = callback

    def forget(self, descriptor: int) -> None:
        if self.callbacks.pop(descriptor, None) is not None:
            self.epoll.unregister(descriptor)

    def rest(self, descriptor: int, seconds: float) -> None:
        """Not read for a moment, so that more comes together. That its other end has closed is heard all the same."""
        callback = self.callbacks[descriptor]

        def again() -> None:
            if self.callbacks.get(descriptor) is callback:
                self.epoll.modify(descriptor, READ)

        self.epoll.modify(descriptor, 0)
        self.later(seconds, again)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.timers.append((time.monotonic() + seconds, callback))

    def run(self) -> None:
        while not self.stopped:
            for descriptor, _ in self.epoll.poll(self._wait_seconds()):
                callback = self.callbacks.get(descriptor)
                if callback is not None:
                    self._guarded(callback, descriptor)
            self._due()

    def _guarded(self, callback: Callable[[], None], descriptor: int) -> None:
        """One container's trouble must not end the process that all depend on; what caused it is not watched on."""
        try:
            callback()
        except Exception:  # noqa: BLE001 - written down; the others go on
            traceback.print_exc()
            self.forget(descriptor)

    def _wait_seconds(self) -> float:
        return max(0.0, min(at for at, _ in self.timers) - time.monotonic()) if self.timers else -1

    def _due(self) -> None:
        now = time.monotonic()
        due = [timer for timer in self.timers if timer[0] <= now]
        self.timers = [timer for timer in self.timers if timer[0] > now]
        for _, callback in due:
            self._guarded(callback, -1)
