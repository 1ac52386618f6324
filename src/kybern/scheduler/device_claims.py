"""The claims of a pod: those that it names, those that are made for it from templates, and the one for its extended resources."""

from kybern.api.core_v1 import Pod
from kybern.api.resource_v1 import AllocationResult, ResourceClaim
from kybern.reconcile.resource_claims import is_for_extended_resources
from kybern.scheduler.extended_resources import classes_of, key_of
from kybern.scheduler.snapshot import Snapshot


def names_of(pod: Pod) -> list[str]:
    """A claim that is made from a template is named in the pod's status once it is there."""
    made = {one.name: one.resource_claim_name or "" for one in pod.status.resource_claim_statuses or ()}
    return [one.resource_claim_name or made.get(one.name, "") for one in pod.spec.resource_claims or ()]


def found_claims(pod: Pod, snapshot: Snapshot) -> list[ResourceClaim | None]:
    namespace = pod.metadata.namespace or ""
    return [snapshot.view.get(ResourceClaim, name, namespace) if name else None for name in names_of(pod)]


def claims_there(pod: Pod, snapshot: Snapshot) -> list[ResourceClaim]:
    """All of the pod's claims that exist, also the one for its extended resources."""
    found = [claim for claim in found_claims(pod, snapshot) if claim is not None] if pod.spec.resource_claims else []
    made = left_behind(pod, snapshot) if classes_of(pod, snapshot.view) else None
    return found if made is None else [*found, made]


def left_behind(pod: Pod, snapshot: Snapshot) -> ResourceClaim | None:
    """A claim for its extended resources of an attempt that was not bound."""
    return next(filter(is_for_extended_resources, snapshot.view.owned_by(pod, ResourceClaim)), None)


def promised_to(pod: Pod, snapshot: Snapshot) -> list[AllocationResult]:
    """What was given to its claims and is not written yet."""
    if not snapshot.devices:
        return []
    keys = [claim.metadata.uid or "" for claim in claims_there(pod, snapshot)]
    return [snapshot.devices[key] for key in (*keys, key_of(pod.metadata.uid or "")) if key in snapshot.devices]


def others_wait(claim: ResourceClaim, pod: Pod, snapshot: Snapshot) -> bool:
    """Whether another pod is being bound by what was reserved for this claim."""
    return any(
        placed.pod.spec.resource_claims
        and claim.metadata.name in names_of(placed.pod)
        and placed.pod.metadata.namespace == claim.metadata.namespace
        for uid, placed in snapshot.placed.items()
        if uid != pod.metadata.uid
    )
