"""Mark a pod as the victim of a disruption before it is deleted, so that a Job need not count that as its own failure."""

from typing import Any

from kybern.api.core_v1 import Pod
from kybern.client import Client


async def disrupt(pod: Pod, client: Client, reason: str, message: str, now: str, *, failed: bool = False) -> None:
    """`failed`: nobody else is left to say that it ended."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }
    status: dict[str, Any] = {"conditions": [condition], **({"phase": "Failed"} if failed else {})}
    patch = {"metadata": {"uid": pod.metadata.uid}, "status": status}
    name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
    await client.patch(Pod, name, namespace, patch, how="strategic", subresource="status")
