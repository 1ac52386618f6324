"""Identity: a StatefulSet's pod has an ordinal, and with it a name, a hostname and its own volume claims."""

import re
from collections.abc import Iterable

from msgspec.structs import replace

from kybern.api.apps_v1 import ControllerRevision, StatefulSet
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.reconcile import controller_ref
from kybern.reconcile.history import HASH, name_of
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
    template = labelled(template_of(revision), **{HASH: name_of(revision)})
    pod = pod_from(template, statefulset, name=name)
    labels = {**(pod.metadata.labels or {}), **identity_labels(pod)}
    spec = replace(
        pod.spec,
        hostname=name,
        subdomain=statefulset.spec.service_name or None,
        volumes=(*claimed_volumes(statefulset, ordinal), *other_volumes(statefulset, pod)) or None,
    )
    return replace(pod, metadata=replace(pod.metadata, labels=labels), spec=spec)


def identity_labels(pod: Pod) -> dict[str, str]:
    return {POD_NAME: pod.metadata.name or "", POD_INDEX: str(ordinal_of(pod))}


def identified(pod: Pod) -> Pod:
    """With the labels that say which one it is, as an adopted pod may not have them; itself when it has."""
    labels, wanted = pod.metadata.labels or {}, identity_labels(pod)
    if wanted.items() <= labels.items():
        return pod
    return replace(pod, metadata=replace(pod.metadata, labels={**labels, **wanted}))


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


def is_stale(claim: PersistentVolumeClaim, pod: str) -> bool:
    """It goes with the pod that had this name before: a new one must not be given it."""
    if claim.metadata.deletion_timestamp is not None:
        return True
    return any(ref.kind == "Pod" and ref.name == pod for ref in claim.metadata.owner_references or ())


def claim_owner(statefulset: StatefulSet, pod: Pod | None, *, condemned: bool) -> OwnerReference | None:
    """Whose end is the claim's end too, by the retention policy; None when it is to outlive them."""
    policy = statefulset.spec.persistent_volume_claim_retention_policy
    if policy is None:
        return None
    if condemned and policy.when_scaled == "Delete" and pod is not None:
        return controller_ref(pod)
    return controller_ref(statefulset) if policy.when_deleted == "Delete" else None


def owned_as(
    claim: PersistentVolumeClaim, statefulset: StatefulSet, pod: Pod | None, owner: OwnerReference | None
) -> PersistentVolumeClaim:
    """The claim with this owner in the place of the StatefulSet and its pod; itself when that changes nothing, or when
    somebody else controls it."""
    ours = {statefulset.metadata.uid, pod.metadata.uid if pod is not None else None}
    known = claim.metadata.owner_references or ()
    mine = tuple(ref for ref in known if ref.uid in ours)
    others = tuple(ref for ref in known if ref.uid not in ours)
    wanted = (owner,) if owner is not None else ()
    if mine == wanted or any(ref.controller for ref in others):
        return claim
    return replace(claim, metadata=replace(claim.metadata, owner_references=(*others, *wanted) or None))
