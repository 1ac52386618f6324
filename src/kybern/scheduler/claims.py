"""Claims for volumes: what a pod claims, what is bound to what, and what else could be.

All are questions to the View at the moment of a decision; `Assumed` adds what was decided and is not written yet.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from kybern.api.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.node_selectors import selects
from kybern.api.quantity import value
from kybern.api.storage_v1 import StorageClass
from kybern.registry.persistentvolumeclaims import CLASS_ANNOTATION
from kybern.scheduler.near import Near, tie_of_terms
from kybern.scheduler.terms import selector_of

T = TypeVar("T")

SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
WAIT = "WaitForFirstConsumer"

ClaimKey = tuple[str, str]
"""Namespace and name."""


class Lookup(Protocol):
    """The reading side of a View."""

    def get(self, of: type[T], name: str, namespace: str = "") -> T | None: ...

    def list(self, of: type[T], namespace: str | None = None) -> Sequence[T]: ...

    def owned_by(self, owner: Any, of: type[T]) -> Sequence[T]: ...

    async def wait_for(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Whether it came to hold in time."""


class Nothing:
    """Knows nothing."""

    def get(self, of: type[T], name: str, namespace: str = "") -> T | None:
        return None

    def list(self, of: type[T], namespace: str | None = None) -> Sequence[T]:
        return ()

    def owned_by(self, owner: Any, of: type[T]) -> Sequence[T]:
        return ()

    async def wait_for(self, holds: Callable[[], bool], seconds: float) -> bool:
        return holds()


@dataclass(slots=True)
class Assumed:
    volumes: dict[str, ClaimKey] = field(default_factory=dict)
    """Volumes by name that were promised to a claim."""
    nodes: dict[ClaimKey, str] = field(default_factory=dict)
    """Claims that are to be provisioned for a node."""


def claims_of(pod: Pod) -> Iterator[tuple[str, bool]]:
    """The names of the claims of a pod's volumes, and whether they are made for this pod alone."""
    for volume in pod.spec.volumes or ():
        if volume.persistent_volume_claim is not None:
            yield volume.persistent_volume_claim.claim_name, False
        elif volume.ephemeral is not None:
            yield f"{pod.metadata.name}-{volume.name}", True


def bound_to(claim: PersistentVolumeClaim) -> str:
    """The volume's name, once both sides agree."""
    bound = (claim.metadata.annotations or {}).get("pv.kubernetes.io/bind-completed") or claim.status.phase == "Bound"
    return (claim.spec.volume_name or "") if bound else ""


def class_of(obj: PersistentVolumeClaim | PersistentVolume) -> str:
    """As the annotation of old says it, where there is one."""
    return (obj.metadata.annotations or {}).get(CLASS_ANNOTATION) or obj.spec.storage_class_name or ""


def binds_late(claim: PersistentVolumeClaim, view: Lookup) -> bool:
    found = view.get(StorageClass, class_of(claim)) if class_of(claim) else None
    return found is not None and found.volume_binding_mode == WAIT


def meets(volume: PersistentVolume, node: Node) -> bool:
    """The volume can be used on the node."""
    return selects(volume.spec.node_affinity.required if volume.spec.node_affinity else None, node)


def best_volume(
    claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume], taken: Mapping[str, ClaimKey]
) -> PersistentVolume | None:
    """The smallest one that the claim can have; one that is reserved for the claim before all others."""
    key = (claim.metadata.namespace or "", claim.metadata.name or "")
    found: PersistentVolume | None = None
    for volume in volumes:
        reserved = volume.spec.claim_ref
        if reserved is not None:
            if (reserved.namespace, reserved.name) == key and reserved.uid in (None, "", claim.metadata.uid):
                return volume
            continue
        if taken.get(volume.metadata.name or "", key) != key or not suits(volume, claim):
            continue
        if found is None or size(volume) < size(found):
            found = volume
    return found


def offers_for(claims: Sequence[PersistentVolumeClaim], view: Lookup) -> Near[PersistentVolume]:
    """The volumes that one of the claims could have."""
    names = {(claim.metadata.namespace, claim.metadata.name) for claim in claims}
    classes = {class_of(claim) for claim in claims}
    found: Near[PersistentVolume] = Near()
    for volume in view.list(PersistentVolume) if claims else ():
        reserved = volume.spec.claim_ref
        if (reserved.namespace, reserved.name) in names if reserved else class_of(volume) in classes:
            required = volume.spec.node_affinity.required if volume.spec.node_affinity else None
            found.add(volume, tie_of_terms(required.node_selector_terms if required else ()))
    return found


def suits(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    spec = claim.spec
    wanted = (spec.resources.requests or {}).get("storage", "0") if spec.resources else "0"
    return (
        volume.metadata.deletion_timestamp is None
        and (volume.status.phase or "Available") == "Available"
        and class_of(volume) == class_of(claim)
        and (volume.spec.volume_mode or "Filesystem") == (spec.volume_mode or "Filesystem")
        and set(spec.access_modes or ()) <= set(volume.spec.access_modes or ())
        and (spec.selector is None or selector_of(spec.selector).matches(volume.metadata.labels))
        and size(volume) >= value(wanted)
    )


def size(volume: PersistentVolume) -> int:
    return value((volume.spec.capacity or {}).get("storage", "0"))
