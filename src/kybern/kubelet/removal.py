"""The end of a pod that is over and deleted: what is left of it in the runtime and on disk, and then its object."""

from kybern.api.core_v1 import Pod
from kybern.api.errors import Conflict, NotFound
from kybern.kubelet.files import remove_tree
from kybern.kubelet.parts import Parts
from kybern.kubelet.sandbox_config import log_directory


async def remove_from_runtime(parts: Parts, pod: Pod) -> None:
    """What tells of the pod goes last: who is killed on the way is followed by somebody who finds the rest."""
    uid = pod.metadata.uid or ""
    observed = parts.pleg.of(uid)
    for container in observed.containers:
        await parts.runtime.remove_container(container.id)
    if parts.node.on_disk:
        remove_tree(log_directory(pod, parts.config.logs_directory))
    for sandbox in observed.sandboxes:
        await parts.runtime.remove_pod_sandbox(sandbox.id)
    parts.pleg.forget(uid)


async def remove_from_api(parts: Parts, pod: Pod) -> None:
    meta = pod.metadata
    try:
        await parts.client.delete(Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "", grace_seconds=0)
    except (NotFound, Conflict):
        pass  # it is gone already, or has a successor of the same name
