"""From a decision to a bound pod: PreBind, Bind, PostBind, in a task of its own.

A pod holds what was reserved for it from the decision on; whatever fails gives it back, and the pod is tried again.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from kybern.api.core_v1 import Binding, ObjectReference, Pod
from kybern.api.errors import ServiceUnavailable, Timeout
from kybern.api.meta_v1 import ObjectMeta, Status
from kybern.client import Client
from kybern.scheduler.effects import tell_expected
from kybern.scheduler.extension_points import BindPlugin, Deleted, Patched, Profile, Then
from kybern.scheduler.snapshot import Snapshot


class DefaultBinder(BindPlugin):
    name = "DefaultBinder"

    async def bind(self, pod: Pod, node: str, client: Client) -> bool:
        metadata = ObjectMeta(name=pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid)
        body = Binding(metadata=metadata, target=ObjectReference(api_version="v1", kind="Node", name=node))
        name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
        await client.subresource(Pod, name, namespace, "binding", body, Status)
        return True


def reserve(pod: Pod, node: str, profile: Profile, snapshot: Snapshot) -> tuple[str, str]:
    """Everything or nothing. The plugin that has it not, and why; empty where all have."""
    for place, plugin in enumerate(profile.reserve):
        why = plugin.reserve(pod, node, snapshot)
        if why:
            for taken in reversed(profile.reserve[: place + 1]):
                taken.unreserve(pod, node, snapshot)
            return plugin.name, why
    return "", ""


def unreserve(pod: Pod, node: str, profile: Profile, snapshot: Snapshot) -> None:
    for plugin in reversed(profile.reserve):
        plugin.unreserve(pod, node, snapshot)


async def written(write: Any, client: Client) -> None:
    match write:
        case Patched(of, name, namespace, patch, subresource):
            await client.patch(of, name, namespace, patch, subresource=subresource)
        case Deleted(of, name, namespace, uid):
            await client.delete(of, name, namespace, uid=uid)
        case Then(obj, writes):
            became = await (client.update(obj) if obj.metadata.name else client.create(obj))
            for following in writes(became):
                await written(following, client)
        case (str(subresource), obj):
            await client.update(obj, subresource=subresource)
        case obj:
            await client.update(obj)


async def carried_out(
    pod: Pod, node: str, profile: Profile, binders: Sequence[BindPlugin], snapshot: Snapshot, client: Client
) -> None:
    """`binders` besides the profile's: extenders. An ApiError where it failed."""
    expected = False
    for plugin in profile.pre_bind:
        writes = plugin.writes(pod, node, snapshot)
        if writes and not expected:
            expected = True
            await tell_expected(pod, node, client, snapshot.view)
        for write in writes:
            await written(write, client)
        settled = partial(plugin.settled, pod, node, snapshot)
        if not settled() and not await snapshot.view.wait_for(settled, plugin.settles_seconds):
            raise Timeout(f"{plugin.name}: timed out waiting for the condition")
    for binder in (*binders, *(profile.bind or (DefaultBinder(),))):
        if await binder.bind(pod, node, client):
            break
    else:
        raise ServiceUnavailable("no bind plugin wanted to bind the pod")
    for follower in profile.post_bind:
        follower.post_bind(pod, node)
