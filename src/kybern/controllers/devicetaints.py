"""device taint eviction: pods leave devices with a NoExecute taint, at once or after the time for which they tolerate it.

A device's taints are those that its driver tells in the ResourceSlice and those of every DeviceTaintRule that selects it.
Whether a pod tolerates them was settled when its claim was allocated: the allocation carries the tolerations. How far a rule
has come is told in its status (`devicetaintrules`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.core_v1 import Pod
from kybern.api.errors import Conflict, NotFound
from kybern.api.resource_v1 import (
    Device,
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
from kybern.reconcile.device_taints import selects, tolerating
from kybern.reconcile.disruption import disrupt
from kybern.reconcile.pods import is_finished

REASON = "DeletionByDeviceTaintManager"
MESSAGE = "Device Taint manager: deleting due to NoExecute taint"
CHANGED_SECONDS = 0.1
OF_POOL = "pool"


@dataclass(frozen=True, slots=True)
class Departure:
    """That a pod has to go."""

    seconds: float
    """From now."""
    rules: frozenset[str]
    """The uids of the rules that drive it away."""


def device_taint_eviction(evicted: Counter[str]) -> Controller[Pod]:
    """`evicted` counts, by the rule's uid, the pods that had to go."""
    leaving: set[Key] = set()

    async def reconcile(pod: Pod, view: View, client: Client, context: Context) -> After | None:
        found = departure(pod, view.list(DeviceTaintRule), view, context.now)
        if found is not None and found.seconds > 0:
            leaving.add(Key.of(pod))
            return After(found.seconds)
        was_to_leave = Key.of(pod) in leaving
        leaving.discard(Key.of(pod))
        if found is None:
            if was_to_leave and pod.metadata.deletion_timestamp is None:
                context.events.event(pod, "Normal", "DeviceTaintManagerEviction", "Cancelling deletion")
            return None
        meta = pod.metadata
        context.events.event(pod, "Normal", "DeviceTaintManagerEviction", "Marking for deletion")
        try:
            await disrupt(pod, client, REASON, MESSAGE, rfc3339(context.now))
            await client.delete(Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "")
        except NotFound:
            return None
        except Conflict:
            return After(CHANGED_SECONDS)
        evicted.update(found.rules)
        return None

    async def gone(key: Key, view: View, client: Client, context: Context) -> None:
        leaving.discard(key)

    return Controller(
        name="device-taint-eviction",
        component="device-taint-eviction-controller",
        reconciles=Pod,
        concerns=has_claims,
        watches=(
            Watch(ResourceClaim, consumers_of),
            Watch(ResourceSlice, consumers_of_pool),
            Watch(DeviceTaintRule, all_consumers),
        ),
        by=reconcile,
        gone=gone,
    )


def departure(pod: Pod, rules: Sequence[DeviceTaintRule], view: View, now: float) -> Departure | None:
    if not pod.spec.node_name or pod.metadata.deletion_timestamp is not None or is_finished(pod):
        return None
    waits: list[float] = []
    causes: set[str] = set()
    for claim in claims_of(pod, view):
        for result in devices_of(claim) if is_reserved_for(claim, pod) else ():
            for taint, cause in taints_of(result, rules, view):
                wait = seconds_left(result, taint, now)
                if wait is not None:
                    waits.append(wait)
                    causes.add(cause)
    return Departure(min(waits), frozenset(causes - {""})) if waits else None


def is_reserved_for(claim: ResourceClaim, pod: Pod) -> bool:
    return any(one.uid == pod.metadata.uid for one in claim.status.reserved_for or ())


def devices_of(claim: ResourceClaim) -> Iterable[DeviceRequestAllocationResult]:
    allocation = claim.status.allocation
    return (allocation.devices.results if allocation is not None and allocation.devices else None) or ()


def taints_of(
    result: DeviceRequestAllocationResult, rules: Iterable[DeviceTaintRule], view: View
) -> Iterator[tuple[DeviceTaint, str]]:
    """The device's taints that drive pods away, each with the uid of the rule that it is from; empty: its driver's."""
    view.add_index(ResourceSlice, OF_POOL, lambda part: (key_of(*pool_of(part)),))
    for device in devices_in(view.by_index(ResourceSlice, OF_POOL, key_of(result.driver, result.pool))):
        if device.name == result.device:
            yield from ((taint, "") for taint in device.taints or () if drives_away(taint))
    for rule in rules:
        if drives_away(rule.spec.taint) and is_selected(result, rule):
            yield rule.spec.taint, rule.metadata.uid or ""


def is_selected(result: DeviceRequestAllocationResult, rule: DeviceTaintRule) -> bool:
    return selects(rule.spec.device_selector, result.driver, result.pool, result.device)


def pool_of(part: ResourceSlice) -> tuple[str, str]:
    return part.spec.driver, part.spec.pool.name


def key_of(driver: str, pool: str) -> str:
    """Drivers' names have no slashes."""
    return f"{driver}/{pool}"


def devices_in(parts: Iterable[ResourceSlice]) -> Iterable[Device]:
    """The devices of one pool, as it is told last: a driver that tells it anew raises its generation."""
    parts = list(parts)
    newest = max((part.spec.pool.generation for part in parts), default=0)
    return chain.from_iterable(part.spec.devices or () for part in parts if part.spec.pool.generation == newest)


def drives_away(taint: DeviceTaint) -> bool:
    return taint.effect == "NoExecute"


def seconds_left(result: DeviceRequestAllocationResult, taint: DeviceTaint, now: float) -> float | None:
    """Until whoever uses the device has to leave; None when it may stay."""
    fitting = tolerating(result.tolerations, taint)
    if not fitting:
        return 0.0
    limits = [one.toleration_seconds for one in fitting if one.toleration_seconds is not None]
    if not limits:
        return None
    since = from_rfc3339(taint.time_added) if taint.time_added else now
    return max(since + max(min(limits), 0) - now, 0.0)


def consumers_of(claim: ResourceClaim, view: View) -> Iterable[Key]:
    return (Key(claim.metadata.namespace or "", one.name) for one in claim.status.reserved_for or ())


def consumers_of_pool(part: ResourceSlice, view: View) -> Iterable[Key]:
    for claim in view.list(ResourceClaim):
        if any((result.driver, result.pool) == pool_of(part) for result in devices_of(claim)):
            yield from consumers_of(claim, view)


def all_consumers(changed: DeviceTaintRule, view: View) -> Iterable[Key]:
    return (key for claim in view.list(ResourceClaim) for key in consumers_of(claim, view))
