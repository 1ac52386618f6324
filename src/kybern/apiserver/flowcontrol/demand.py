"""How many seats a level asked for over time: the highest number, and the mean with its deviation, smoothed.

Every change of the number is one call; the sums are of number times duration, so nothing is sampled.
"""

from kybern.apiserver.flowcontrol.limits import Wanted

SMOOTHING = 0.977  # upstream's: what was wanted once is half forgotten after five minutes


class Demand:
    __slots__ = ("_area", "_last", "_since", "_squares", "high", "seats", "smooth")

    def __init__(self, now: float) -> None:
        self.seats = 0
        self.high = 0
        self.smooth = 0.0
        self._since = self._last = now
        self._area = self._squares = 0.0

    def changed(self, seats: int, now: float) -> None:
        lasted = self.seats * (now - self._last)
        self._area += lasted
        self._squares += lasted * self.seats
        self._last = now
        self.seats = seats
        if seats > self.high:
            self.high = seats

    def taken(self, now: float) -> Wanted:
        """What was wanted since the last time, which begins anew."""
        self.changed(self.seats, now)
        duration = now - self._since
        if duration > 0:
            mean = self._area / duration
            deviation = max(self._squares / duration - mean * mean, 0.0) ** 0.5
            envelope = mean + deviation
            self.smooth = max(envelope, SMOOTHING * self.smooth + (1 - SMOOTHING) * envelope)
        wanted = Wanted(self.high, self.smooth)
        self.high = self.seats
        self._since = now
        self._area = self._squares = 0.0
        return wanted
