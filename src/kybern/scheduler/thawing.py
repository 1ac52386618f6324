"""Paused pods go on when what they need is free again: the most important first, behind all who wait to be tried."""

from functools import partial

from kybern.api.core_v1 import Pod
from kybern.reconcile.pausing import resumed
from kybern.scheduler.demand import demand_of
from kybern.scheduler.effects import set_paused
from kybern.scheduler.outcomes import Outcomes
from kybern.scheduler.placed import Placed
from kybern.scheduler.queue import SchedulingQueue
from kybern.scheduler.victims import importance


def thaw(known: Outcomes) -> bool:
    """Whether there was somebody to thaw; told to the world by acts that are due."""
    found = False
    snapshot = known.snapshot
    for placed in sorted(snapshot.paused.values(), key=lambda placed: importance(placed.pod)):
        pod, row = placed.pod, snapshot.rows.get(placed.node)
        if row is None or pod.metadata.deletion_timestamp is not None or more_important_waits(known.queue, pod):
            continue
        promised = known.nominations.on_node.get(placed.node, {}).values()
        asked = sum(demand_of(one).amounts.get("cpu", 0) for one in (pod, *promised))
        if asked <= int(snapshot.allocatable[row, 0] - snapshot.requested[row, 0]):
            snapshot.add_pod(resumed(pod), placed.node)
            known.due.append(partial(resume, known, placed))
            found = True
    return found


def more_important_waits(queue: SchedulingQueue, pod: Pod) -> bool:
    mine = pod.spec.priority or 0
    return any(
        (entry.pod.spec.priority or 0) > mine
        for uid, entry in queue.entries.items()
        if uid not in queue.unschedulable and uid not in queue.gated
    )


async def resume(known: Outcomes, placed: Placed) -> None:
    """Where it could not be told, it is paused still, and resumed at the next occasion."""
    if not await set_paused(placed.pod, known.client, known.events, on=False, why="Its processors are free again"):
        known.snapshot.add_pod(placed.pod, placed.node)
