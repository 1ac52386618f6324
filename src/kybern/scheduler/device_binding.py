"""Binding conditions: devices that have to be made ready for a node before the pod that got them may be bound.

A driver names the conditions in its ResourceSlice, the allocation repeats them, and whoever makes the device ready reports
them in the claim's status: all of the one kind have to be true, and one of the other means that it failed.
"""

from collections.abc import Iterator

from kybern.api.resource_v1 import AllocationResult, DeviceRequestAllocationResult, ResourceClaim


def waits(allocation: AllocationResult | None) -> bool:
    return any(result.binding_conditions for result in results_of(allocation))


def failure(claim: ResourceClaim) -> str:
    """Why a device will not become ready; empty while none says so."""
    for result in results_of(claim.status.allocation):
        for condition in result.binding_failure_conditions or ():
            if condition in true_of(claim, result):
                return f"claim {claim.metadata.name}: device {result.device}: {condition}"
    return ""


def is_ready(claim: ResourceClaim) -> bool:
    return claim.status.allocation is not None and all(
        true_of(claim, result).issuperset(result.binding_conditions or ())
        for result in results_of(claim.status.allocation)
    )


def results_of(allocation: AllocationResult | None) -> tuple[DeviceRequestAllocationResult, ...]:
    return (allocation.devices.results if allocation is not None and allocation.devices else None) or ()


def true_of(claim: ResourceClaim, result: DeviceRequestAllocationResult) -> set[str]:
    return set(_true_of(claim, result)) if result.binding_conditions else set()


def _true_of(claim: ResourceClaim, result: DeviceRequestAllocationResult) -> Iterator[str]:
    wanted = (result.driver, result.pool, result.device, result.share_id)
    for told in claim.status.devices or ():
        if (told.driver, told.pool, told.device, told.share_id) == wanted:
            yield from (one.type for one in told.conditions or () if one.status == "True")
