"""What several components know of resource claims: what keeps one from being deleted, and the one that is made for a pod's
extended resources."""

from kybern.api.core_v1 import Pod
from kybern.api.resource_v1 import ResourceClaim
from kybern.registry.device_usage import EXTENDED

FINALIZER = "resource.kubernetes.io/delete-protection"


def is_for_extended_resources(claim: ResourceClaim) -> bool:
    """Of the pod that controls it."""
    return (claim.metadata.annotations or {}).get(EXTENDED) == "true"


def extended_claim_name(pod: Pod) -> str:
    """Empty where none was made for it."""
    told = pod.status.extended_resource_claim_status
    return told.resource_claim_name if told is not None else ""
