"""What the scheduler does to the world besides binding: tell a pod why it waits, and make others leave for it."""

import asyncio
import logging
from functools import partial
from typing import Any, Protocol

from kybern.aio.clock import Clock, rfc3339
from kybern.api.core_v1 import Pod
from kybern.api.errors import ApiError, NotFound
from kybern.client import Client, View
from kybern.client.client import revision_of
from kybern.reconcile.disruption import disrupt
from kybern.reconcile.pausing import PAUSED
from kybern.scheduler.claims import Lookup
from kybern.scheduler.status import condition_patch, is_told, scheduler_of
from kybern.scheduler.victims import Candidate

EVICTIONS_MAX = 16  # of one node at a time
SEEN_SECONDS_MAX = 10.0

log = logging.getLogger(__name__)


class Events(Protocol):
    def event(self, obj: Any, type: str, reason: str, message: str) -> None: ...


async def tell_expected(pod: Pod, node: str, client: Client, view: Lookup) -> None:
    """Where a pod is about to go, for those who look after nodes, when its binding takes a while. If that cannot be told, it
    goes there all the same. The View has seen it after that: what is written next takes it back where it has to."""
    name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
    patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"nominatedNodeName": node}}
    try:
        became = await client.patch(Pod, name, namespace, patch, subresource="status")
    except ApiError as error:
        log.info("pod %s/%s: its expected node could not be written: %s", namespace, name, error.message)
        return
    await view.wait_for(partial(shows, view, became), SEEN_SECONDS_MAX)


def shows(view: Lookup, written: Pod) -> bool:
    """Whether what was written, or what came of it, is there to be seen."""
    found = view.get(Pod, written.metadata.name or "", written.metadata.namespace or "")
    return (
        found is None
        or found.metadata.uid != written.metadata.uid
        or revision_of(found.metadata) >= revision_of(written.metadata)
    )


async def tell_refused(
    pod: Pod, message: str, node: str, client: Client, view: View, clock: Clock, events: Events, reason: str
) -> None:
    """`node`: where it is promised room, if anywhere."""
    events.event(pod, "Warning", "FailedScheduling", message)
    found = view.get(Pod, pod.metadata.name or "", pod.metadata.namespace or "")
    if found is None or found.metadata.uid != pod.metadata.uid or is_told(found, message, node, reason):
        return
    patch = condition_patch(found, message, node, rfc3339(clock.wall()), reason)
    name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
    try:
        await client.patch(Pod, name, namespace, patch, how="strategic", subresource="status")
    except ApiError as error:
        log.info("pod %s/%s: its condition could not be written: %s", namespace, name, error.message)


async def make_room(pod: Pod, candidate: Candidate, client: Client, clock: Clock, events: Events) -> bool:
    """Delete the victims, each with its own grace. False where one of them could not be."""
    limit = asyncio.Semaphore(EVICTIONS_MAX)

    async def one(victim: Pod) -> bool:
        async with limit:
            if (victim.metadata.uid or "") in candidate.paused:
                return await set_paused(victim, client, events, on=True, why=f"Paused by pod {pod.metadata.uid}")
            return await evict(victim, pod, candidate.node, client, clock, events)

    return all(await asyncio.gather(*(one(victim) for victim in candidate.victims)))


async def evict(victim: Pod, pod: Pod, node: str, client: Client, clock: Clock, events: Events) -> bool:
    if victim.metadata.deletion_timestamp is not None:
        return True
    why = f"{scheduler_of(pod)}: preempting to accommodate a higher priority pod"
    name, namespace = victim.metadata.name or "", victim.metadata.namespace or ""
    try:
        await disrupt(victim, client, "PreemptionByScheduler", why, rfc3339(clock.wall()))
        await client.delete(Pod, name, namespace, uid=victim.metadata.uid or "")
    except NotFound:
        return True
    except ApiError as error:
        log.info("pod %s/%s: it could not be preempted: %s", namespace, name, error.message)
        return False
    events.event(victim, "Normal", "Preempted", f"Preempted by pod {pod.metadata.uid} on node {node}")
    return True


async def set_paused(pod: Pod, client: Client, events: Events, *, on: bool, why: str) -> bool:
    """Its kubelet freezes or thaws it."""
    patch = {"metadata": {"uid": pod.metadata.uid, "annotations": {PAUSED: "true" if on else None}}}
    name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
    try:
        await client.patch(Pod, name, namespace, patch)
    except NotFound:
        return True
    except ApiError as error:
        log.info("pod %s/%s: it could not be paused or resumed: %s", namespace, name, error.message)
        return False
    events.event(pod, "Normal", "Preempted" if on else "Resumed", why)
    return True
