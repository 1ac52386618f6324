"""Discovery: which kinds a server has, custom ones included, for the loops that act on all of them.

Objects of any kind are then read as their metadata only (`Meta`), which every kind has in common. Servers since 1.26 tell
everything in two answers (aggregated discovery); others are asked group by group.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import msgspec

from kybern.api.codec import decode
from kybern.api.errors import ApiError, NotAcceptable
from kybern.api.kind import Kind
from kybern.api.meta_v1 import APIGroup, APIGroupList, APIResourceList
from kybern.client.calls import JSON
from kybern.client.client import Client, Meta

KNOWN_SECONDS_MAX = 30.0
AGGREGATED = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,{JSON}"


class _Of(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""


class _Resource(msgspec.Struct, frozen=True, rename="camel"):
    resource: str
    scope: str = ""
    verbs: tuple[str, ...] = ()
    response_kind: _Of = _Of()


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    version: str
    resources: tuple[_Resource, ...] = ()
    freshness: str = "Current"


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Group(msgspec.Struct, frozen=True):
    metadata: _Named = _Named()
    versions: tuple[_Version, ...] = ()


class _Groups(msgspec.Struct, frozen=True):
    kind: str = ""
    items: tuple[_Group, ...] = ()


class Reference(Protocol):
    """Whatever names a kind: an owner reference, a target to be scaled."""

    @property
    def kind(self) -> str: ...
    @property
    def api_version(self) -> str | None: ...


@dataclass(slots=True)
class Kinds:
    """What is served, asked for again when it is old."""

    known: list[Kind] = field(default_factory=list)
    asked_at: float = float("-inf")

    async def refresh(self, client: Client, now: float) -> None:
        if now - self.asked_at > KNOWN_SECONDS_MAX:
            self.known, _ = await discover(client)
            self.asked_at = now

    def of(self, ref: Reference) -> Kind | None:
        group = (ref.api_version or "").rpartition("/")[0]
        return next((kind for kind in self.known if (kind.group, kind.kind) == (group, ref.kind)), None)


async def discover(client: Client) -> tuple[list[Kind], list[str]]:
    """The preferred version of every kind, and the groups and versions that did not answer."""
    answers = await asyncio.gather(_aggregated(client, "/api"), _aggregated(client, "/apis"))
    told = _told(*answers)
    if told is None:
        return await _group_by_group(client)
    kinds, failed = told
    return list(kinds), list(failed)


async def _aggregated(client: Client, path: str) -> bytes:
    try:
        return await client.request("GET", path, accept=AGGREGATED)
    except NotAcceptable:
        return b"{}"


@lru_cache(maxsize=1)
def _told(*answers: bytes) -> tuple[tuple[Kind, ...], tuple[str, ...]] | None:
    """The answers are large, are asked for often, and change seldom. None from a server that does not aggregate."""
    decoded = [decode(_Groups, answer) for answer in answers]
    if any(answer.kind != "APIGroupDiscoveryList" for answer in decoded):
        return None
    kinds, failed = [], []
    for group in (group for answer in decoded for group in answer.items if group.versions):
        preferred = group.versions[0]
        if preferred.freshness == "Stale":
            failed.append(f"{group.metadata.name}/{preferred.version}")
        kinds += [_kind(group.metadata.name, preferred.version, found) for found in preferred.resources]
    return tuple(kinds), tuple(failed)


def _kind(group: str, version: str, found: _Resource) -> Kind:
    return Kind(
        type=Meta,
        list_type=None,
        group=group,
        version=version,
        kind=found.response_kind.kind,
        plural=found.resource,
        namespaced=found.scope == "Namespaced",
        verbs=found.verbs,
    )


async def _group_by_group(client: Client) -> tuple[list[Kind], list[str]]:
    groups = decode(APIGroupList, await client.request("GET", "/apis")).groups
    wanted = ["v1", *(_preferred(group) for group in groups)]
    answers = await asyncio.gather(*(_resources(client, version) for version in wanted))
    failed = [version for version, answer in zip(wanted, answers, strict=True) if answer is None]
    return [kind for answer in answers if answer is not None for kind in _kinds_of(answer)], failed


def _preferred(group: APIGroup) -> str:
    version = group.preferred_version or group.versions[0]
    return version.group_version


async def _resources(client: Client, group_version: str) -> APIResourceList | None:
    path = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    try:
        return decode(APIResourceList, await client.request("GET", path))
    except ApiError:
        return None


def _kinds_of(answer: APIResourceList) -> Iterator[Kind]:
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
