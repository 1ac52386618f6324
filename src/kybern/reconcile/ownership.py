"""Who controls what: adoption of what is selected and free, release of what is no longer selected.

An object has at most one controller. An owner that is being deleted neither adopts nor releases, and an object that is
being deleted is not adopted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kybern.api.codec import to_builtins
from kybern.api.errors import Invalid, NotFound
from kybern.api.meta_v1 import OwnerReference
from kybern.api.selectors import Selector
from kybern.client import Client, View
from kybern.client.cache import controller_uid

T = TypeVar("T")


def controller_ref(owner: Any) -> OwnerReference:
    return OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


def controller_of(obj: Any) -> OwnerReference | None:
    return next((ref for ref in obj.metadata.owner_references or () if ref.controller), None)


def controls(owner: Any, obj: Any) -> bool:
    return bool(controller_uid(obj) == owner.metadata.uid)


@dataclass(frozen=True, slots=True)
class Claims(Generic[T]):
    mine: list[T]
    adopt: list[T]
    release: list[T]


def matcher(selector: Selector) -> Callable[[Mapping[str, str] | None], bool]:
    """The selector, as fast as can be where it only asks for equal labels: it is asked about every pod in every pass."""
    terms = selector.requirements
    if selector.nothing or not terms or any(term.operator not in ("=", "==") for term in terms):
        return selector.matches
    wanted = [(term.key, term.values[0]) for term in terms]
    if len(wanted) == 1:
        ((key, value),) = wanted
        return lambda labels: labels is not None and labels.get(key) == value

    return lambda labels: labels is not None and all(labels.get(key) == value for key, value in wanted)


def claims(owner: Any, selector: Selector, candidates: Iterable[T]) -> Claims[T]:
    found: Claims[T] = Claims([], [], [])
    matching = matcher(selector)
    deleting = owner.metadata.deletion_timestamp is not None
    for obj in candidates:
        meta = obj.metadata  # type: ignore[attr-defined]
        matches = matching(meta.labels)
        controller = controller_uid(obj)
        if controller == owner.metadata.uid:
            (found.mine if matches or deleting else found.release).append(obj)
        elif not controller and matches and not deleting and meta.deletion_timestamp is None:
            found.adopt.append(obj)
    return found


async def claim(
    owner: Any,
    of: type[T],
    selector: Selector,
    view: View,
    client: Client,
    adoptable: Callable[[T], bool] = lambda _: True,
) -> list[T]:
    """The objects that `owner` controls, after adopting and releasing."""
    namespace = owner.metadata.namespace or ""
    free = [obj for obj in view.orphans(of, namespace) if adoptable(obj)]
    found = claims(owner, selector, [*view.owned_by(owner, of), *free])
    if found.adopt and not await _still_there(owner, client):
        return found.mine
    adopted = [await _set_owners(obj, client, [*_refs(obj), to_builtins(controller_ref(owner))]) for obj in found.adopt]
    for obj in found.release:
        kept = [ref for ref in _refs(obj) if ref["uid"] != owner.metadata.uid]
        await _set_owners(obj, client, kept)
    return [*found.mine, *(obj for obj in adopted if obj is not None)]


def _refs(obj: Any) -> list[Any]:
    return [to_builtins(ref) for ref in obj.metadata.owner_references or ()]


async def _still_there(owner: Any, client: Client) -> bool:
    """Asked of the server, since what is adopted by an owner that is gone would be deleted with it."""
    try:
        fresh = await client.get(type(owner), owner.metadata.name, owner.metadata.namespace or "")
    except NotFound:
        return False
    return bool(fresh.metadata.uid == owner.metadata.uid and fresh.metadata.deletion_timestamp is None)


async def _set_owners(obj: T, client: Client, owners: list[Any]) -> T | None:
    """None when the object is gone, or another one has its name. Conflict when it was changed meanwhile."""
    meta = obj.metadata  # type: ignore[attr-defined]
    patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners}}
    try:
        return await client.patch(type(obj), meta.name, meta.namespace or "", patch)
    except (NotFound, Invalid):
        return None
