"""Fair queues: of those that wait for a priority level's seats, whose turn it is.

Start-time fair queuing. Each queue has a virtual time that runs on with the work done for it (seats times seconds); the
queue that is furthest behind goes next. A queue that was idle starts where the others are: unused time is not saved up.

- `put` refuses where the queue is full. `take` gives the next to run; `charge` corrects what its work was guessed at.
- Nothing here waits or looks at a clock.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

GUESS_SECONDS = 0.003  # how long a request is thought to take before it is known; upstream's


class Queue(Generic[T]):
    __slots__ = ("running", "virtual", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[T, int]] = deque()
        self.virtual = 0.0
        self.running = 0
        """Seats that requests from here hold."""


class FairQueues(Generic[T]):
    def __init__(self, queues: int, length_max: int) -> None:
        self.length_max = length_max
        self.seats = 0
        """That the waiting want."""
        self.size = 0
        self.queues: list[Queue[T]] = [Queue() for _ in range(queues)]
        self.virtual = 0.0
        self._busy: dict[int, Queue[T]] = {}
        """Those in which somebody waits."""

    def put(self, item: T, seats: int, hand: Sequence[int]) -> int | None:
        """The queue it waits in: the emptiest of the hand; None where even that is full."""
        place = min(hand, key=lambda at: len(self.queues[at].waiting) + self.queues[at].running)
        queue = self.queues[place]
        if len(queue.waiting) >= self.length_max:
            return None
        if not queue.waiting and not queue.running:
            queue.virtual = max(queue.virtual, self.virtual)
        queue.waiting.append((item, seats))
        self._busy[place] = queue
        self.size += 1
        self.seats += seats
        return place

    def next_seats(self) -> int:
        """How many seats the next to run wants; 0 where nobody waits."""
        return self.queues[self._next()].waiting[0][1] if self._busy else 0

    def take(self) -> tuple[T, int, int]:
        """(the next to run, its seats, its queue)."""
        place = self._next()
        queue = self.queues[place]
        item, seats = queue.waiting.popleft()
        self._left(place, seats)
        self.virtual = max(self.virtual, queue.virtual)
        queue.virtual += seats * GUESS_SECONDS
        queue.running += seats
        return item, seats, place

    def charge(self, place: int, seats: int, seconds: float) -> None:
        """What was taken from there is done."""
        if place < len(self.queues):
            queue = self.queues[place]
            queue.running = max(queue.running - seats, 0)
            queue.virtual += seats * (seconds - GUESS_SECONDS)

    def drop(self, item: T, seats: int, place: int) -> None:
        """It waits no longer."""
        self.queues[place].waiting.remove((item, seats))
        self._left(place, seats)

    def drained(self) -> Iterator[tuple[T, int]]:
        """Everybody who waits, who then no longer waits here."""
        for place in list(self._busy):
            while self.queues[place].waiting:
                item, seats = self.queues[place].waiting.popleft()
                self._left(place, seats)
                yield item, seats

    def _next(self) -> int:
        return min(self._busy, key=lambda at: self._busy[at].virtual + self._busy[at].waiting[0][1] * GUESS_SECONDS)

    def _left(self, place: int, seats: int) -> None:
        self.size -= 1
        self.seats -= seats
        if not self.queues[place].waiting:
            self._busy.pop(place, None)
