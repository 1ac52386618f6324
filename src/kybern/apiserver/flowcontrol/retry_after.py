"""When to come back: after a second, or longer the more are turned away in every one; shorter again when fewer are."""

SECONDS_MAX = 32
BUSY = 3  # times the wait itself: so many in a second, and the wait is doubled


class RetryAfter:
    __slots__ = ("_changed", "_count", "_second", "seconds")

    def __init__(self) -> None:
        self.seconds = 1
        self._second = self._changed = 0
        self._count = 0

    def turned_away(self, now: float) -> int:
        """One more; the seconds that it is told."""
        second = int(now)
        if second != self._second:
            self._settle(second)
        self._count += 1
        return self.seconds

    def _settle(self, second: int) -> None:
        """The former second is over."""
        quiet = second - self._second - 1
        if self._count >= BUSY * self.seconds and not quiet:
            if second - self._changed >= self.seconds:
                self.seconds = min(self.seconds * 2, SECONDS_MAX)
                self._changed = second
        elif quiet or self._count < self.seconds:
            self.seconds = max(self.seconds >> min(quiet + 1, SECONDS_MAX), 1)
            self._changed = second
        self._second, self._count = second, 0
