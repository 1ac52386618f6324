"""The end of a pod. What it used is given back as soon as it is over; what is left of it in the runtime and on disk goes when
it is deleted, and then its object."""

from kybern.api.core_v1 import Pod
from kybern.api.errors import Conflict, NotFound
from kybern.kubelet.files import remove_tree
from kybern.kubelet.mounting import Mounting
from kybern.kubelet.parts import Parts
from kybern.kubelet.resources import pod_cgroup
from kybern.kubelet.sandbox_config import log_directory


async def give_back(parts: Parts, pod: Pod, mounting: Mounting) -> None:
    uid = pod.metadata.uid or ""
    parts.room_made()
    if parts.node.on_disk:
        await parts.claims.unprepare(uid)  # before the file that says whom to tell goes
    await mounting.tear_down()
    sandbox = parts.pleg.of(uid).sandbox  # which knows the class of a pod that the API has forgotten
    await parts.cgroups.remove(sandbox.config.cgroup_parent if sandbox else pod_cgroup(pod, parts.config.cgroup_root))
    parts.images.forget_pod(uid)
    if parts.alignment.release(uid):
        parts.room_made()


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
