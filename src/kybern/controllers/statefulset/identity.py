"""Identity: a StatefulSet's pod has an ordinal, and with it a name, a hostname and its own volume claims."""

import re
from collections.abc import Iterable

from msgspec.structs import replace

from kybern.api.apps_v1 import ControllerRevision, StatefulSet
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.reconcile.history import HASH, hash_of
from kybern.reconcile.pods import labelled, pod_from

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
NAME = re.compile(r"(.*)-([0-9]+)")


def ordinal_of(pod: Pod) -> int:
    """-1 for a pod that is not named as one of a StatefulSet."""
    found = NAME.fullmatch(pod.metadata.name or "")
    return int(found[2]) if found else -1


def belongs(statefulset: StatefulSet, pod: Pod) -> bool:
    found = NAME.fullmatch(pod.metadata.name or "")
    return found is not None and found[1] == statefulset.metadata.name


def pod_name(statefulset: StatefulSet, ordinal: int) -> str:
    return f"{statefulset.metadata.name}-{ordinal}"


def template_of(revision: ControllerRevision) -> PodTemplateSpec:
    kept = {name: value for name, value in revision.data["spec"]["template"].items() if name != "$patch"}
    return from_builtins(PodTemplateSpec, kept)


def new_pod(statefulset: StatefulSet, ordinal: int, revision: ControllerRevision) -> Pod:
    name = pod_name(statefulset, ordinal)
    template = labelled(template_of(revision), **{HASH: hash_of(revision)})
    pod = pod_from(template, statefulset, name=name)
    labels = {**(pod.metadata.labels or {}), POD_NAME: name, POD_INDEX: str(ordinal)}
    spec = replace(
        pod.spec,
        hostname=name,
        subdomain=statefulset.spec.service_name or None,
        volumes=(*claimed_volumes(statefulset, ordinal), *other_volumes(statefulset, pod)) or None,
    )
    return replace(pod, metadata=replace(pod.metadata, labels=labels), spec=spec)


def claim_name(template: PersistentVolumeClaim, statefulset: StatefulSet, ordinal: int) -> str:
    return f"{template.metadata.name}-{pod_name(statefulset, ordinal)}"


def claimed_volumes(statefulset: StatefulSet, ordinal: int) -> Iterable[Volume]:
    for template in statefulset.spec.volume_claim_templates or ():
        source = PersistentVolumeClaimVolumeSource(claim_name=claim_name(template, statefulset, ordinal))
        yield Volume(name=template.metadata.name or "", persistent_volume_claim=source)


def other_volumes(statefulset: StatefulSet, pod: Pod) -> Iterable[Volume]:
    claimed = {template.metadata.name for template in statefulset.spec.volume_claim_templates or ()}
    return (volume for volume in pod.spec.volumes or () if volume.name not in claimed)


def claims(statefulset: StatefulSet, ordinal: int) -> list[PersistentVolumeClaim]:
    """The claims that the pod with this ordinal needs."""
    selected = statefulset.spec.selector.match_labels or {}
    return [
        PersistentVolumeClaim(
            metadata=ObjectMeta(
                name=claim_name(template, statefulset, ordinal),
                namespace=statefulset.metadata.namespace,
                labels={**(template.metadata.labels or {}), **selected},
                annotations=template.metadata.annotations,
            ),
            spec=template.spec,
        )
        for template in statefulset.spec.volume_claim_templates or ()
    ]


def claim_owner(statefulset: StatefulSet, pod: Pod | None, *, condemned: bool) -> OwnerReference | None:
    """Whose end is the claim's end too, by the retention policy; None when it is to outlive them."""
    policy = statefulset.spec.persistent_volume_claim_retention_policy
    if policy is None:
        return None
    if condemned and policy.when_scaled == "Delete" and pod is not None:
        return OwnerReference(api_version="v1", kind="Pod", name=pod.metadata.name or "", uid=pod.metadata.uid or "")
    if policy.when_deleted == "Delete":
        meta = statefulset.metadata
        return OwnerReference(api_version="apps/v1", kind="StatefulSet", name=meta.name or "", uid=meta.uid or "")
    return None


def owned_as(
    claim: PersistentVolumeClaim, statefulset: StatefulSet, pod: Pod | None, owner: OwnerReference | None
) -> PersistentVolumeClaim:
    """The claim with this owner in the place of the StatefulSet and its pod; itself when that changes nothing."""
    ours = {statefulset.metadata.uid, pod.metadata.uid if pod is not None else None}
    known = claim.metadata.owner_references or ()
    mine = [ref for ref in known if ref.uid in ours]
    if [ref.uid for ref in mine] == ([owner.uid] if owner is not None else []):
        return claim
    others = tuple(ref for ref in known if ref.uid not in ours)
    refs = (*others, *((owner,) if owner is not None else ()))
    return replace(claim, metadata=replace(claim.metadata, owner_references=refs or None))
