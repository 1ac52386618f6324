"""A gang's cycle: all its pods that wait are decided about in one step, and run all or none.

- Those beyond the gang's size that find no room wait as any pod does.
- Where extenders have a say, they are asked about every member first.
- A gang that lacks room may make less important pods leave, where all its pods have room once those are gone: it is tried in
  thought, one member after the other, and nobody leaves for half a gang.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from kybern.scheduler.asking import ask, narrowed, questions
from kybern.scheduler.extenders import ExtenderFailed, Opinion, agreed
from kybern.scheduler.gangs import Gang
from kybern.scheduler.judgement import Judgement, best
from kybern.scheduler.outcomes import NO_ATTEMPT, Act, Outcomes, nothing
from kybern.scheduler.placed import Placed
from kybern.scheduler.preemption import Attempt
from kybern.scheduler.queue import Entry
from kybern.scheduler.refusal import refusal
from kybern.scheduler.victims import Candidate

log = logging.getLogger(__name__)

NOT_ASKED: Mapping[str, Opinion] = {}


@dataclass(slots=True)
class Seats:
    """Who of a gang has a node, and who has none and why."""

    chosen: list[tuple[Entry, str]]
    refused: list[tuple[Entry, Judgement]]

    def all(self) -> list[Entry]:
        return [entry for entry, _ in (*self.chosen, *self.refused)]


Room = list[tuple[Entry, Candidate]]
"""For whom of a gang who would have to leave."""


def decided_together(known: Outcomes, gang: Gang, first: Entry) -> Act:
    members = known.gangs.of(gang)
    waiting = [first, *(entry for uid in members if (entry := known.queue.take(uid)) is not None)]
    return known.guarded(waiting, lambda: asked_or_seated(known, gang, waiting))


def asked_or_seated(known: Outcomes, gang: Gang, waiting: Sequence[Entry]) -> Act:
    asked = questions(known, [(entry, known.judged(entry.pod)) for entry in waiting]) if known.extenders else []
    if asked:
        return ask(known, waiting, asked, partial(seated, known, gang))
    return seated(known, gang, NOT_ASKED, waiting)


def seated(known: Outcomes, gang: Gang, opinions: Mapping[str, Opinion], waiting: Sequence[Entry]) -> Act:
    placed = sum(uid in known.snapshot.placed for uid in known.gangs.of(gang))
    seats = seats_of(known, opinions, waiting)
    if placed + len(seats.chosen) >= gang.size:
        acts = [known.guarded([entry], partial(known.permitted, entry, node)) for entry, node in seats.chosen]
        acts += [known.guarded([entry], partial(known.refused, entry, judged)) for entry, judged in seats.refused]
    else:
        acts = turned_down(known, gang, placed, seats)
    known.due[:0] = acts[1:]  # before what members were allowed meanwhile, which waits for these
    return acts[0]


def seats_of(known: Outcomes, opinions: Mapping[str, Opinion], waiting: Sequence[Entry]) -> Seats:
    """One after the other; each counts on its node for the next."""
    seats = Seats([], [])
    for entry in waiting:
        judgement, found = known.judged(entry.pod), opinions.get(entry.pod.metadata.uid or "")
        if found is not None:
            judgement = narrowed(judgement, found, known.snapshot)
        more = found.scores if found is not None else None
        row = best(judgement, known.ids.rng, known.nominations.node_of(entry.pod), more)
        node = "" if row is None else known.snapshot.nodes[row].metadata.name or ""
        if node and not known.taken(entry.pod, node)[1]:
            seats.chosen.append((entry, node))
        else:
            seats.refused.append((entry, judgement))
    return seats


def turned_down(known: Outcomes, gang: Gang, placed: int, seats: Seats) -> list[Act]:
    """Nobody keeps a node; where others can make room for all of them, those are told to leave."""
    why = f"gang {gang.name}: room for {placed + len(seats.chosen)} of {gang.size} pods"
    reasons = refusal(seats.refused[0][0].pod, seats.refused[0][1], known.snapshot)
    message = f"{why}. {reasons.available}"
    room = room_by_preemption(known, gang.size - placed - len(seats.chosen), seats)
    for entry, _ in seats.chosen:
        known.give_back(entry.pod)
    for entry in seats.all():
        known.queue.refused(entry, reasons.rules, known.clock.monotonic())
    if any(one.preempt_verb and one.interested(entry.pod) for one in known.extenders for entry, _ in room):
        return asked_for_victims(known, seats, room, message)
    promise(known, seats, room)
    return told(known, seats, room, message)


def promise(known: Outcomes, seats: Seats, room: Room) -> None:
    """To each its node, or to nobody."""
    for entry, node in seats.chosen if room else ():
        known.nominations.set(entry.pod, node)
    for entry, candidate in room:
        known.nominate(entry.pod, candidate)


def told(known: Outcomes, seats: Seats, room: Room, message: str) -> list[Act]:
    leaving = {id(entry): Attempt(candidate, "") for entry, candidate in room}
    return [partial(known.tell, entry.pod, message, leaving.get(id(entry), NO_ATTEMPT)) for entry in seats.all()]


def asked_for_victims(known: Outcomes, seats: Seats, room: Room, message: str) -> list[Act]:
    """Nobody leaves before the extenders that have a say in it agreed for every member; beside the bindings."""
    try:
        known.extended.put_nowait(partial(make_room_as_agreed, known, seats, room, message))
    except asyncio.QueueFull:
        return told(known, seats, [], message)
    return [nothing]


async def make_room_as_agreed(known: Outcomes, seats: Seats, room: Room, message: str) -> None:
    """Each extender is asked about one member after the other, with the node and the victims that were found for it."""
    found: Room = []
    try:
        for entry, candidate in room:
            asked = (candidate,)
            left = await agreed(known.extenders, entry.pod, asked, known.snapshot) if candidate.victims else asked
            found += [(entry, one) for one in left[:1]]
    except ExtenderFailed as failure:
        log.info("gang of pod %s: %s", room[0][0].pod.metadata.name, failure.message)
    waiting = all(known.queue.entries.get(entry.pod.metadata.uid or "") is entry for entry in seats.all())
    room = found if waiting and len(found) == len(room) else []
    promise(known, seats, room)
    for act in told(known, seats, room, message):
        await act()


def room_by_preemption(known: Outcomes, missing: int, seats: Seats) -> Room:
    """Who would have to leave for whom, so that none of the missing is missing; nothing where that is not enough."""
    found: Room = []
    gone: list[Placed] = []
    snapshot = known.snapshot
    for entry, _ in seats.refused[:]:
        if len(found) == missing:
            break
        judgement = known.judged(entry.pod)
        if judgement.fits.any():
            row = best(judgement, known.ids.rng)
            candidate = Candidate("" if row is None else snapshot.nodes[row].metadata.name or "", (), 0)
        else:
            attempt = known.attempted(judgement, refusal(entry.pod, judgement, snapshot))
            if attempt.candidate is None or attempt.candidate.paused:
                continue
            candidate = attempt.candidate
        for victim in candidate.victims:
            left = snapshot.placed.get(victim.metadata.uid or "")
            if left is not None:
                gone.append(left)
                snapshot.remove_pod(victim.metadata.uid or "")
        snapshot.add_pod(entry.pod, candidate.node)
        found.append((entry, candidate))
    for entry, _ in found:
        snapshot.remove_pod(entry.pod.metadata.uid or "")
    for left in gone:
        snapshot.put_back(left)
    return found if len(found) == missing else []
