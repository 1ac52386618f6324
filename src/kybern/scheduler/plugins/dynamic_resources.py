"""DynamicResources: a pod goes where the devices that it claims are, or can be given to it.

- A claim that has its devices ties the pod to the nodes where they can be used. One that has none gets them on the node
  that is chosen: reserved in memory at once, written into the claim's status before the pod is bound.
- Extended resources that device classes stand for are one more claim, made when the pod is bound.
- A device that has to be made ready for its node first (`device_binding`) is waited for before the pod is bound.
- A claim that ties the pod to nodes where it fits no more, and that nobody else uses, is given up (PostFilter). So is the
  claim for extended resources that an attempt left behind which was not bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec.structs import replace

from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import ServiceUnavailable
from kybern.api.node_selectors import selects
from kybern.api.resource_v1 import ResourceClaim
from kybern.reconcile.resource_claims import FINALIZER
from kybern.scheduler.device_allocation import Given, NoSuch
from kybern.scheduler.device_binding import failure, is_ready, waits
from kybern.scheduler.device_claims import claims_there, found_claims, left_behind, names_of, others_wait, promised_to
from kybern.scheduler.device_inventory import Inventory
from kybern.scheduler.device_results import created, protected, reserved_for, result_of
from kybern.scheduler.extended_resources import Classes, Made, classes_of, key_of, lacking, made_for
from kybern.scheduler.extension_points import (
    Deleted,
    PostFilterPlugin,
    PreBindPlugin,
    ReservePlugin,
    Then,
)
from kybern.scheduler.framework import NODE_CHANGED, Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.preemption import Attempt, Refused
from kybern.scheduler.snapshot import Snapshot

NOT_HERE = "resourceclaim not available on the node"
NOTHING_TO_GIVE_UP = "no new claims to deallocate"
TOO_FEW = "cannot allocate all claims"
LEFT_BEHIND = "cannot schedule extended resource claim"
CONSUMERS_MAX = 256
BIND_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Claims:
    problem: str
    """Why no node will do."""
    allocated: tuple[ResourceClaim, ...] = ()
    open: tuple[ResourceClaim, ...] = ()
    inventory: Inventory | None = None
    """Where there are open ones."""
    pod: Pod | None = None
    classes: Classes = field(default_factory=dict)
    """Of the extended resources that the pod asks for."""
    made: dict[frozenset[str], Made] = field(default_factory=dict)
    """Claims for those of them that a node lacks."""

    def lacked_on(self, node: Node) -> Made | None:
        missing = lacking(self.classes, node) if self.classes else {}
        if not missing or self.pod is None:
            return None
        key = frozenset(missing)
        if key not in self.made:
            self.made[key] = made_for(self.pod, missing)
        return self.made[key]

    def given_on(self, node: Node) -> Given | None:
        """The devices of all claims that have none yet; None where they cannot be had."""
        made = self.lacked_on(node)
        wanted = self.open if made is None else (*self.open, made.claim)
        return self.inventory.allocate(wanted, node) if wanted and self.inventory is not None else []


class DynamicResources(FilterPlugin[Claims], PostFilterPlugin, ReservePlugin, PreBindPlugin):
    name = "DynamicResources"
    wakes_on = NODE_CHANGED | Change.NODE_ALLOCATABLE | Change.DEVICE | Change.POD_LEFT
    kept = False

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        return bool(about.spec.resource_claims) or bool(classes_of(about, snapshot.view))

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Claims | None:
        return claims(pod, nodes.snapshot)

    def filter(self, state: Claims, nodes: Nodes) -> Column[np.bool_]:
        if state.problem:
            return np.zeros(len(nodes), np.bool_)
        return np.fromiter((not refusal(state, node) for node in nodes.objects()), np.bool_, len(nodes))

    def problem(self, state: Claims) -> str:
        return state.problem

    def reasons(self, state: Claims, refused: Nodes) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for node in refused.objects():
            why = refusal(state, node)
            found[why] = found.get(why, 0) + 1
        return found

    def post_filter(self, refused: Refused) -> Attempt:
        judgement = refused.judgement
        state = next((state for plugin, state in judgement.filters if plugin is self), None)
        given_up = claim_to_give_up(judgement.pod, state, judgement.snapshot) if state is not None else ()
        told = NOTHING_TO_GIVE_UP if refused.why.nodes and not given_up else ""
        return Attempt(None, told, writes=given_up)

    def reserve(self, pod: Pod, node: str, snapshot: Snapshot) -> str:
        state = claims(pod, snapshot)
        row = snapshot.rows.get(node)
        if state is None:
            return ""
        if state.problem or row is None:
            return state.problem or TOO_FEW
        given = state.given_on(snapshot.nodes[row])
        if given is None:
            return TOO_FEW
        made = state.lacked_on(snapshot.nodes[row])
        for claim in (*state.open, *((made.claim,) if made else ())):
            snapshot.devices[claim.metadata.uid or ""] = result_of(claim, given, node)
        return ""

    def unreserve(self, pod: Pod, node: str, snapshot: Snapshot) -> None:
        """What is written stays the claim's; what is not is free again."""
        for claim in found_claims(pod, snapshot):
            if claim is not None and not others_wait(claim, pod, snapshot):
                snapshot.devices.pop(claim.metadata.uid or "", None)
        snapshot.devices.pop(key_of(pod.metadata.uid or ""), None)

    @property
    def settles_seconds(self) -> float:  # type: ignore[override]
        return BIND_SECONDS

    def takes_time(self, pod: Pod, snapshot: Snapshot) -> bool:
        """Where a device has to be made ready for the node first."""
        allocated = [claim.status.allocation for claim in claims_there(pod, snapshot)]
        return any(map(waits, (*allocated, *promised_to(pod, snapshot))))

    def writes(self, pod: Pod, node: str, snapshot: Snapshot) -> Sequence[Any]:
        found: list[Any] = []
        for claim in found_claims(pod, snapshot):
            if claim is None:
                continue
            mine = any(one.uid == pod.metadata.uid for one in claim.status.reserved_for or ())
            if claim.status.allocation is None:
                found.append(protected(claim, pod, snapshot.devices.get(claim.metadata.uid or "")))
            elif not mine:
                found.append(("status", reserved_for(claim, pod, claim.status.allocation)))
        result, row = snapshot.devices.get(key_of(pod.metadata.uid or "")), snapshot.rows.get(node)
        state = claims(pod, snapshot) if result is not None else None
        made = state.lacked_on(snapshot.nodes[row]) if state is not None and row is not None else None
        return found if made is None else [*found, created(made, pod, result)]

    def settled(self, pod: Pod, node: str, snapshot: Snapshot) -> bool:
        """What was promised is written once the View tells it, and is waited for from then on."""
        if any(map(waits, promised_to(pod, snapshot))):
            return False
        there = [claim for claim in claims_there(pod, snapshot) if claim.status.allocation is not None]
        failed = next((why for claim in there if (why := failure(claim))), "")
        if failed:
            raise ServiceUnavailable(f"binding devices: {failed}")
        return all(map(is_ready, there))


