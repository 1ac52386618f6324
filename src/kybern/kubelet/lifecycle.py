"""The life of a pod on a node, as a table.

SYNCING      containers are started and kept going
TERMINATING  everything is being stopped
TERMINATED   nothing runs any more; what the pod used is given back, its record stays
FINISHED     the pod is gone from the node and from the API
"""

from enum import Enum


class Stage(Enum):
    SYNCING = "syncing"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    FINISHED = "finished"


class Fact(Enum):
    ENDED = "ended"
    """It was deleted, ran to its end, ran out of time, or was refused."""
    STOPPED = "stopped"
    """No process of it is left."""
    REMOVED = "removed"
    """It was deleted, and nothing of it is left on the node."""


TRANSITIONS: dict[tuple[Stage, Fact], Stage] = {
    (Stage.SYNCING, Fact.ENDED): Stage.TERMINATING,
    (Stage.TERMINATING, Fact.STOPPED): Stage.TERMINATED,
    (Stage.TERMINATED, Fact.REMOVED): Stage.FINISHED,
}


def step(stage: Stage, fact: Fact) -> Stage:
    """A fact that means nothing in a stage changes nothing."""
    return TRANSITIONS.get((stage, fact), stage)
