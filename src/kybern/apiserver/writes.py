"""Creating and changing one object: rules, admission, and the one write to the store, in upstream's order.

- A change is computed from the head of its key, which may not be durable yet; the store takes it only if that still is
  the head. So concurrent writers of one key share a commit instead of waiting for each other.
- Whatever is refused on account of such a head is answered when the head is durable: nobody learns of a state that a
  crash could take back.
- A dry run goes all the way, up to the store.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from kybern.aio.beside import TakesLong, at_once, beside
from kybern.api.errors import MODIFIED, AlreadyExists, ApiError, already_exists, conflict, invalid, not_found
from kybern.api.invalid import FieldError
from kybern.apiserver.commits import delete, put
from kybern.apiserver.item import with_revision
from kybern.apiserver.machine import Machine, admit, reserved, validate
from kybern.apiserver.meta import changed_meta, meta_of, replace, with_meta
from kybern.apiserver.options import Writing, is_large
from kybern.apiserver.request import Admission
from kybern.apiserver.storage import Storage
from kybern.apiserver.tracking import track, track_new
from kybern.apiserver.warning import first
from kybern.registry.metadata import validate_metadata, validate_metadata_update
from kybern.registry.resource import Obj, Resource, Subresource
from kybern.store import interface as store
from kybern.store.interface import Entry

T = TypeVar("T")

NAMES_TRIED_MAX = 8  # generated names that turn out to exist
REWRITES_MAX = 100  # against writers that never let one in
NAME_BYTES_MAX = 63  # of generated names: upstream's
SUFFIX_LETTERS_COUNT = 5

Change = Callable[[Obj], Obj]
"""(the object as it is) -> what is asked for. Raises ApiError where that cannot be."""


@dataclass(frozen=True, slots=True)
class Written:
    served: bytes
    created: bool = False
    deleted: bool = False


# --- create -----------------------------------------------------------------------------------------------------------


async def create(machine: Machine, storage: Storage, sent: Obj, namespace: str, writing: Writing) -> Written:
    meta = meta_of(sent)
    prefix = meta.generate_name if not meta.name else None
    for attempt in range(NAMES_TRIED_MAX):
        named = with_name(sent, generated(machine, prefix)) if prefix else sent
        try:
            return await create_once(machine, storage, named, namespace, writing)
        except AlreadyExists:
            if not prefix or attempt == NAMES_TRIED_MAX - 1:
                raise
    raise AssertionError("the loop returns or raises")


def generated(machine: Machine, prefix: str) -> str:
    return prefix[: NAME_BYTES_MAX - SUFFIX_LETTERS_COUNT] + machine.ids.suffix(SUFFIX_LETTERS_COUNT)


def with_name(obj: Obj, name: str) -> Obj:
    return changed_meta(obj, name=name)


async def create_once(machine: Machine, storage: Storage, sent: Obj, namespace: str, writing: Writing) -> Written:
    resource = storage.resource
    obj = await by_rules(writing, lambda: resource.default(sent))
    obj = with_meta(obj, new_meta(machine, storage, obj, namespace))
    name = meta_of(obj).name or ""
    if name and machine.store.head(resource.key(namespace, name)) is not None:
        await machine.store.settle()
        raise already_exists(storage.about(name))
    asked = obj
    admission = admission_for(storage, writing, "CREATE", namespace, name, obj, None)
    with reserved(machine, admission) as outcome:
        await admit(machine, admission)
        obj = resource.on_create(own_meta(admission.object, obj))
        wrong = [
            *validate_metadata(
                meta_of(obj),
                resource.kind.namespaced,
                resource.validate_name,
                own_finalizers=resource.own_finalizers,
            )
        ]
        wrong += await judged(resource, writing, resource.validate, obj)
        if wrong:
            raise invalid(storage.about(name), wrong)
        writing.warnings += await told(resource.warnings, writing, obj, None)
        admission.object = obj
        await validate(machine, admission)
        obj = await beside(partial(track_new, storage, obj, asked, writing, machine.now()), writing.is_long)
        if writing.dry_run:
            return Written(storage.encode(obj), created=True)
        try:
            revision = await put(machine, outcome, resource.key(namespace, name), await storage.dump(obj), 0)
        except store.Conflict:
            raise already_exists(storage.about(name)) from None
    return Written(served_at(storage, namespace, name, revision, obj), created=True)


async def by_rules(writing: Writing, work: Callable[[], T]) -> T:
    """What a kind's rules make of an object: what turns out to take long is begun anew where others do not wait for it,
    and the write is a long one from then on."""
    if not writing.is_long:
        try:
            return at_once(work)
        except TakesLong:
            writing.is_long = True
    return await beside(work)


async def judged(
    resource: Resource, writing: Writing, rule: Callable[..., Iterable[FieldError]], *objects: Obj
) -> Iterable[FieldError]:
    """What a rule says of an object; where that can take long, others go on meanwhile."""
    if resource.validates_long(objects[0]):
        return await beside(lambda: list(rule(*objects)))
    return await by_rules(writing, lambda: list(rule(*objects)))


async def told(warnings: Callable[..., Iterable[str]], writing: Writing, *objects: Obj) -> Iterable[str]:
    """What is odd about an object that is right; to look for it can take as long as to judge it."""
    return await beside(lambda: list(first(warnings(*objects))), writing.is_long)


def own_meta(admitted: Obj, given: Obj) -> Obj:
    """Identity and time stay the server's, whatever admission has made of the object."""
    if admitted is given:
        return given
    was = meta_of(given)
    return with_meta(
        admitted,
        replace(
            meta_of(admitted),
            name=was.name,
            namespace=was.namespace,
            uid=was.uid,
            creation_timestamp=was.creation_timestamp,
            deletion_timestamp=was.deletion_timestamp,
            deletion_grace_period_seconds=was.deletion_grace_period_seconds,
            resource_version=was.resource_version,
            self_link=was.self_link,
            generation=was.generation,
        ),
    )