def claim_to_give_up(pod: Pod, state: Claims, snapshot: Snapshot) -> tuple[Any, ...]:
    """The first that ties the pod to some nodes only, or to a device that failed, and that nobody else uses."""
    left = left_behind(pod, snapshot)
    if left is not None:
        meta = left.metadata
        freed = replace(meta, finalizers=tuple(name for name in meta.finalizers or () if name != FINALIZER) or None)
        gone = Deleted(ResourceClaim, meta.name or "", meta.namespace or "", meta.uid or "")
        return (Then(replace(left, metadata=freed), lambda became: [gone]),)
    for claim in found_claims(pod, snapshot):
        if claim is None or claim.status.allocation is None:
            continue
        useless = failure(claim) or not all(usable(claim, node) for node in snapshot.nodes)
        if useless and all(one.uid == pod.metadata.uid for one in claim.status.reserved_for or ()):
            free = replace(claim.status, allocation=None, reserved_for=None, devices=None)
            return (("status", replace(claim, status=free)),)
    return ()


def claims(pod: Pod, snapshot: Snapshot) -> Claims | None:
    """None where it wants no devices."""
    classes = classes_of(pod, snapshot.view)
    if not pod.spec.resource_claims and not classes:
        return None
    if classes and left_behind(pod, snapshot) is not None:
        return Claims(LEFT_BEHIND)
    allocated, unallocated = [], []
    for name, claim in zip(names_of(pod), found_claims(pod, snapshot), strict=True):
        if claim is None:
            return Claims(
                f'resourceclaim "{name}" not found' if name else "waiting for its resource claims to be created"
            )
        if claim.metadata.deletion_timestamp is not None:
            return Claims(f"resourceclaim must not be deleted: {name}")
        if failure(claim):
            return Claims(f"device binding failed: {failure(claim)}")
        reserved = claim.status.reserved_for or ()
        if len(reserved) >= CONSUMERS_MAX and not any(one.uid == pod.metadata.uid for one in reserved):
            return Claims("resourceclaim in use")
        assumed = snapshot.devices.get(claim.metadata.uid or "")
        if claim.status.allocation is not None:
            allocated.append(claim)
        elif assumed is not None:
            allocated.append(replace(claim, status=replace(claim.status, allocation=assumed)))
        else:
            unallocated.append(claim)
    inventory = Inventory(snapshot.view, snapshot.devices) if unallocated or classes else None
    return Claims("", tuple(allocated), tuple(unallocated), inventory, pod, classes)


def usable(claim: ResourceClaim, node: Node) -> bool:
    return selects(claim.status.allocation.node_selector if claim.status.allocation else None, node)


def refusal(state: Claims, node: Node) -> str:
    if not all(usable(claim, node) for claim in state.allocated):
        return NOT_HERE
    try:
        return "" if state.given_on(node) is not None else TOO_FEW
    except NoSuch as missing:
        return str(missing)
