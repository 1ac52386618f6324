"""device taint eviction: pods leave devices with a NoExecute taint, at once or after the time for which they tolerate it.

A device's taints are those that its driver tells in the ResourceSlice and those of every DeviceTaintRule that selects it.
Whether a pod tolerates them was settled when its claim was allocated: the allocation carries the tolerations.
"""

from collections.abc import Iterable

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.core_v1 import Pod
from kybern.api.errors import Conflict, NotFound
from kybern.api.resource_v1 import (
    DeviceRequestAllocationResult,
    DeviceTaint,
    DeviceTaintRule,
    ResourceClaim,
    ResourceSlice,
)
from kybern.client import Client, View
from kybern.controllers.resourceclaims import claims_of, has_claims
from kybern.reconcile import After, Context, Controller, Key
from kybern.reconcile.controller import Watch
from kybern.reconcile.device_taints import selects, tolerates
from kybern.reconcile.disruption import disrupt
from kybern.reconcile.pods import is_finished

REASON = "DeletionByDeviceTaintManager"
MESSAGE = "Device Taint manager: deleting due to NoExecute taint"
CHANGED_SECONDS = 0.1


async def reconcile(pod: Pod, view: View, client: Client, context: Context) -> After | None:
    if pod.metadata.deletion_timestamp is not None or is_finished(pod):
        return None
    waits = [
        seconds_left(result, taint, context.now)
        for claim in claims_of(pod, view)
        if is_reserved_for(claim, pod)
        for result in devices_of(claim)
        for taint in taints_of(result, view)
    ]
    wait = min((wait for wait in waits if wait is not None), default=None)
    if wait is None or wait > 0:
        return None if wait is None else After(wait)
    meta = pod.metadata
    context.events.event(pod, "Normal", "DeviceTaintManagerEviction", "Marking for deletion")
    try:
        await disrupt(pod, client, REASON, MESSAGE, rfc3339(context.now))
        await client.delete(Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "")
    except NotFound:
        pass
    except Conflict:
        return After(CHANGED_SECONDS)
    return None


def is_reserved_for(claim: ResourceClaim, pod: Pod) -> bool:
    return any(one.uid == pod.metadata.uid for one in claim.status.reserved_for or ())


def devices_of(claim: ResourceClaim) -> Iterable[DeviceRequestAllocationResult]:
    allocation = claim.status.allocation
    return (allocation.devices.results if allocation is not None and allocation.devices else None) or ()


def taints_of(result: DeviceRequestAllocationResult, view: View) -> Iterable[DeviceTaint]:
    """The device's taints that drive pods away."""
    for part in view.list(ResourceSlice):
        if (part.spec.driver, part.spec.pool.name) == (result.driver, result.pool):
            for device in part.spec.devices or ():
                if device.name == result.device:
                    yield from filter(drives_away, device.taints or ())
    for rule in view.list(DeviceTaintRule):
        if selects(rule.spec.device_selector, result.driver, result.pool, result.device) and drives_away(
            rule.spec.taint
        ):
            yield rule.spec.taint


def drives_away(taint: DeviceTaint) -> bool:
    return taint.effect == "NoExecute"


def seconds_left(result: DeviceRequestAllocationResult, taint: DeviceTaint, now: float) -> float | None:
    """Until whoever uses the device has to leave; None when it may stay."""
    fitting = [toleration for toleration in result.tolerations or () if tolerates(toleration, taint)]
    if not fitting:
        return 0.0
    limits = [one.toleration_seconds for one in fitting if one.toleration_seconds is not None]
    if not limits:
        return None
    since = from_rfc3339(taint.time_added) if taint.time_added else now
    return max(since + max(min(limits), 0) - now, 0.0)


def consumers_of(claim: ResourceClaim, view: View) -> Iterable[Key]:
    return (Key(claim.metadata.namespace or "", one.name) for one in claim.status.reserved_for or ())


def all_consumers(changed: ResourceSlice | DeviceTaintRule, view: View) -> Iterable[Key]:
    return (key for claim in view.list(ResourceClaim) for key in consumers_of(claim, view))


DEVICETAINTEVICTION = Controller(
    name="device-taint-eviction",
    component="device-taint-eviction-controller",
    reconciles=Pod,
    concerns=has_claims,
    watches=(
        Watch(ResourceClaim, consumers_of),
        Watch(ResourceSlice, all_consumers),
        Watch(DeviceTaintRule, all_consumers),
    ),
    by=reconcile,
)
