"""What is written of the devices that a claim is given: into its status, and for extended resources into the pod's too."""

from typing import Any
from uuid import NAMESPACE_OID, uuid5

from msgspec.structs import replace

from kybern.api.codec import to_builtins
from kybern.api.core_v1 import (
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodExtendedResourceClaimStatus,
)
from kybern.api.resource_v1 import (
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    ResourceClaim,
    ResourceClaimConsumerReference,
)
from kybern.reconcile.resource_claims import FINALIZER
from kybern.scheduler.device_allocation import Given, Part
from kybern.scheduler.device_capacity import needed, told
from kybern.scheduler.devices import Offered, can_be_shared
from kybern.scheduler.extended_resources import Made
from kybern.scheduler.extension_points import Patched, Then


def share_of(claim: ResourceClaim, number: int, part: Part, one: Offered) -> dict[str, Any]:
    """Which part of a shared device this is: told apart by an id, the same however often it is worked out."""
    if not can_be_shared(one):
        return {}
    identity = uuid5(NAMESPACE_OID, f"{claim.metadata.uid}/{part.name}/{number}/{'/'.join(one.id)}")
    taken = {} if part.admin else needed(one.device, part.asked.capacity) or {}
    return {"share_id": str(identity), "consumed_capacity": told(one.device, taken)}


def result_of(claim: ResourceClaim, given: Given, node: str) -> AllocationResult:
    """What is written into the claim's status. It can be used where its devices are."""
    mine = [(part, one) for part, one in given if part.claim is claim]
    results = tuple(
        DeviceRequestAllocationResult(
            request=part.name, driver=one.id[0], pool=one.id[1], device=one.id[2], admin_access=part.admin or None,
            tolerations=part.asked.tolerations, binding_conditions=one.device.binding_conditions,
            binding_failure_conditions=one.device.binding_failure_conditions, **share_of(claim, number, part, one),
        )
        for number, (part, one) in enumerate(mine)
    )  # fmt: skip
    config = [
        DeviceAllocationConfiguration(source="FromClass", requests=(part.name,), opaque=one.opaque)
        for part in {part.name: part for part, _ in mine}.values()
        for one in part.of_class.spec.config or ()
    ]
    config += [
        DeviceAllocationConfiguration(source="FromClaim", requests=one.requests, opaque=one.opaque)
        for one in (claim.spec.devices.config if claim.spec.devices else None) or ()
    ]
    local = any(one.slice.spec.node_name or one.device.node_name or one.device.binds_to_node for _, one in mine)
    field_ = NodeSelectorRequirement(key="metadata.name", operator="In", values=(node,))
    selector = NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(field_,)),)) if local else None
    return AllocationResult(
        devices=DeviceAllocationResult(results=results, config=tuple(config) or None), node_selector=selector
    )


def protected(claim: ResourceClaim, pod: Pod, result: AllocationResult | None) -> Then:
    """Nobody deletes a claim whose devices are in use: that is written before they are given to it."""
    kept = (*(name for name in claim.metadata.finalizers or () if name != FINALIZER), FINALIZER)
    guarded = replace(claim, metadata=replace(claim.metadata, finalizers=kept))
    return Then(guarded, lambda became: [("status", reserved_for(became, pod, result))])


def created(made: Made, pod: Pod, result: AllocationResult | None) -> Then:
    meta = replace(made.claim.metadata, uid=None, finalizers=(FINALIZER,))

    def then(became: ResourceClaim) -> list[Any]:
        told = PodExtendedResourceClaimStatus(
            request_mappings=made.mappings, resource_claim_name=became.metadata.name or ""
        )
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"extendedResourceClaimStatus": to_builtins(told)}}
        name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
        return [("status", reserved_for(became, pod, result)), Patched(Pod, name, namespace, patch, "status")]

    return Then(replace(made.claim, metadata=meta), then)


def reserved_for(claim: ResourceClaim, pod: Pod, result: AllocationResult | None) -> ResourceClaim:
    others = [one for one in claim.status.reserved_for or () if one.uid != pod.metadata.uid]
    me = ResourceClaimConsumerReference(resource="pods", name=pod.metadata.name or "", uid=pod.metadata.uid or "")
    return replace(claim, status=replace(claim.status, allocation=result, reserved_for=(*others, me)))