def new_meta(machine: Machine, storage: Storage, sent: Obj, namespace: str) -> Any:
    """A new object's metadata: identity and time are the server's, whatever was sent."""
    return replace(
        meta_of(sent),
        namespace=(namespace or None) if storage.resource.kind.namespaced else None,
        uid=machine.ids.uid(),
        creation_timestamp=machine.now(),
        deletion_timestamp=None,
        deletion_grace_period_seconds=None,
        resource_version=None,
        self_link=None,
        generation=1 if storage.resource.generation else None,
    )


def admission_for(
    storage: Storage, writing: Writing, operation: str, namespace: str, name: str, obj: Obj, old: Obj
) -> Admission:
    return Admission(
        user=writing.user,
        operation=operation,
        resource=storage.resource,
        subresource=writing.subresource,
        namespace=namespace,
        name=name,
        object=obj,
        old=old,
        dry_run=writing.dry_run,
        options=writing.options or writing,
        warnings=writing.warnings,
        audit=writing.audit,
        posted=writing.posted,
        internal=writing.internal,
        is_long=writing.is_long,
    )


def served_at(storage: Storage, namespace: str, name: str, revision: int, obj: Obj) -> bytes:
    """The answer to a write: what the cache serves, if nobody has written since."""
    item = storage.cache.get(namespace, name)
    if item is not None and item.revision == revision:
        return item.sent()
    return with_revision(storage.encode(obj), revision)


# --- change -----------------------------------------------------------------------------------------------------------


async def rewrite(
    machine: Machine,
    storage: Storage,
    namespace: str,
    name: str,
    change: Change,
    writing: Writing,
    absent: Callable[[], Awaitable[Written]] | None = None,
    check: Callable[[Obj, Obj], Any] | None = None,
) -> Written:
    """Change an object, however often it takes. `absent` says what to do when there is none; `check(new, old)` stands
    in for the resource's own validation where a part of it is written."""
    key = storage.resource.key(namespace, name)
    for _ in range(REWRITES_MAX):
        head = machine.store.head(key)
        try:
            if head is None:
                if absent is None:
                    raise not_found(storage.about(name))
                return await absent()
            return await rewrite_once(machine, storage, namespace, name, head, change, writing, check)
        except store.Conflict:
            continue
        except ApiError:
            if head is None or head.revision > machine.store.revision:
                await machine.store.settle()
            raise
    raise conflict(storage.about(name), MODIFIED)


