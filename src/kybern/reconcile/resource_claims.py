"""What several components know of resource claims: what keeps one from being deleted, and the one that is made for a pod's
extended resources."""

from msgspec.structs import replace

from kybern.api.core_v1 import Pod
from kybern.api.meta_v1 import OwnerReference
from kybern.api.resource_v1 import ResourceClaim
from kybern.reconcile.ownership import controller_ref
from kybern.registry.device_usage import EXTENDED

FINALIZER = "resource.kubernetes.io/delete-protection"


def owner_of_claim(pod: Pod) -> OwnerReference:
    """Whoever deletes the pod does not wait for its claim: that waits for the pod itself."""
    return replace(controller_ref(pod), block_owner_deletion=None)


def is_for_extended_resources(claim: ResourceClaim) -> bool:
    """Of the pod that controls it."""
    return (claim.metadata.annotations or {}).get(EXTENDED) == "true"


def extended_claim_name(pod: Pod) -> str:
    """Empty where none was made for it."""
    told = pod.status.extended_resource_claim_status
    return told.resource_claim_name if told is not None else ""
