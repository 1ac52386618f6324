"""DeviceTaintRule: its status tells how many pods it drives away, or would.

- `EvictionInProgress` is brought up to date every ten seconds while something changes.
- A rule without an effect is a question: the answer is given once.
- How many pods have gone is known since this process began.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Pod
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import Condition
from kybern.api.resource_v1 import DeviceTaintRule, ResourceClaim, ResourceSlice
from kybern.client import Client, View
from kybern.controllers.devicetaints import (
    departure,
    device_taint_eviction,
    devices_in,
    devices_of,
    is_selected,
    pool_of,
)
from kybern.controllers.resourceclaims import has_claims
from kybern.reconcile import After, Context, Controller, Key
from kybern.reconcile.controller import Watch
from kybern.reconcile.device_taints import selects

TYPE = "EvictionInProgress"
EVERY_SECONDS = 10.0
MANAGER = "device-taint-eviction"
ONCE = (
    "if the effect was NoExecute. This information will not be updated again. "
    "Recreate the DeviceTaintRule to trigger an update."
)


def device_taints() -> tuple[Controller[Pod], Controller[DeviceTaintRule]]:
    """The loop that evicts, and the one that tells of it."""
    evicted: Counter[str] = Counter()

    async def reconcile(rule: DeviceTaintRule, view: View, client: Client, context: Context) -> After | None:
        before = next((found for found in rule.status.conditions or () if found.type == TYPE), None)
        if before is not None and before.observed_generation == rule.metadata.generation:
            if rule.spec.taint.effect == "None":
                return None
            left = from_rfc3339(before.last_transition_time or "") + EVERY_SECONDS - context.now
            if left > 0:
                return After(left)
        status, reason, message = told(rule, view, evicted[rule.metadata.uid or ""], context.now)
        same = before is not None and (before.status, before.reason, before.message) == (status, reason, message)
        if before is None or not same or before.observed_generation != rule.metadata.generation:
            await tell(rule, status, reason, message, client, context)
            return After(EVERY_SECONDS)  # that a pod has gone may be seen before the answer that makes it count
        return None

    async def forget(key: Key, view: View, client: Client, context: Context) -> None:
        keep_only(evicted, view.list(DeviceTaintRule))

    rules = Controller(
        name="device-taint-rules",
        component="device-taint-eviction-controller",
        reconciles=DeviceTaintRule,
        watches=(
            Watch(Pod, lambda pod, view: every_rule(pod, view) if has_claims(pod) else ()),
            Watch(ResourceClaim, every_rule),
            Watch(ResourceSlice, every_rule),
        ),
        by=reconcile,
        gone=forget,
    )
    return device_taint_eviction(evicted), rules


def keep_only(evicted: Counter[str], rules: Iterable[DeviceTaintRule]) -> None:
    for uid in evicted.keys() - {rule.metadata.uid for rule in rules}:
        del evicted[uid]


def every_rule(changed: Any, view: View) -> Iterable[Key]:
    return map(Key.of, view.list(DeviceTaintRule))


async def tell(rule: DeviceTaintRule, status: str, reason: str, message: str, client: Client, context: Context) -> None:
    condition = Condition(
        type=TYPE,
        status=status,
        reason=reason,
        message=message,
        observed_generation=rule.metadata.generation,
        last_transition_time=rfc3339(context.now),
    )
    patch = {
        "apiVersion": rule.api_version,
        "kind": rule.kind,
        "metadata": {"name": rule.metadata.name, "uid": rule.metadata.uid},
        "status": {"conditions": [to_builtins(condition)]},
    }
    try:
        await client.patch(
            DeviceTaintRule, rule.metadata.name or "", "", patch,
            how="apply", subresource="status", field_manager=MANAGER, force=True,
        )  # fmt: skip
    except NotFound:
        pass


def told(rule: DeviceTaintRule, view: View, evicted: int, now: float) -> tuple[str, str, str]:
    """Status, reason and message, in upstream's words."""
    status, reason, message = standing(rule, view, evicted, now)
    gone = f"{number(evicted, 'pod')} evicted since starting the controller." if evicted else ""
    return status, reason, " ".join(filter(None, (message, gone)))


def standing(rule: DeviceTaintRule, view: View, evicted: int, now: float) -> tuple[str, str, str]:
    match rule.spec.taint.effect:
        case "NoExecute":
            pods = leaving(rule, view.list(DeviceTaintRule), view, now)
            if not pods:
                return "False", "Completed" if evicted else "NotStarted", ""
            needs = "needs" if len(pods) == 1 else "need"
            where = f"{spaces(pods)}."
            return "True", "PodsPendingEviction", f"{number(len(pods), 'pod')} {needs} to be evicted in {where}"
        case "None":
            spec = replace(rule.spec, taint=replace(rule.spec.taint, effect="NoExecute"))
            pods = leaving(rule, [replace(rule, spec=spec)], view, now)
            published, allocated = selected(rule, view)
            would = f"{number(len(pods), 'pod')} would be evicted in {spaces(pods)} {ONCE}"
            found = (
                f"{number(published, 'published device')} selected. {number(allocated, 'allocated device')} selected."
            )
            return "False", "NoEffect", f"{found} {would}"
        case _:
            return "False", "OtherEffect", "Eviction only happens for the NoExecute effect."


def leaving(rule: DeviceTaintRule, rules: Sequence[DeviceTaintRule], view: View, now: float) -> list[Pod]:
    """Those that the rule, as one of these, drives away now or later."""
    found = ((pod, departure(pod, rules, view, now)) for pod in view.list(Pod) if has_claims(pod))
    return [pod for pod, going in found if going is not None and rule.metadata.uid in going.rules]


def selected(rule: DeviceTaintRule, view: View) -> tuple[int, int]:
    """How many devices that are published, and that are allocated."""
    published = 0
    for (driver, pool), parts in groupby(sorted(view.list(ResourceSlice), key=pool_of), key=pool_of):
        wanted = rule.spec.device_selector
        published += sum(selects(wanted, driver, pool, device.name) for device in devices_in(parts))
    results = (result for claim in view.list(ResourceClaim) for result in devices_of(claim))
    return published, sum(is_selected(result, rule) for result in results)


def number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def spaces(pods: Iterable[Pod]) -> str:
    count = len({pod.metadata.namespace for pod in pods})
    return "1 namespace" if count == 1 else f"{count} different namespaces"
