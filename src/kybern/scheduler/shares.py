"""Queues: namespaces that share a cluster, each with a part that is its own and a limit, as YARN's capacity queues do.

    kybern.io/queue-guaranteed: cpu=40%,memory=64Gi     of the cluster, or an amount: what it can have back at any time
    kybern.io/queue-limit: cpu=80%                      no more than that, even where the rest is idle

What a namespace has beyond its guarantee is borrowed. A pod whose namespace stays within its own may have borrowed room
back, whatever its priority: the least important borrowers leave, and never so many that one gets below its own part.
Namespaces without these annotations neither have nor lose anything.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.demand import amount, demand_of
from kybern.scheduler.extension_points import PostFilterPlugin
from kybern.scheduler.framework import Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.placed import Placed
from kybern.scheduler.preemption import Attempt, Refused, preempt
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.victims import importance

GUARANTEED, LIMIT = "kybern.io/queue-guaranteed", "kybern.io/queue-limit"

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Share:
    guaranteed: Mapping[str, str] | None
    """None: it is no queue."""
    limit: Mapping[str, str]
    problem: str = ""


NO_SHARE = Share(None, {})


def share_of(annotations: Mapping[str, str]) -> Share:
    if not annotations.keys() & {GUARANTEED, LIMIT}:
        return NO_SHARE
    try:
        return Share(parts(annotations.get(GUARANTEED, "")), parts(annotations.get(LIMIT, "")))
    except ValueError as error:
        return Share(None, {}, str(error))


def parts(text: str) -> dict[str, str]:
    """`cpu=40%,memory=64Gi`; ValueError where it is not like that."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, told = part.partition("=")
        if not equals or not name:
            raise ValueError(f"{part!r} is not like cpu=40% or cpu=4")
        if told.endswith("%"):
            if not told[:-1].isdecimal() or int(told[:-1]) > 100:
                raise ValueError(f"{told!r} is no percentage")
        else:
            amount(name, told)
        found[name] = told
    return found


def amounts(told: Mapping[str, str], snapshot: Snapshot) -> dict[str, int]:
    found = {}
    for name, text in told.items():
        if not text.endswith("%"):
            found[name] = amount(name, text)
        elif name in snapshot.resources:
            total = int(snapshot.allocatable[: snapshot.count, snapshot.resources.index(name)].sum())
            found[name] = total * int(text[:-1]) // 100
    return found


def within(used: Amounts, more: Amounts, bound: Amounts) -> bool:
    return all(used.get(name, 0) + more.get(name, 0) <= most for name, most in bound.items())


class QueueShares(FilterPlugin[str], PostFilterPlugin):
    name: ClassVar[str] = "QueueShares"
    wakes_on: ClassVar[Change] = Change.POD_LEFT | Change.NODE_ADDED | Change.NODE_ALLOCATABLE
    kept: ClassVar[bool] = False

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        return pod.metadata.namespace == about.metadata.namespace

    def pre_filter(self, pod: Pod, nodes: Nodes) -> str | None:
        """Why its queue is full, if it is."""
        snapshot, queue = nodes.snapshot, pod.metadata.namespace or ""
        share = snapshot.shares.get(queue, NO_SHARE)
        if share.problem:
            return f"queue {queue}: {share.problem}"
        if not share.limit:
            return None
        limit, demand = amounts(share.limit, snapshot), demand_of(pod).amounts
        if within(snapshot.used_by.get(queue, {}), demand, limit):
            return None
        used = snapshot.used_by.get(queue, Counter())
        full = [name for name, most in limit.items() if used.get(name, 0) + demand.get(name, 0) > most]
        return f"queue {queue} is at its limit of {', '.join(full)}"

    def filter(self, state: str, nodes: Nodes) -> Column[np.bool_]:
        return np.zeros(len(nodes), np.bool_)

    def reasons(self, state: str, refused: Nodes) -> Mapping[str, int]:
        return {state: len(refused)}

    def post_filter(self, refused: Refused) -> Attempt:
        """Have back what others borrowed."""
        pod, snapshot = refused.judgement.pod, refused.judgement.snapshot
        queue = pod.metadata.namespace or ""
        own = snapshot.shares.get(queue, NO_SHARE)
        if own.guaranteed is None:
            return Attempt(None, "")
        demand, guaranteed = demand_of(pod).amounts, amounts(own.guaranteed, snapshot)
        asked = {name: number for name, number in demand.items() if name in guaranteed}
        used = settled(snapshot, refused.nominations, pod)
        if not asked or not within(used.get(queue, {}), asked, guaranteed):
            return Attempt(None, "")
        bounds = {
            name: amounts(share.guaranteed, snapshot)
            for name, share in snapshot.shares.items()
            if share.guaranteed is not None and name != queue
        }
        return preempt(refused, may_leave=lambda here: borrowed(here, bounds, used))


def settled(snapshot: Snapshot, nominations: Nominations, but: Pod) -> dict[str, Counter[str]]:
    """What each namespace will have once those who were promised room have it, and those who leave for them are gone."""
    used = {name: Counter(amounts) for name, amounts in snapshot.used_by.items()}
    for uid, (pod, _) in nominations.by_uid.items():
        if uid != but.metadata.uid:
            used.setdefault(pod.metadata.namespace or "", Counter()).update(demand_of(pod).amounts)
    for uid in {uid for leaving in nominations.leaving.values() for uid in leaving}:
        placed = snapshot.placed.get(uid)
        if placed is not None:
            used[placed.pod.metadata.namespace or ""].subtract(placed.demand.amounts)
    return used


def borrowed(here: list[Placed], bounds: Mapping[str, Amounts], used: Mapping[str, Amounts]) -> list[Placed]:
    """Of a node's pods those that may leave together, so that each queue keeps its own."""
    left = {name: Counter(used.get(name, {})) for name in bounds}
    found = []
    for placed in sorted(here, key=lambda placed: importance(placed.pod), reverse=True):
        queue = placed.pod.metadata.namespace or ""
        if queue not in bounds:
            continue
        taken = placed.demand.amounts
        after = Counter(left[queue])
        after.subtract(taken)
        if all(after[name] >= own for name, own in bounds[queue].items() if taken.get(name)):
            left[queue] = after
            found.append(placed)
    return found
