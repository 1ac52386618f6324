"""VolumeBinding: a pod goes where its volumes are or can be, and is bound once they are its own.

- A claim that is bound ties the pod to the nodes that its volume can be used on. One that binds at once and is not bound
  yet makes the pod wait.
- One that waits for its first consumer is bound here: to the smallest volume that is there and suits, or, for a class
  with a provisioner, to one that is made for the chosen node, better one where much storage is left. Others write what this decides (PreBind) and carry it out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from msgspec.structs import replace

from kybern.api.core_v1 import Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.errors import Conflict
from kybern.api.quantity import value
from kybern.api.storage_v1 import CSIDriver, CSIStorageCapacity, StorageClass
from kybern.scheduler.claims import (
    NO_PROVISIONER,
    SELECTED_NODE,
    ClaimKey,
    Lookup,
    best_volume,
    binds_late,
    bound_to,
    claims_of,
    class_of,
    meets,
    offers_for,
)
from kybern.scheduler.extension_points import Patched, PreBindPlugin, ReservePlugin
from kybern.scheduler.framework import NODE_CHANGED, Change, Column, FilterPlugin, ScorePlugin
from kybern.scheduler.near import Near
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.plugins.node_affinity import any_of
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.strategies import Shape
from kybern.scheduler.volume_scores import MUCH_LEFT, asked, capacities, score_of, space_for

ELSEWHERE = "node(s) didn't match PersistentVolume's node affinity"
NOTHING_TO_BIND = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NOT_BOUND = "pod has unbound immediate PersistentVolumeClaims"
BIND_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Claims:
    problem: str
    """Why no node will do."""
    bound: tuple[PersistentVolume, ...] = ()
    late: tuple[PersistentVolumeClaim, ...] = ()
    offers: Near[PersistentVolume] = field(default_factory=Near)
    """Volumes that the late ones could have."""
    space: Near[CSIStorageCapacity] = field(default_factory=Near)
    """What can be made for them."""


@dataclass(frozen=True, slots=True)
class VolumeBinding(FilterPlugin[Claims], ScorePlugin[Claims], ReservePlugin, PreBindPlugin):
    name: ClassVar[str] = "VolumeBinding"
    wakes_on: ClassVar[Change] = NODE_CHANGED | Change.VOLUME
    kept: ClassVar[bool] = False
    bind_seconds: float = BIND_SECONDS
    shape: Shape = MUCH_LEFT

    def pre_filter(self, pod: Pod, nodes: Nodes) -> Claims | None:
        names = list(claims_of(pod)) if pod.spec.volumes else []
        return claims(pod, names, nodes.snapshot) if names else None

    def filter(self, state: Claims, nodes: Nodes) -> Column[np.bool_]:
        if state.problem:
            return np.zeros(len(nodes), np.bool_)
        fits = np.ones(len(nodes), np.bool_)
        for volume in state.bound:
            required = volume.spec.node_affinity.required if volume.spec.node_affinity else None
            fits &= any_of(required.node_selector_terms if required else None, nodes)
        if state.late:
            left = np.flatnonzero(fits)
            fits[left] = [not refusal(state, node, nodes.snapshot) for node in nodes.at(left).objects()]
        return fits

    def problem(self, state: Claims) -> str:
        return state.problem

    def reasons(self, state: Claims, refused: Nodes) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for node in refused.objects():
            why = refusal(state, node, refused.snapshot)
            found[why] = found.get(why, 0) + 1
        return found

    def pre_score(self, pod: Pod, nodes: Nodes) -> Claims | None:
        state = self.pre_filter(pod, nodes)
        return state if state is not None and state.late else None

    def score(self, state: Claims, nodes: Nodes) -> Column[np.int64]:
        snapshot = nodes.snapshot
        found = (score_of(matched(state, node, snapshot), node, state.space, self.shape) for node in nodes.objects())
        return np.fromiter(found, np.int64, len(nodes))

    def reserve(self, pod: Pod, node: str, snapshot: Snapshot) -> str:
        names = list(claims_of(pod)) if pod.spec.volumes else []
        if not names:
            return ""
        state = claims(pod, names, snapshot)
        row = snapshot.rows.get(node)
        if state.problem or row is None:
            return state.problem or NOTHING_TO_BIND
        for claim, volume in matched(state, snapshot.nodes[row], snapshot):
            if volume is not None:
                snapshot.volumes.volumes[volume.metadata.name or ""] = key_of(claim)
            else:
                snapshot.volumes.nodes[key_of(claim)] = node
        return ""

    def unreserve(self, pod: Pod, node: str, snapshot: Snapshot) -> None:
        mine = {(pod.metadata.namespace or "", name) for name, _ in claims_of(pod)} if pod.spec.volumes else set()
        for name in [name for name, key in snapshot.volumes.volumes.items() if key in mine]:
            del snapshot.volumes.volumes[name]
        for key in mine & snapshot.volumes.nodes.keys():
            del snapshot.volumes.nodes[key]

    def takes_time(self, pod: Pod, snapshot: Snapshot) -> bool:
        return bool(pod.spec.volumes) and any(
            claim is not None and not bound_to(claim) for claim in found_claims(pod, snapshot)
        )

    def writes(self, pod: Pod, node: str, snapshot: Snapshot) -> Sequence[Any]:
        """Each claim that is not bound gets the volume that was chosen, or the node for which one is to be made."""
        promised = {key: name for name, key in snapshot.volumes.volumes.items()}
        found: list[Any] = []
        for claim in found_claims(pod, snapshot) if pod.spec.volumes else ():
            if claim is None or bound_to(claim):
                continue
            volume = snapshot.view.get(PersistentVolume, promised.get(key_of(claim), ""))
            if volume is None:
                patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                found.append(
                    Patched(PersistentVolumeClaim, claim.metadata.name or "", claim.metadata.namespace or "", patch)
                )
            elif volume.spec.claim_ref is None or volume.spec.claim_ref.uid != claim.metadata.uid:
                found.append(promised_to(volume, claim))
        return found

    @property
    def settles_seconds(self) -> float:  # type: ignore[override]
        return self.bind_seconds

    def settled(self, pod: Pod, node: str, snapshot: Snapshot) -> bool:
        if not pod.spec.volumes:
            return True
        found = found_claims(pod, snapshot)
        if not all(found):
            raise Conflict("binding volumes: a claim is gone")
        done = all(claim is not None and bound_to(claim) for claim in found)
        if done:
            self.unreserve(pod, node, snapshot)
        return done


def claims(pod: Pod, names: list[tuple[str, bool]], snapshot: Snapshot) -> Claims:
    view, namespace = snapshot.view, pod.metadata.namespace or ""
    bound, late = [], []
    for name, own in names:
        claim = view.get(PersistentVolumeClaim, name, namespace)
        if claim is None:
            what = "waiting for ephemeral volume controller to create the " if own else ""
            return Claims(f'{what}persistentvolumeclaim "{name}"' + ("" if own else " not found"))
        if claim.metadata.deletion_timestamp is not None:
            return Claims(f'persistentvolumeclaim "{name}" is being deleted')
        if claim.status.phase == "Lost":
            lost = claim.spec.volume_name
            return Claims(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{lost}"')
        if own and not any(ref.uid == pod.metadata.uid for ref in claim.metadata.owner_references or ()):
            return Claims(f'PVC "{namespace}/{name}" was not created for pod "{namespace}/{pod.metadata.name}"')
        if bound_to(claim):
            volume = view.get(PersistentVolume, bound_to(claim))
            if volume is None:
                return Claims(f'persistentvolume "{bound_to(claim)}" not found')
            bound.append(volume)
        elif claim.spec.volume_name or not binds_late(claim, view):
            return Claims(NOT_BOUND)
        else:
            late.append(claim)
    return Claims("", tuple(bound), tuple(late), offers_for(late, view), space_for(late, view))


def found_claims(pod: Pod, snapshot: Snapshot) -> list[PersistentVolumeClaim | None]:
    namespace = pod.metadata.namespace or ""
    return [snapshot.view.get(PersistentVolumeClaim, name, namespace) for name, _ in claims_of(pod)]


def key_of(claim: PersistentVolumeClaim) -> ClaimKey:
    return claim.metadata.namespace or "", claim.metadata.name or ""


def refusal(state: Claims, node: Node, snapshot: Snapshot) -> str:
    """Why the volumes cannot be had on a node; empty where they can."""
    if not all(meets(volume, node) for volume in state.bound):
        return ELSEWHERE
    for claim, volume in matched(state, node, snapshot):
        if volume is not None:
            continue
        selected = snapshot.volumes.nodes.get(key_of(claim)) or (claim.metadata.annotations or {}).get(SELECTED_NODE)
        if selected and selected != node.metadata.name:
            return NOTHING_TO_BIND
        why = cannot_provision(claim, node, state.space, snapshot.view)
        if why:
            return why
    return ""


def matched(
    state: Claims, node: Node, snapshot: Snapshot
) -> Iterator[tuple[PersistentVolumeClaim, PersistentVolume | None]]:
    """The smallest claim first, each with a volume that can be used on the node, or None to have one made."""
    if not state.late:
        return
    taken = dict(snapshot.volumes.volumes)
    here = [volume for volume in state.offers.to(node.metadata.labels or {}) if meets(volume, node)]
    for claim in sorted(state.late, key=asked):
        volume = best_volume(claim, here, taken)
        if volume is not None:
            taken[volume.metadata.name or ""] = key_of(claim)
        yield claim, volume


def cannot_provision(claim: PersistentVolumeClaim, node: Node, space: Near[CSIStorageCapacity], view: Lookup) -> str:
    storage = view.get(StorageClass, class_of(claim))
    if storage is None or storage.provisioner in ("", NO_PROVISIONER):
        return NOTHING_TO_BIND
    labels = node.metadata.labels or {}
    terms = storage.allowed_topologies or ()
    if terms and not any(
        all(labels.get(one.key) in one.values for one in term.match_label_expressions or ()) for term in terms
    ):
        return NOTHING_TO_BIND
    driver = view.get(CSIDriver, storage.provisioner)
    if driver is None or not driver.spec.storage_capacity:
        return ""
    enough = any(
        value(capacity.maximum_volume_size or capacity.capacity or "0") >= asked(claim)
        for capacity in capacities(claim, node, space)
    )
    return "" if enough else NO_SPACE


def promised_to(volume: PersistentVolume, claim: PersistentVolumeClaim) -> PersistentVolume:
    """It says whose it is; the volume controller does the rest."""
    meta = claim.metadata
    reference = ObjectReference(
        kind="PersistentVolumeClaim", api_version="v1", namespace=meta.namespace, name=meta.name, uid=meta.uid,
        resource_version=meta.resource_version,
    )  # fmt: skip
    told = {**(volume.metadata.annotations or {}), "pv.kubernetes.io/bound-by-controller": "yes"}
    return replace(
        volume, metadata=replace(volume.metadata, annotations=told), spec=replace(volume.spec, claim_ref=reference)
    )
