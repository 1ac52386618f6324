"""DynamicResources: a pod goes where the devices that it claims are, or can be given to it.

A claim that has its devices ties the pod to the nodes where they can be used. One that has none gets them on the node
that is chosen: reserved in memory at once, written into the claim's status before the pod is bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from kybern.api.core_v1 import Node, Pod
from kybern.api.resource_v1 import ResourceClaim, ResourceClaimConsumerReference
from kybern.scheduler.claims import term_holds
from kybern.scheduler.devices import Inventory, NoSuch, result_of
from kybern.scheduler.extension_points import PreBindPlugin, ReservePlugin
from kybern.scheduler.framework import NODE_CHANGED, Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.snapshot import Snapshot

NOT_HERE = "resourceclaim not available on the node"
TOO_FEW = "cannot allocate all claims"
CONSUMERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Claims:
    problem: str
    """Why no node will do."""
    allocated: tuple[ResourceClaim, ...] = ()
    open: tuple[ResourceClaim, ...] = ()
    inventory: Inventory | None = None
    """Where there are open ones."""


class DynamicResources(FilterPlugin[Claims], ReservePlugin, PreBindPlugin):
    name = "DynamicResources"
    wakes_on = NODE_CHANGED | Change.DEVICE | Change.POD_LEFT
    kept = False

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        return bool(about.spec.resource_claims)

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Claims | None:
        return claims(pod, nodes.snapshot) if pod.spec.resource_claims else None

    def filter(self, state: Claims, nodes: Nodes) -> Column[np.bool_]:
        if state.problem:
            return np.zeros(len(nodes), np.bool_)
        return np.fromiter((not refusal(state, node) for node in nodes.objects()), np.bool_, len(nodes))

    def reasons(self, state: Claims, refused: Nodes) -> Mapping[str, int]:
        if state.problem:
            return {state.problem: len(refused)}
        found: dict[str, int] = {}
        for node in refused.objects():
            why = refusal(state, node)
            found[why] = found.get(why, 0) + 1
        return found

    def reserve(self, pod: Pod, node: str, snapshot: Snapshot) -> str:
        state = claims(pod, snapshot) if pod.spec.resource_claims else Claims("")
        row = snapshot.rows.get(node)
        if state.problem or row is None:
            return state.problem or TOO_FEW
        given = state.inventory.allocate(state.open, snapshot.nodes[row]) if state.inventory else []
        if given is None:
            return TOO_FEW
        for claim in state.open:
            snapshot.devices[claim.metadata.uid or ""] = result_of(claim, given, node)
        return ""

    def unreserve(self, pod: Pod, node: str, snapshot: Snapshot) -> None:
        """What is written stays the claim's; what is not is free again."""
        for claim in found_claims(pod, snapshot):
            if claim is not None and not others_wait(claim, pod, snapshot):
                snapshot.devices.pop(claim.metadata.uid or "", None)

    def writes(self, pod: Pod, node: str, snapshot: Snapshot) -> Sequence[Any]:
        found = []
        for claim in found_claims(pod, snapshot):
            if claim is None:
                continue
            reserved = claim.status.reserved_for or ()
            mine = any(one.uid == pod.metadata.uid for one in reserved)
            result = claim.status.allocation or snapshot.devices.get(claim.metadata.uid or "")
            if mine and claim.status.allocation is not None:
                continue
            me = ResourceClaimConsumerReference(
                resource="pods", name=pod.metadata.name or "", uid=pod.metadata.uid or ""
            )
            status = replace(claim.status, allocation=result, reserved_for=reserved if mine else (*reserved, me))
            found.append(("status", replace(claim, status=status)))
        return found

    def settled(self, pod: Pod, node: str, snapshot: Snapshot) -> bool:
        return True


def claims(pod: Pod, snapshot: Snapshot) -> Claims:
    allocated, unallocated = [], []
    for name, claim in zip(names_of(pod), found_claims(pod, snapshot), strict=True):
        if claim is None:
            return Claims(
                f'resourceclaim "{name}" not found' if name else "waiting for its resource claims to be created"
            )
        if claim.metadata.deletion_timestamp is not None:
            return Claims(f"resourceclaim must not be deleted: {name}")
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
    inventory = Inventory(snapshot.view, snapshot.devices) if unallocated else None
    return Claims("", tuple(allocated), tuple(unallocated), inventory)


def names_of(pod: Pod) -> list[str]:
    """A claim that is made from a template is named in the pod's status once it is there."""
    made = {one.name: one.resource_claim_name or "" for one in pod.status.resource_claim_statuses or ()}
    return [one.resource_claim_name or made.get(one.name, "") for one in pod.spec.resource_claims or ()]


def found_claims(pod: Pod, snapshot: Snapshot) -> list[ResourceClaim | None]:
    namespace = pod.metadata.namespace or ""
    return [snapshot.view.get(ResourceClaim, name, namespace) if name else None for name in names_of(pod)]


def others_wait(claim: ResourceClaim, pod: Pod, snapshot: Snapshot) -> bool:
    """Whether another pod is being bound by what was reserved for this claim."""
    return any(
        placed.pod.spec.resource_claims
        and claim.metadata.name in names_of(placed.pod)
        and placed.pod.metadata.namespace == claim.metadata.namespace
        for uid, placed in snapshot.placed.items()
        if uid != pod.metadata.uid
    )


def refusal(state: Claims, node: Node) -> str:
    for claim in state.allocated:
        selector = claim.status.allocation.node_selector if claim.status.allocation else None
        if selector is not None and not any(term_holds(term, node) for term in selector.node_selector_terms):
            return NOT_HERE
    if state.inventory is None:
        return ""
    try:
        return "" if state.inventory.allocate(state.open, node) is not None else TOO_FEW
    except NoSuch as missing:
        return str(missing)
