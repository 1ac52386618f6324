"""stale disruption: whoever was marked to be disrupted, and is still there after a while, is not marked any more.

The mark is put on before the deletion that it announces, and that may never have come.
"""

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.core_v1 import Pod
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller
from kybern.reconcile.pods import condition, is_finished

FORGIVEN_SECONDS = 120.0


async def forgive(pod: Pod, view: View, client: Client, context: Context) -> After | None:
    told = condition(pod, "DisruptionTarget")
    if told is None or not is_target(pod):
        return None
    left = from_rfc3339(told.last_transition_time or rfc3339(0)) + FORGIVEN_SECONDS - context.now
    if left > 0:
        return After(left)
    spared = {"type": "DisruptionTarget", "status": "False", "reason": None, "message": None}
    spared["lastTransitionTime"] = rfc3339(context.now)
    patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [spared]}}
    name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
    await client.patch(Pod, name, namespace, patch, how="strategic", subresource="status")
    return None


def is_target(pod: Pod) -> bool:
    """What the kubelet says of a pod that it ends is never stale."""
    told = condition(pod, "DisruptionTarget")
    if told is None or told.status != "True" or told.reason == "TerminationByKubelet":
        return False
    return pod.metadata.deletion_timestamp is None and not is_finished(pod)


STALE_DISRUPTION = Controller(
    name="stale-disruption", component="controllermanager", reconciles=Pod, concerns=is_target, by=forgive
)
