"""Extenders' opinions: asked beside the scheduling of other pods, and heard when they have answered.

Their answer is about the nodes that fitted when they were asked, so whoever hears it looks again. The members of a gang
are asked about together, and decided about when all answers are there.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kybern.api.core_v1 import Node
from kybern.api.errors import ApiError
from kybern.scheduler.extenders import Extender, Opinion, opinion
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.outcomes import Act, Outcomes, nothing
from kybern.scheduler.queue import Entry
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.status import FAULTY

Question = tuple[Entry, Sequence[Extender], Sequence[Node]]
Heard = Callable[[Mapping[str, Opinion], Sequence[Entry]], Act]
"""(by uid, what they said; the pods that are still there) -> what is to be done."""


def questions(known: Outcomes, judged: Sequence[tuple[Entry, Judgement]]) -> list[Question]:
    """About whom, whom, and which nodes: those that fit."""
    found: list[Question] = []
    for entry, judgement in judged:
        interested = [extender for extender in known.extenders if extender.interested(entry.pod)]
        if interested and judgement.fits.any():
            nodes = [known.snapshot.nodes[row] for row in np.flatnonzero(judgement.fits)]
            found.append((entry, interested, nodes))
    return found


def ask(known: Outcomes, entries: Sequence[Entry], asked: Sequence[Question], heard: Heard) -> Act:
    """Of all these pods, about some of whom there are questions."""
    try:
        known.extended.put_nowait(lambda: answers(known, entries, asked, heard))
    except asyncio.QueueFull:
        for entry in entries:
            known.queue.failed(entry, known.clock.monotonic())
        return nothing
    known.asking |= {entry.pod.metadata.uid or "": entry for entry in entries}
    return nothing


async def answers(known: Outcomes, entries: Sequence[Entry], asked: Sequence[Question], heard: Heard) -> None:
    found: dict[str, Opinion] = {}
    failure = ""
    try:
        for entry, extenders, nodes in asked:
            found[entry.pod.metadata.uid or ""] = await opinion(extenders, entry.pod, nodes)
    except ApiError as error:
        failure = error.message
    there = [entry for entry in entries if known.asking.pop(entry.pod.metadata.uid or "", None) is not None]
    if failure:
        acts = [known.failed(entry, failure, FAULTY) for entry in there]
    else:
        acts = [known.guarded(there, lambda: heard(found, there))] if there else []
    for act in acts:
        await act()
    known.woken.set()


def narrowed(judgement: Judgement, found: Opinion, snapshot: Snapshot) -> Judgement:
    """Judged anew, since the cluster has changed since they were asked: only nodes that they left."""
    judgement.fits = judgement.fits.copy()
    for row in np.flatnonzero(judgement.fits).tolist():
        name = snapshot.nodes[row].metadata.name or ""
        if name not in found.scores:
            judgement.fits[row] = False
            judgement.promised[row] = [found.refused.get(name, "node(s) are not known to an extender yet")]
            judgement.hopeless |= {row} if name in found.hopeless else set()
    return judgement
