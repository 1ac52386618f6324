"""A scheduler small enough for simulations that are not about scheduling: the fitting node with the fewest pods."""

from kybern.api.core_v1 import Binding, Node, ObjectReference, Pod
from kybern.api.errors import Conflict, NotFound
from kybern.api.meta_v1 import ObjectMeta, Status
from kybern.api.node_selectors import fits
from kybern.client import Client, View
from kybern.controllers.taints import tolerating
from kybern.reconcile import After, Context, Controller
from kybern.reconcile.nodes import node_is_ready
from kybern.reconcile.pods import pods_on

RETRY_SECONDS = 5.0


async def reconcile(pod: Pod, view: View, client: Client, context: Context) -> After | None:
    meta = pod.metadata
    if pod.spec.node_name or meta.deletion_timestamp is not None:
        return None
    node = choose(pod, view)
    if node is None:
        return After(RETRY_SECONDS)
    target = ObjectReference(kind="Node", name=node.metadata.name)
    binding = Binding(metadata=ObjectMeta(name=meta.name, namespace=meta.namespace, uid=meta.uid), target=target)
    try:
        await client.subresource(Pod, meta.name or "", meta.namespace or "", "binding", binding, Status)
    except (NotFound, Conflict):
        return After(RETRY_SECONDS)
    await view.wait_until(lambda: is_seen(pod, view))
    return None


def is_unbound(pod: Pod) -> bool:
    return not pod.spec.node_name


def is_seen(pod: Pod, view: View) -> bool:
    found = view.get(Pod, pod.metadata.name or "", pod.metadata.namespace or "")
    return found is None or bool(found.spec.node_name) or found.metadata.uid != pod.metadata.uid


def choose(pod: Pod, view: View) -> Node | None:
    fitting = [node for node in view.list(Node) if node_is_ready(node) and accepts(node, pod)]
    return min(fitting, key=lambda node: load(node, view), default=None)


def accepts(node: Node, pod: Pod) -> bool:
    keeping_out = [taint for taint in node.spec.taints or () if taint.effect != "PreferNoSchedule"]
    return fits(pod.spec, node) and all(tolerating(pod.spec.tolerations or (), taint) for taint in keeping_out)


def load(node: Node, view: View) -> tuple[int, str]:
    return (len(pods_on(node.metadata.name or "", view)), node.metadata.name or "")


BINDER = Controller(name="binder", reconciles=Pod, concerns=is_unbound, reads=(Node,), by=reconcile, workers=1)
