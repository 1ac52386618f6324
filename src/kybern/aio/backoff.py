"""Exponential back-off, as a value: the delay after the n-th failure in a row."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    first_seconds: float
    max_seconds: float
    factor: float = 2.0
    jitter: float = 0.0
    """The largest share of the delay that chance adds to it."""

    def delay(self, failures: int, rng: random.Random | None = None) -> float:
        """Seconds to wait after `failures` (>= 1) failures."""
        exponent = min(failures - 1, 64)  # beyond this every delay is the maximum, and floats stay finite
        delay = min(self.first_seconds * self.factor**exponent, self.max_seconds)
        return delay * (1 + self.jitter * rng.random()) if rng and self.jitter else delay
