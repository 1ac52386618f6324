"""History: the templates that a DaemonSet or StatefulSet had, each kept as a ControllerRevision with a number.

The revision that equals the current template has the highest number; going back to an older template gives its revision
the next number. `kubectl rollout history` and `undo` read the data, which is a patch that replaces the template.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from kybern.api.apps_v1 import ControllerRevision
from kybern.api.codec import encode
from kybern.api.core_v1 import PodTemplateSpec
from kybern.api.errors import AlreadyExists, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client
from kybern.reconcile.ownership import controller_ref, controls
from kybern.reconcile.pods import short_hash

HASH = "controller-revision-hash"
LIMIT = 10
COLLISIONS_MAX = 100


def data_of(template: PodTemplateSpec) -> Any:
    """As it will come back from the server: lists, no tuples."""
    return {"spec": {"template": {"$patch": "replace", **msgspec.json.decode(encode(template))}}}


def number(revision: ControllerRevision) -> int:
    return revision.revision or 0


def hash_of(obj: Any) -> str:
    """The revision that a pod is of, or that a ControllerRevision stands for."""
    return str((obj.metadata.labels or {}).get(HASH, ""))


def in_order(revisions: Iterable[ControllerRevision]) -> list[ControllerRevision]:
    return sorted(revisions, key=lambda found: (number(found), found.metadata.creation_timestamp or "", name_of(found)))


def name_of(revision: ControllerRevision) -> str:
    return revision.metadata.name or ""


def new_revision(owner: Any, template: PodTemplateSpec, revision: int, collisions: int) -> ControllerRevision:
    hashed = short_hash(template, collisions)
    return ControllerRevision(
        metadata=ObjectMeta(
            name=f"{owner.metadata.name}-{hashed}",
            namespace=owner.metadata.namespace,
            labels={**(template.metadata.labels or {}), HASH: hashed},
            annotations=owner.metadata.annotations,
            owner_references=(controller_ref(owner),),
        ),
        data=data_of(template),
        revision=revision,
    )


async def current_revision(
    owner: Any, template: PodTemplateSpec, revisions: Sequence[ControllerRevision], client: Client
) -> ControllerRevision:
    """The revision of this template, which becomes the highest; made when there is none."""
    ordered = in_order(revisions)
    wanted = data_of(template)
    equal = [found for found in ordered if found.data == wanted]
    highest = number(ordered[-1]) if ordered else 0
    if not equal:
        return await _create(owner, template, highest + 1, client)
    if number(equal[-1]) == highest:
        return equal[-1]
    return await client.update(replace(equal[-1], revision=highest + 1))


async def _create(owner: Any, template: PodTemplateSpec, revision: int, client: Client) -> ControllerRevision:
    """Where another template's revision has the name already, the owner counts one collision more, which gives another."""
    first = owner.status.collision_count or 0
    for collisions in range(first, first + COLLISIONS_MAX):
        wanted = new_revision(owner, template, revision, collisions)
        try:
            return await client.create(wanted)
        except AlreadyExists:
            there = await client.get(ControllerRevision, name_of(wanted), owner.metadata.namespace or "")
            if controls(owner, there) and there.data == wanted.data:
                return there
        owner = await client.update_status(replace(owner, status=replace(owner.status, collision_count=collisions + 1)))
    raise AlreadyExists(f"no free name for a revision of {owner.metadata.name}")


def surplus(unused: Iterable[ControllerRevision], limit: int | None) -> list[ControllerRevision]:
    """The oldest beyond the limit, of the revisions that no pod is of and that are not current; none of a negative one."""
    if limit is not None and limit < 0:
        return []
    ordered = in_order(unused)
    return ordered[: max(len(ordered) - (LIMIT if limit is None else limit), 0)]


async def forget(revisions: Iterable[ControllerRevision], client: Client) -> None:
    for revision in revisions:
        meta = revision.metadata
        try:
            await client.delete(ControllerRevision, meta.name or "", meta.namespace or "", uid=meta.uid or "")
        except NotFound:
            pass
