"""node lifecycle: a node that gives no sign of life is Unknown, its taints say so, and its pods are not ready.

- A sign of life is a change of the node's lease or of its Ready heartbeat, as this process sees it: clocks of nodes are
  not trusted.
- Silence is believed only when the server, asked for the node's lease, knows of nothing newer: what is late may be the View.
- Pods leave failed nodes one node at a time, and not at all where too much has failed at once (`zones`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import Node, NodeCondition, ObjectReference, Pod
from kybern.api.errors import Conflict, NotFound
from kybern.client import Client, View
from kybern.client.leases import NODE_LEASES
from kybern.controllers.taints import EVICTING, taints_for
from kybern.controllers.zones import UNCOUNTED, Limiter, all_disrupted, zone_of
from kybern.reconcile import After, Context, Controller, Key
from kybern.reconcile.controller import Watch
from kybern.reconcile.nodes import node_is_ready
from kybern.reconcile.pods import is_ready, pods_on

GRACE_SECONDS = 50.0
LOOK_SECONDS = 4.0  # upstream's node monitor looks every five: so often one process renews its own leases too
LATE_SECONDS = 1.0
STARTUP_SECONDS = 60.0  # for a node that has never said how it is
WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
FORMER_LABELS = {"kubernetes.io/os": "beta.kubernetes.io/os", "kubernetes.io/arch": "beta.kubernetes.io/arch"}


@dataclass(frozen=True, slots=True)
class SignOfLife:
    uid: str
    heartbeat: str
    renewed: str
    seen_at: float


def node_lifecycle(grace_seconds: float = GRACE_SECONDS) -> Controller[Node]:
    seen: dict[str, SignOfLife] = {}
    limiter = Limiter()

    async def reconcile(node: Node, view: View, client: Client, context: Context) -> After | None:
        name = node.metadata.name or ""
        sign = sign_of(node, view.get(Lease, name, NODE_LEASES), seen.get(name), context.monotonic)
        if name not in seen:
            said = f"Node {name} event: Registered Node {name} in Controller"
            context.events.event(node, "Normal", "RegisteredNode", said)
        seen[name] = sign
        silent = context.monotonic - sign.seen_at
        grace = grace_seconds if condition(node, "Ready") is not None else max(grace_seconds, STARTUP_SECONDS)

        if silent >= grace and not is_unknown(node):
            if await renewed_meanwhile(name, sign, client):
                return After(LATE_SECONDS)
            node = await lose(node, client, context)
        turn = await describe(node, limiter, view, client, context)
        if is_unknown(node):
            await mark_pods(node, view, client, context)
        waits = (turn, grace - silent if silent < grace else grace)
        return After(min(wait for wait in waits if wait is not None))

    async def gone(key: Key, view: View, client: Client, context: Context) -> None:
        sign = seen.pop(key.name, None)
        if sign is not None:
            about = ObjectReference(api_version="v1", kind="Node", name=key.name, uid=sign.uid)
            said = f"Node {key.name} event: Removing Node {key.name} from Controller"
            context.events.event(about, "Normal", "RemovingNode", said)

    return Controller(
        name="node",
        reconciles=Node,
        reads=(Pod,),
        watches=(Watch(Lease, node_of_lease, LOOK_SECONDS / GRACE_SECONDS * grace_seconds),),
        by=reconcile,
        gone=gone,
    )


def node_of_lease(lease: Lease, view: View) -> Iterable[Key]:
    return (Key("", lease.metadata.name or ""),) if lease.metadata.namespace == NODE_LEASES else ()


def sign_of(node: Node, lease: Lease | None, before: SignOfLife | None, now: float) -> SignOfLife:
    """The last sign of life: the one before, unless something moved."""
    ready = condition(node, "Ready")
    heartbeat = (ready.last_heartbeat_time if ready is not None and ready.status != "Unknown" else "") or ""
    if before is not None and not heartbeat:
        heartbeat = before.heartbeat  # that we wrote Unknown is no sign of its life
    renewed = (lease.spec.renew_time if lease is not None else "") or ""
    same = before is not None and (before.uid, before.heartbeat, before.renewed) == (
        node.metadata.uid,
        heartbeat,
        renewed,
    )
    return before if before is not None and same else SignOfLife(node.metadata.uid or "", heartbeat, renewed, now)


def condition(node: Node, type: str) -> NodeCondition | None:
    return next((found for found in node.status.conditions or () if found.type == type), None)


async def renewed_meanwhile(name: str, sign: SignOfLife, client: Client) -> bool:
    try:
        lease = await client.get(Lease, name, NODE_LEASES)
    except NotFound:
        return False
    return (lease.spec.renew_time or "") != sign.renewed


async def lose(node: Node, client: Client, context: Context) -> Node:
    lost = await client.update_status(unknown(node, rfc3339(context.now)))
    if node_is_ready(node):
        said = f"Node {node.metadata.name} status is now: NodeNotReady"
        context.events.event(node, "Normal", "NodeNotReady", said)
    return lost


def is_unknown(node: Node) -> bool:
    found = [condition(node, type) for type in WATCHED]
    return all(one is not None and one.status == "Unknown" for one in found)


def unknown(node: Node, now: str) -> Node:
    """The node, of which nothing is known any more."""
    known = {found.type: found for found in node.status.conditions or ()}
    for type in WATCHED:
        before = known.get(type)
        known[type] = NodeCondition(
            type=type,
            status="Unknown",
            reason="NodeStatusUnknown" if before is not None else "NodeStatusNeverUpdated",
            message="Kubelet stopped posting node status."
            if before is not None
            else "Kubelet never posted node status.",
            last_heartbeat_time=before.last_heartbeat_time if before is not None else node.metadata.creation_timestamp,
            last_transition_time=before.last_transition_time
            if before is not None and before.status == "Unknown"
            else now,
        )
    return replace(node, status=replace(node.status, conditions=tuple(known.values())))


async def describe(node: Node, limiter: Limiter, view: View, client: Client, context: Context) -> float | None:
    """Set its taints, and the labels by their former names. Seconds until the node may lose its pods, where it is not its
    turn yet."""
    evict, turn = may_evict(node, limiter, lambda: view.list(Node), context.monotonic)
    taints = taints_for(node, rfc3339(context.now), evict=evict)
    labels = node.metadata.labels or {}
    wanted = {**labels, **{old: labels[name] for name, old in FORMER_LABELS.items() if name in labels}}
    if taints != (node.spec.taints or ()) or wanted != labels:
        meta = replace(node.metadata, labels=wanted or None)
        await client.update(replace(node, metadata=meta, spec=replace(node.spec, taints=taints or None)))
    return turn


def may_evict(
    node: Node, limiter: Limiter, nodes: Callable[[], Iterable[Node]], now: float
) -> tuple[bool, float | None]:
    """What drives pods away stays once it is there, unless every zone has failed."""
    if node_is_ready(node):
        return False, None
    found = limiter.count(nodes, now)
    if all_disrupted(found):
        return False, None
    if any(taint.key in EVICTING and taint.effect == "NoExecute" for taint in node.spec.taints or ()):
        return True, None
    name = zone_of(node)
    wait = limiter.wait(name, found.get(name, UNCOUNTED), now)
    return wait == 0, wait or None


async def mark_pods(node: Node, view: View, client: Client, context: Context) -> None:
    """Nobody else will: their kubelet is the one that is silent. One that speaks says itself how its pods are."""
    for pod in pods_on(node.metadata.name or "", view):
        if not is_ready(pod):
            continue
        context.events.event(pod, "Warning", "NodeNotReady", "Node is not ready")
        try:
            await client.update_status(not_ready(pod, rfc3339(context.now)))
        except (NotFound, Conflict):
            pass


def not_ready(pod: Pod, now: str) -> Pod:
    conditions = tuple(
        replace(found, status="False", last_transition_time=now) if found.type == "Ready" else found
        for found in pod.status.conditions or ()
    )
    return replace(pod, status=replace(pod.status, conditions=conditions))
