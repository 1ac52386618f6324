"""Protection of storage: a claim that pods use, a volume that a claim is bound to, and a VolumeAttributesClass that claims or
volumes have, stay until they are free.

All carry a finalizer from the start (admission puts it there); it goes when the object is to be deleted and nobody
needs it any more. A pod counts once it has a node: no kubelet starts one whose claim is being deleted.
"""

from collections.abc import Iterator
from typing import TypeVar

from msgspec.structs import replace

from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.storage_v1 import VolumeAttributesClass
from kybern.client import Client, View
from kybern.reconcile import Context, Controller, Key
from kybern.reconcile.controller import Watch

CLAIM_FINALIZER, VOLUME_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"

CLASS_FINALIZER = "kubernetes.io/vac-protection"

T = TypeVar("T", PersistentVolume, PersistentVolumeClaim, VolumeAttributesClass)


async def reconcile_claim(claim: PersistentVolumeClaim, view: View, client: Client, context: Context) -> None:
    namespace = claim.metadata.namespace or ""
    in_use = any(Key.of(claim) in claims_of(pod) for pod in view.list(Pod, namespace) if pod.spec.node_name)
    changed = protected(claim, CLAIM_FINALIZER, in_use=in_use)
    if changed is not claim:
        await client.update(changed)


async def reconcile_volume(volume: PersistentVolume, view: View, client: Client, context: Context) -> None:
    changed = protected(volume, VOLUME_FINALIZER, in_use=volume.status.phase == "Bound")
    if changed is not volume:
        await client.update(changed)


async def reconcile_class(found: VolumeAttributesClass, view: View, client: Client, context: Context) -> None:
    having: list[PersistentVolume | PersistentVolumeClaim] = [
        *view.list(PersistentVolume),
        *view.list(PersistentVolumeClaim),
    ]
    in_use = any(Key.of(found) in classes_of(one) for one in having)
    changed = protected(found, CLASS_FINALIZER, in_use=in_use)
    if changed is not found:
        await client.update(changed)


def protected(obj: T, finalizer: str, *, in_use: bool) -> T:
    """With the finalizer while it lives or is in use, without it when it may go; itself where that is so already."""
    present: tuple[str, ...] = obj.metadata.finalizers or ()
    if obj.metadata.deletion_timestamp is None:
        wanted = present if finalizer in present else (*present, finalizer)
    else:
        wanted = present if in_use else tuple(name for name in present if name != finalizer)
    return obj if wanted == present else replace(obj, metadata=replace(obj.metadata, finalizers=wanted or None))


def claims_of(pod: Pod) -> set[Key]:
    return set(named_claims(pod))


def named_claims(pod: Pod) -> Iterator[Key]:
    namespace = pod.metadata.namespace or ""
    for volume in pod.spec.volumes or ():
        if volume.persistent_volume_claim is not None:
            yield Key(namespace, volume.persistent_volume_claim.claim_name)
        elif volume.ephemeral is not None:
            yield Key(namespace, f"{pod.metadata.name}-{volume.name}")


def classes_of(obj: PersistentVolume | PersistentVolumeClaim) -> set[Key]:
    """Those it has, wants, or is being changed to."""
    names = {obj.spec.volume_attributes_class_name}
    if isinstance(obj, PersistentVolumeClaim):
        names.add(obj.status.current_volume_attributes_class_name)
        if obj.status.modify_volume_status:
            names.add(obj.status.modify_volume_status.target_volume_attributes_class_name)
    return {Key("", name) for name in names if name}


PVC_PROTECTION = Controller(
    name="pvc-protection",
    reconciles=PersistentVolumeClaim,
    watches=(Watch(Pod, lambda pod, view: named_claims(pod)),),
    by=reconcile_claim,
)

PV_PROTECTION = Controller(name="pv-protection", reconciles=PersistentVolume, by=reconcile_volume)

VAC_PROTECTION = Controller(
    name="volumeattributesclass-protection",
    reconciles=VolumeAttributesClass,
    watches=(
        Watch(PersistentVolume, lambda volume, view: classes_of(volume)),
        Watch(PersistentVolumeClaim, lambda claim, view: classes_of(claim)),
    ),
    by=reconcile_class,
)
