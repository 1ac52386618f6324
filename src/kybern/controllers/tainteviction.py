"""taint eviction: pods leave a node with a NoExecute taint, at once or after the time for which they tolerate it.

The time counts from when the taint was added, where it says so, else from when it was seen here first.
"""

from collections.abc import Iterable

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import Conflict, NotFound
from kybern.client import Client, View
from kybern.controllers.taints import evicting, seconds_tolerated
from kybern.reconcile import After, Context, Controller, Key
from kybern.reconcile.controller import Watch
from kybern.reconcile.disruption import disrupt
from kybern.reconcile.pods import is_finished, pods_on

REASON = "DeletionByTaintManager"
MESSAGE = "Taint manager: deleting due to NoExecute taint"


def taint_eviction() -> Controller[Pod]:
    seen: dict[Key, float] = {}

    async def reconcile(pod: Pod, view: View, client: Client, context: Context) -> After | None:
        key = Key.of(pod)
        node = view.get(Node, pod.spec.node_name or "")
        wait = seconds_left(pod, node, seen.get(key, context.now), context.now)
        if wait:
            seen.setdefault(key, context.now)
            return After(wait)
        was_to_leave = seen.pop(key, None) is not None
        if wait is not None:
            return await evict(pod, client, context)
        if was_to_leave and pod.metadata.deletion_timestamp is None:
            tell(pod, "Cancelling deletion of", context)
        return None

    async def gone(key: Key, view: View, client: Client, context: Context) -> None:
        seen.pop(key, None)

    def threatened(pod: Pod, view: View) -> Iterable[Key]:
        """One that has to leave its node, or had to."""
        node = view.get(Node, pod.spec.node_name or "")
        key = Key.of(pod)
        return (key,) if key in seen or (node is not None and evicting(node.spec.taints)) else ()

    return Controller(
        name="taint-eviction",
        component="taint-eviction-controller",
        reconciles=Pod,
        concerns=lambda pod: False,  # but for what the two below say: few nodes have such taints, and pods are many
        watches=(Watch(Pod, threatened), Watch(Node, pods_of_node)),
        by=reconcile,
        gone=gone,
        workers=8,
    )


async def evict(pod: Pod, client: Client, context: Context) -> After | None:
    meta = pod.metadata
    tell(pod, "Marking for deletion", context)
    try:
        await disrupt(pod, client, REASON, MESSAGE, rfc3339(context.now))
        await client.delete(Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "")
    except NotFound:
        pass
    except Conflict:
        return After(0.1)
    return None


def tell(pod: Pod, what: str, context: Context) -> None:
    meta = pod.metadata
    context.events.event(pod, "Normal", "TaintManagerEviction", f"{what} Pod {meta.namespace}/{meta.name}")


def seconds_left(pod: Pod, node: Node | None, seen_at: float, now: float) -> float | None:
    """Until the pod has to leave; None when it may stay."""
    taints = evicting(node.spec.taints) if node is not None else []
    if not taints or pod.metadata.deletion_timestamp is not None or is_finished(pod):
        return None
    tolerated = seconds_tolerated(pod.spec.tolerations or (), taints)
    if tolerated is None or tolerated == 0:
        return tolerated
    since = min((from_rfc3339(taint.time_added) for taint in taints if taint.time_added), default=seen_at)
    return max(since + tolerated - now, 0.0)


def pods_of_node(node: Node, view: View) -> Iterable[Key]:
    """Asked of the node as it was, too: whoever was to leave may stay then."""
    if evicting(node.spec.taints):
        for pod in pods_on(node.metadata.name or "", view):
            yield Key.of(pod)
