"""How much judging one object may take: what its schema asks of each part is multiplied by the parts that it has, and
a few letters may be wrong in a thousand ways, each of which is told at length.

Whoever does what may be much says about how much, in steps of some fifty nanoseconds; after so many of them it is seen
how long it has really taken. While others wait that is little, and `TakesLong` leads to where nobody does.
"""

import time
from collections.abc import Callable

from kybern.aio.beside import SECONDS_AT_ONCE, TakesLong, others_wait

SECONDS_MAX = 0.8
"""Of a processor, for all that is asked of one object."""
SLICE, SLICE_AT_ONCE = 200_000, 20_000
"""Steps between two looks at the time."""
WRONG_STEPS = 100
"""To find out what to say of something wrong."""
TOLD_MAX = 128 * 1024
"""Letters of all that is said; nobody reads so much."""
CONSIDERED_MAX = 16 * 1024 * 1024
"""Of what need not be said in the end: alternatives that a value is none of, what was wrong before a change."""


class TooMuch(Exception):
    """It is not gone into any further what is wrong with the object."""


class Effort:
    __slots__ = ("clock", "left", "others_wait", "slice", "told_left", "until")

    def __init__(self, told_max: int = TOLD_MAX, clock: Callable[[], float] = time.thread_time) -> None:
        self.clock = clock
        self.others_wait = others_wait()
        self.slice = SLICE_AT_ONCE if self.others_wait else SLICE
        self.until = clock() + (SECONDS_AT_ONCE if self.others_wait else SECONDS_MAX)
        self.left = self.slice
        self.told_left = told_max

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            self.look()

    def look(self) -> None:
        """TakesLong, or TooMuch, where it has taken too long."""
        if self.others_wait and self.left < -self.slice:
            raise TakesLong  # one thing that is too much at once
        if self.clock() > self.until:
            raise TakesLong if self.others_wait else TooMuch
        self.left = self.slice

    def tell(self, letters: int) -> None:
        """Something wrong, which is told in so many letters."""
        self.told_left -= letters
        if self.told_left < 0:
            raise TooMuch
        self.spend(WRONG_STEPS + letters // 16)
