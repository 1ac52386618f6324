"""Sizes: how many replicas each ReplicaSet of a Deployment is to have next. Pure arithmetic; one step of a rollout.

A step never lets more than `replicas + maxSurge` pods exist, nor fewer than `replicas - maxUnavailable` be available.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.api.apps_v1 import Deployment, ReplicaSet, RollingUpdateDeployment
from kybern.api.numbers import integer
from kybern.reconcile.rounding import scaled

REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"

Sizes = Mapping[str, int]
"""By the ReplicaSet's name; only those that are to change or to be annotated."""


def desired(deployment: Deployment) -> int:
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def size_of(rs: ReplicaSet) -> int:
    return 1 if rs.spec.replicas is None else rs.spec.replicas


def available(rs: ReplicaSet) -> int:
    return rs.status.available_replicas or 0


def name_of(rs: ReplicaSet) -> str:
    return rs.metadata.name or ""


def is_rolling(deployment: Deployment) -> bool:
    return deployment.spec.strategy is None or deployment.spec.strategy.type != "Recreate"


@dataclass(frozen=True, slots=True)
class Fenceposts:
    surge: int
    unavailable: int


def fenceposts(deployment: Deployment) -> Fenceposts:
    """maxSurge rounds up, maxUnavailable down; both 0 would never move, so one may be missing then."""
    if not is_rolling(deployment):
        return Fenceposts(0, 0)
    strategy = deployment.spec.strategy
    limits = (strategy.rolling_update if strategy else None) or RollingUpdateDeployment()
    replicas = desired(deployment)
    surge = scaled("25%" if limits.max_surge is None else limits.max_surge, replicas, up=True)
    down = scaled("25%" if limits.max_unavailable is None else limits.max_unavailable, replicas, up=False)
    return Fenceposts(surge, 1 if surge == 0 and down == 0 else min(down, replicas))


def surge_size(deployment: Deployment) -> int:
    return desired(deployment) + fenceposts(deployment).surge


def replica_annotations(deployment: Deployment) -> dict[str, str]:
    return {DESIRED: str(desired(deployment)), MAX: str(surge_size(deployment))}


def resized(deployment: Deployment, rs: ReplicaSet, size: int) -> ReplicaSet:
    """The ReplicaSet with that size, noting what its Deployment wanted; itself when nothing changes."""
    before = rs.metadata.annotations or {}
    noted = {**before, **replica_annotations(deployment)}
    if size == size_of(rs) and noted == before:
        return rs
    return replace(rs, metadata=replace(rs.metadata, annotations=noted), spec=replace(rs.spec, replicas=size))


# A rolling update.


def new_size(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> int:
    """The size of the new ReplicaSet as far as the surge allows."""
    now = size_of(new) if new is not None else 0
    if not is_rolling(deployment) or now >= desired(deployment):
        return desired(deployment)
    room = surge_size(deployment) - sum(map(size_of, old)) - now
    return now + min(max(room, 0), desired(deployment) - now)


def rolling(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> Sizes:
    """One step: grow the new one first; when that is done for now, shrink the old ones."""
    grown = new_size(deployment, new, old)
    return {name_of(new): grown} if grown != size_of(new) else shrink_old(deployment, new, old)


def shrink_old(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> Sizes:
    total = sum(map(size_of, old)) + size_of(new)
    least = desired(deployment) - fenceposts(deployment).unavailable
    may_go = total - least - (size_of(new) - available(new))
    if may_go <= 0 or not any(map(size_of, old)):
        return {}
    sizes = {name_of(rs): size_of(rs) for rs in old}
    lose_unhealthy(sizes, old, may_go)
    spare = sum(map(available, old)) + available(new) - least
    for rs in old:
        lost = min(sizes[name_of(rs)], max(spare, 0))
        sizes[name_of(rs)] -= lost
        spare -= lost
    return {name_of(rs): sizes[name_of(rs)] for rs in old if sizes[name_of(rs)] != size_of(rs)}


def lose_unhealthy(sizes: dict[str, int], old: Sequence[ReplicaSet], may_go: int) -> None:
    """Pods that are not available anyway cost nothing."""
    for rs in old:
        lost = max(min(may_go, size_of(rs) - available(rs)), 0)
        sizes[name_of(rs)] -= lost
        may_go -= lost


# Recreate.


def stopped(old: Sequence[ReplicaSet]) -> Sizes:
    return {name_of(rs): 0 for rs in old if size_of(rs)}


# Scaling, in the middle of a rollout or paused.


def scale(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> Sizes:
    active = [rs for rs in [*old, *([new] if new is not None else [])] if size_of(rs)]
    only = active[0] if len(active) == 1 else None if active else (new or (old[-1] if old else None))
    if only is not None:
        return {name_of(only): desired(deployment)}
    if new is not None and is_saturated(deployment, new):
        return stopped(old)
    return proportional(deployment, active) if is_rolling(deployment) else {name_of(rs): size_of(rs) for rs in active}


def is_saturated(deployment: Deployment, rs: ReplicaSet) -> bool:
    noted = (rs.metadata.annotations or {}).get(DESIRED)
    return size_of(rs) == available(rs) == desired(deployment) and noted == str(desired(deployment))


def proportional(deployment: Deployment, active: Sequence[ReplicaSet]) -> Sizes:
    """Share what is added or taken by size, the rest going to the largest: less is lost when a rollout fails."""
    allowed = surge_size(deployment) if desired(deployment) else 0
    to_add = allowed - sum(map(size_of, active))
    newest_first = sorted(active, key=lambda rs: rs.metadata.creation_timestamp or "", reverse=to_add > 0)
    ordered = sorted(newest_first, key=size_of, reverse=True)
    sizes, added = {}, 0
    for rs in ordered:
        share = proportion(deployment, rs, to_add, added)
        sizes[name_of(rs)] = size_of(rs) + share
        added += share
    if ordered:
        first = name_of(ordered[0])
        sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes


def proportion(deployment: Deployment, rs: ReplicaSet, to_add: int, added: int) -> int:
    if not to_add or not size_of(rs):
        return 0
    allowed = to_add - added
    share = fraction(deployment, rs)
    return min(share, allowed) if to_add > 0 else max(share, allowed)


def fraction(deployment: Deployment, rs: ReplicaSet) -> int:
    """By how much the ReplicaSet would grow with its Deployment."""
    if not desired(deployment):
        return -size_of(rs)
    noted = integer((rs.metadata.annotations or {}).get(MAX), bits=32)
    before = noted or deployment.status.replicas or 0
    if not before:
        return 0
    return math.floor(size_of(rs) * surge_size(deployment) / before + 0.5) - size_of(rs)
