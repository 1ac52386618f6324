"""pod GC: pods that nobody else will ever delete.

- finished pods, when there are too many of them, evicted ones first, then the oldest;
- pods of a node that does not exist any more: no kubelet is left to stop them;
- pods that were deleted before they had a node.
"""

from collections.abc import Sequence

from kybern.aio.clock import rfc3339
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import Conflict, NotFound
from kybern.client import Client, View
from kybern.reconcile import Context, Periodic
from kybern.reconcile.disruption import disrupt
from kybern.reconcile.nodes import node_is_ready
from kybern.reconcile.pods import is_finished

EVERY_SECONDS = 20.0
QUARANTINE_SECONDS = 40.0  # a node that has gone may be about to come back under its name
FINISHED_MAX = 12_500
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
MESSAGE = "PodGC: node no longer exists"


def pod_gc(finished_max: int = FINISHED_MAX) -> Periodic:
    missing_since: dict[str, float] = {}
    looked_at = (-1, -1)

    def idle(view: View) -> bool:
        return not missing_since and (view.revision(Pod), view.revision(Node)) == looked_at

    async def collect(view: View, client: Client, context: Context) -> None:
        nonlocal looked_at
        now = view.revision(Pod), view.revision(Node)
        pods = view.list(Pod)
        for pod in [*surplus(pods, finished_max), *out_of_service(pods, view), *never_placed(pods)]:
            await force_delete(pod, client)
        note_missing(pods, view, missing_since, context.monotonic)
        due = [node for node, since in missing_since.items() if context.monotonic - since >= QUARANTINE_SECONDS]
        for node in [node for node in due if await is_absent(node, client)]:
            for pod in [pod for pod in pods if pod.spec.node_name == node]:
                await force_delete(pod, client, lost_at=rfc3339(context.now))
        looked_at = now

    return Periodic(name="pod-garbage-collector", every_seconds=EVERY_SECONDS, reads=(Pod, Node), by=collect, idle=idle)


def surplus(pods: Sequence[Pod], finished_max: int) -> list[Pod]:
    finished = sorted(filter(is_finished, pods), key=worth)
    return finished[: max(len(finished) - finished_max, 0)]


def worth(pod: Pod) -> tuple[bool, str, str]:
    """An evicted pod tells nobody anything that its events do not."""
    evicted = pod.status.phase == "Failed" and pod.status.reason == "Evicted"
    return (not evicted, pod.metadata.creation_timestamp or "", pod.metadata.name or "")


def never_placed(pods: Sequence[Pod]) -> list[Pod]:
    return [pod for pod in pods if pod.metadata.deletion_timestamp is not None and not pod.spec.node_name]


def out_of_service(pods: Sequence[Pod], view: View) -> list[Pod]:
    """Terminating pods of a node that is down, and that its operator has given up."""
    given_up = {
        node.metadata.name
        for node in view.list(Node)
        if not node_is_ready(node) and any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints or ())
    }
    return [pod for pod in pods if pod.metadata.deletion_timestamp is not None and pod.spec.node_name in given_up]


def note_missing(pods: Sequence[Pod], view: View, missing_since: dict[str, float], now: float) -> None:
    """Since when each node that has pods does not exist."""
    existing = {node.metadata.name for node in view.list(Node)}
    missing = {pod.spec.node_name for pod in pods if pod.spec.node_name} - existing
    for node in missing_since.keys() - missing:
        del missing_since[node]
    for node in sorted(node for node in missing if node):
        missing_since.setdefault(node, now)


async def is_absent(node: str, client: Client) -> bool:
    """Asked of the server: a View may be late, and a forced deletion cannot be taken back."""
    try:
        await client.get(Node, node)
    except NotFound:
        return True
    return False


async def force_delete(pod: Pod, client: Client, lost_at: str = "") -> None:
    """`lost_at`: it is the victim of its node's end. Nobody else is left to say that it has ended."""
    meta = pod.metadata
    name, namespace = meta.name or "", meta.namespace or ""
    try:
        if not is_finished(pod):
            if lost_at:
                await disrupt(pod, client, "DeletionByPodGC", MESSAGE, lost_at, failed=True)
            else:
                failed = {"metadata": {"uid": meta.uid}, "status": {"phase": "Failed"}}
                await client.patch(Pod, name, namespace, failed, how="strategic", subresource="status")
        await client.delete(Pod, name, namespace, uid=meta.uid or "", grace_seconds=0)
    except (NotFound, Conflict):
        pass
