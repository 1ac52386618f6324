"""Discovery: which kinds a server has, custom ones included, for the loops that act on all of them.

Objects of any kind are then read as their metadata only (`Meta`), which every kind has in common.
"""

import asyncio
from collections.abc import Iterator

from kybern.api.codec import decode
from kybern.api.errors import ApiError
from kybern.api.kind import Kind
from kybern.api.meta_v1 import APIGroup, APIGroupList, APIResourceList
from kybern.client.client import Client, Meta


async def discover(client: Client) -> tuple[list[Kind], list[str]]:
    """The preferred version of every kind, and the groups and versions that did not answer."""
    groups = decode(APIGroupList, await client.request("GET", "/apis")).groups
    wanted = ["v1", *(preferred(group) for group in groups)]
    answers = await asyncio.gather(*(_resources(client, version) for version in wanted))
    failed = [version for version, answer in zip(wanted, answers, strict=True) if answer is None]
    return [kind for answer in answers if answer is not None for kind in kinds_of(answer)], failed


def preferred(group: APIGroup) -> str:
    version = group.preferred_version or group.versions[0]
    return version.group_version


async def _resources(client: Client, group_version: str) -> APIResourceList | None:
    path = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    try:
        return decode(APIResourceList, await client.request("GET", path))
    except ApiError:
        return None


def kinds_of(answer: APIResourceList) -> Iterator[Kind]:
    group, _, version = answer.group_version.rpartition("/")
    for resource in answer.resources:
        if "/" not in resource.name:  # not a subresource
            yield Kind(
                type=Meta,
                list_type=None,
                group=group,
                version=version,
                kind=resource.kind,
                plural=resource.name,
                namespaced=resource.namespaced,
                verbs=resource.verbs,
            )
