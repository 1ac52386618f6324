"""A priority level at work: its seats, who sits on them, and who waits.

- A request that finds seats free, and nobody waiting, takes them without waiting: the common case, and a cheap one.
- Seats come back when the event loop has gone round once more. Most reads never wait for anything, so they would never
  be two at once; what they use up is the loop's turn, and so a level's seats bound what it may do in one turn.
- What waits goes by fair queues; who finds them full, or waits too long, is told when to come back.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.api.errors import TooManyRequests
from kybern.api.flowcontrol_v1 import PriorityLevelConfiguration, QueuingConfiguration
from kybern.apiserver.flowcontrol.demand import Demand
from kybern.apiserver.flowcontrol.limits import Bounds
from kybern.apiserver.flowcontrol.queues import FairQueues
from kybern.apiserver.flowcontrol.retry_after import RetryAfter
from kybern.apiserver.flowcontrol.width import SEATS_MAX

WAIT_SECONDS_MAX = 15.0  # a quarter of the time that a request has in all: upstream's
UNLIMITED = Bounds(0, 0, 0)
QUEUE_FULL, CONCURRENCY_LIMIT, TIME_OUT, CANCELLED = "queue-full", "concurrency-limit", "time-out", "cancelled"

TOO_MANY = "Too many requests, please try again later."


@dataclass(slots=True)
class Counts:
    """Of one flow schema."""

    dispatched: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """By reason."""
    waited_seconds: float = 0.0
    waited: int = 0


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that waits."""

    schema: str
    distinguisher: str
    called: asyncio.Future[None]
    arrived: float
    place: int = -1
    """The queue; -1 once it is in none."""


@dataclass(frozen=True, slots=True)
class Seated:
    """What a request holds while it is served."""

    seats: int
    place: int
    """The queue that it came from; -1 where it did not wait."""
    since: float


AT_ONCE = tuple(Seated(seats, -1, 0.0) for seats in range(SEATS_MAX + 1))


class Level:
    def __init__(self, configuration: PriorityLevelConfiguration, clock: Clock) -> None:
        self.clock = clock
        self.bounds = UNLIMITED
        self.limit = 0
        self.in_use = 0
        self.executing = 0
        self.demand = Demand(clock.monotonic())
        self.retry_after = RetryAfter()
        self.queues: FairQueues[Ticket] | None = None
        self.queuing: QueuingConfiguration | None = None
        self._done = 0
        """Seats of those that are served, which are free when the loop has come round."""
        self.configure(configuration)

    def configure(self, configuration: PriorityLevelConfiguration) -> None:
        """What waits goes on waiting, in the new queues where they changed."""
        self.name = configuration.metadata.name or ""
        self.uid = configuration.metadata.uid or ""
        limited = configuration.spec.limited
        self.exempt = configuration.spec.type == "Exempt" or limited is None
        queuing = limited.limit_response.queuing if limited is not None else None
        if queuing == self.queuing:
            return
        former, self.queuing = self.queues, queuing
        self.queues = FairQueues(queuing.queues or 1, queuing.queue_length_limit or 1) if queuing is not None else None
        for number, (ticket, seats) in enumerate(former.drained() if former is not None else ()):
            place = None if self.queues is None else self.queues.put(ticket, seats, (number % len(self.queues.queues),))
            ticket.place = -1 if place is None else place
            if place is None and not ticket.called.done():
                ticket.called.set_exception(TooManyRequests(TOO_MANY, retry_after_seconds=1))

    @property
    def waiting(self) -> int:
        return self.queues.size if self.queues is not None else 0

    def resize(self, limit: int) -> None:
        self.limit = limit
        self._call_next()

    def seat(self, seats: int, counts: Counts) -> Seated | None:
        """Seats to be served on at once; None where one has to wait."""
        in_use = self.in_use
        if (in_use and in_use + seats > self.limit) or self.waiting:
            return None
        self.in_use = in_use + seats
        self.demand.changed(self.in_use, self.clock.monotonic())
        counts.dispatched += 1
        self.executing += 1
        return AT_ONCE[seats]

    async def wait(self, seats: int, schema: str, distinguisher: str, hand: Sequence[int], counts: Counts) -> Seated:
        """The same after a wait. TooManyRequests where there is no room even for that."""
        ticket = Ticket(schema, distinguisher, loop().create_future(), self.clock.monotonic())
        place = self.queues.put(ticket, seats, hand) if self.queues is not None else None
        if place is None:
            raise self._turned_away(counts, QUEUE_FULL if self.queues is not None else CONCURRENCY_LIMIT)
        ticket.place = place
        self._note_demand()
        try:
            async with timeout(WAIT_SECONDS_MAX):
                await ticket.called
        except BaseException as error:
            self._gave_up(ticket, seats)
            if isinstance(error, TimeoutError):
                raise self._turned_away(counts, TIME_OUT) from None
            if isinstance(error, asyncio.CancelledError):
                counts.rejected[CANCELLED] = counts.rejected.get(CANCELLED, 0) + 1
            raise
        now = self.clock.monotonic()
        counts.waited += 1
        counts.waited_seconds += now - ticket.arrived
        counts.dispatched += 1
        self.executing += 1
        return Seated(seats, ticket.place, now)

    def _gave_up(self, ticket: Ticket, seats: int) -> None:
        """It waits no longer; where it had been called already, its seats go to the next."""
        if self.queues is None or ticket.place < 0:
            return
        if ticket.called.cancelled():
            self.queues.drop(ticket, seats, ticket.place)
        else:
            self.queues.charge(ticket.place, seats, 0)
            self.in_use -= seats
            self._call_next()

    def _turned_away(self, counts: Counts, reason: str) -> TooManyRequests:
        counts.rejected[reason] = counts.rejected.get(reason, 0) + 1
        seconds = self.retry_after.turned_away(self.clock.monotonic())
        return TooManyRequests(TOO_MANY, retry_after_seconds=seconds)

    def leave(self, seated: Seated) -> None:
        """Served; the seats are free when the loop has come round."""
        self.executing -= 1
        if seated.place >= 0 and self.queues is not None:
            self.queues.charge(seated.place, seated.seats, self.clock.monotonic() - seated.since)
        if not self._done:
            loop().call_soon(self._come_round)
        self._done += seated.seats

    def _come_round(self) -> None:
        self.in_use -= self._done
        self._done = 0
        self._call_next()

    def _call_next(self) -> None:
        queues = self.queues
        while queues is not None and queues.size:
            if self.in_use and self.in_use + queues.next_seats() > self.limit:
                break
            ticket, seats, place = queues.take()
            if ticket.called.done():  # it is giving up just now
                ticket.place = -1
                queues.charge(place, seats, 0)
                continue
            self.in_use += seats
            ticket.called.set_result(None)
        self._note_demand()

    def _note_demand(self) -> None:
        waiting = self.queues.seats if self.queues is not None else 0
        self.demand.changed(self.in_use + waiting, self.clock.monotonic())


def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