async def rewrite_once(
    machine: Machine,
    storage: Storage,
    namespace: str,
    name: str,
    head: Entry,
    change: Change,
    writing: Writing,
    check: Callable[[Obj, Obj], Any] | None,
) -> Written:
    resource = storage.resource
    writing.is_long |= is_large(head.value)
    old = await storage.load(head)
    new = await beside(lambda: change(old), writing.is_long)
    if writing.posted is None:  # what a rule of ours made of a whole object is whole
        new = await by_rules(writing, partial(defaulted, resource, kept_meta(new, old), old))
    admission = admission_for(storage, writing, "UPDATE", namespace, name, new, old)
    with reserved(machine, admission) as outcome:
        await admit(machine, admission)
        if not writing.subresource:
            new = resource.on_update(admission.object, old)
        elif admission.object is not new:
            new = kept_part(resource, writing.subresource, admission.object, old)
        new = with_generation(resource.generation, new, old)
        wrong = [*validate_metadata_update(meta_of(new), meta_of(old), own_finalizers=resource.own_finalizers)]
        if check is not None:
            wrong += await judged(resource, writing, check, new, old)
        elif resource.validate_update:
            wrong += await judged(resource, writing, resource.validate_update, new, old)
        else:
            wrong += await judged(resource, writing, resource.validate, new)
        if wrong:
            raise invalid(storage.about(name), wrong)
        writing.warnings += await told(warnings_of(resource, writing.subresource), writing, new, old)
        admission.object = new
        await validate(machine, admission)
        if await is_unchanged(storage, new, old, head, writing):
            await machine.store.settle()
            return Written(with_revision(storage.encode(old), head.revision))
        new = await beside(partial(track, storage, new, old, writing, machine.now()), writing.is_long)
        if is_finished(storage, new, old):
            return await finish(machine, storage, head, new, writing, outcome)
        if writing.dry_run:
            return Written(with_revision(storage.encode(new), head.revision))
        revision = await put(machine, outcome, head.key, await storage.dump(new), head.revision)
    return Written(served_at(storage, namespace, name, revision, new))


def defaulted(resource: Resource, new: Obj, old: Obj) -> Obj:
    part = resource.default_in
    return new if part and getattr(new, part) is getattr(old, part) else resource.default(new)


def warnings_of(resource: Resource, subresource: str) -> Callable[[Obj, Obj], Iterable[str]]:
    return part_of(resource, subresource).warnings if subresource else resource.warnings


def part_of(resource: Resource, subresource: str) -> Subresource:
    return next(part for part in resource.subresources if part.name == subresource)


def kept_part(resource: Resource, subresource: str, admitted: Obj, old: Obj) -> Obj:
    """Of what admission has made of the whole object, the part that this write is about."""
    part = part_of(resource, subresource)
    if part.write is None or part.kind is not None:
        return admitted
    return kept_meta(part.write(old, admitted), old)


async def is_unchanged(storage: Storage, new: Obj, old: Obj, head: Entry, writing: Writing) -> bool:
    """Whether the write would store what is there already; who owns it changes only by server-side apply."""
    if writing.operation != "Apply" and not meta_of(new).managed_fields:
        new = changed_meta(new, managed_fields=meta_of(old).managed_fields)
    if new != old and storage.stores_what_it_serves:
        return False
    return await storage.is_stored(new, head.value) and not is_finished(storage, new, old)


def kept_meta(new: Obj, old: Obj) -> Obj:
    """What an update may leave out, and what only deletion changes."""
    meta, before = meta_of(new), meta_of(old)
    marked = before.deletion_timestamp is not None
    return with_meta(
        new,
        replace(
            meta,
            name=meta.name or before.name,
            namespace=meta.namespace or before.namespace,
            uid=meta.uid or before.uid,
            creation_timestamp=meta.creation_timestamp or before.creation_timestamp,
            deletion_timestamp=before.deletion_timestamp if marked else meta.deletion_timestamp,
            deletion_grace_period_seconds=before.deletion_grace_period_seconds
            if meta.deletion_grace_period_seconds is None
            else meta.deletion_grace_period_seconds,
            generation=before.generation,
            generate_name=before.generate_name if meta.generate_name is None else meta.generate_name,
            self_link=None,
            resource_version=before.resource_version,
        ),
    )


def with_generation(part: Callable[[Obj], Obj] | None, new: Obj, old: Obj) -> Obj:
    """One more, when the part of the object that its controller acts upon has changed."""
    if part is None:
        return new
    before = meta_of(old).generation or 0
    wanted = before + 1 if part(new) != part(old) else before
    return new if meta_of(new).generation == wanted else changed_meta(new, generation=wanted or None)


# --- the end of an object that waited for its finalizers --------------------------------------------------------------


def is_finished(storage: Storage, new: Obj, old: Obj) -> bool:
    """Whether an object that is being deleted has nothing left that holds it."""
    before = meta_of(old)
    if before.deletion_timestamp is None or before.deletion_grace_period_seconds:
        return False
    return not meta_of(new).finalizers and not storage.resource.held(new)


async def finish(
    machine: Machine, storage: Storage, head: Entry, new: Obj, writing: Writing, outcome: reserved
) -> Written:
    served = storage.encode(new)
    if writing.dry_run:
        return Written(with_revision(served, head.revision), deleted=True)
    revision = await delete(machine, outcome, head.key, head.revision)
    return Written(with_revision(served, revision), deleted=True)
