"""Which changes of a node may make room for a pod that did not fit."""

from kybern.api.core_v1 import Node
from kybern.scheduler.framework import Change


def change_of(old: Node | None, new: Node) -> Change:
    """None of them for what comes all the time: heartbeats, conditions, images."""
    if old is None:
        return Change.NODE_ADDED
    found = Change(0)
    if old.status.allocatable != new.status.allocatable:
        found |= Change.NODE_ALLOCATABLE
    if old.metadata.labels != new.metadata.labels:
        found |= Change.NODE_LABELS
    if old.spec.taints != new.spec.taints or old.spec.unschedulable != new.spec.unschedulable:
        found |= Change.NODE_TAINTS
    if old.status.declared_features != new.status.declared_features:
        found |= Change.NODE_FEATURES
    return found


def concerns_scheduling(old: Node | None, new: Node) -> bool:
    """Whether the snapshot's row has to be filled again."""
    return bool(change_of(old, new)) or old is None or old.status.images != new.status.images
