"""Deleting one object: at once, after a time of grace, or when the last finalizer has let go of it.

    delete ──no finalizers, no grace──────────────▶ gone
       └────finalizers or grace──▶ marked ──last finalizer removed, grace over──▶ gone

What is marked keeps its place, with deletionTimestamp set; the time of grace can only become shorter.
"""

from dataclasses import dataclass

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.errors import About, ApiError, conflict, not_found
from kybern.api.meta_v1 import DeleteOptions, ObjectMeta
from kybern.apiserver import commits
from kybern.apiserver.item import with_revision
from kybern.apiserver.machine import Machine, admit, reserved, validate
from kybern.apiserver.meta import meta_of, replace, with_meta
from kybern.apiserver.options import Writing, is_large
from kybern.apiserver.storage import Storage
from kybern.apiserver.writes import REWRITES_MAX, admission_for, served_at
from kybern.registry.resource import Obj
from kybern.store import interface as store
from kybern.store.interface import Entry

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


@dataclass(frozen=True, slots=True)
class Deleted:
    served: bytes
    """The object as it was last, or as it is marked now."""
    gone: bool
    uid: str


async def delete(
    machine: Machine, storage: Storage, namespace: str, name: str, options: DeleteOptions, writing: Writing
) -> Deleted:
    key = storage.resource.key(namespace, name)
    head: Entry | None = None
    for _ in range(REWRITES_MAX):
        head = machine.store.head(key)
        try:
            if head is None:
                raise not_found(storage.about(name))
            return await delete_once(machine, storage, namespace, name, head, options, writing)
        except store.Conflict:
            continue
        except ApiError:
            if head is None or head.revision > machine.store.revision:
                await machine.store.settle()
            raise
    raise not_found(storage.about(name))


async def delete_once(
    machine: Machine,
    storage: Storage,
    namespace: str,
    name: str,
    head: Entry,
    options: DeleteOptions,
    writing: Writing,
) -> Deleted:
    writing.is_long |= is_large(head.value)
    old = await storage.load(head)
    check(storage, name, options, old)
    uid = meta_of(old).uid or ""
    admission = admission_for(storage, writing, "DELETE", namespace, name, None, old)
    admission.options = options
    with reserved(machine, admission) as outcome:
        await admit(machine, admission)
        await validate(machine, admission)
        marked = mark(machine, storage, old, options)
        if marked is None:
            if writing.dry_run:
                return Deleted(with_revision(storage.encode(old), head.revision), True, uid)
            revision = await commits.delete(machine, outcome, head.key, head.revision)
            return Deleted(with_revision(storage.encode(old), revision), True, uid)
        value = await storage.dump(marked)
        if writing.dry_run or value == head.value:
            await machine.store.settle()
            return Deleted(with_revision(storage.encode(marked), head.revision), False, uid)
        revision = await commits.put(machine, outcome, head.key, value, head.revision)
    return Deleted(served_at(storage, namespace, name, revision, marked), False, uid)


def check(storage: Storage, name: str, options: DeleteOptions, old: Obj) -> None:
    wanted, found = options.preconditions, meta_of(old)
    if wanted is None:
        return
    kind = storage.resource.kind
    about = About(
        resource=kind.kind, group=kind.group, name=name
    )  # upstream's habit: the kind, where others say plural
    for what, asked, there, fate in (
        ("UID", wanted.uid, found.uid, "deleted and then recreated"),
        ("ResourceVersion", wanted.resource_version, found.resource_version, "modified"),
    ):
        if asked and asked != there:
            why = f"the {what} in the precondition ({asked}) does not match the {what} in record ({there})"
            raise conflict(about, f"{why}. The object might have been {fate}")


def mark(machine: Machine, storage: Storage, old: Obj, options: DeleteOptions) -> Obj | None:
    """The object as deletion leaves it for now; None when nothing keeps it."""
    resource, meta = storage.resource, meta_of(old)
    finalizers = finalizers_for(meta.finalizers or (), options)
    asked = options.grace_period_seconds
    asked = 1 if asked is not None and asked < 0 else asked
    grace = resource.grace_seconds(old, asked) if resource.grace_seconds else None
    if grace is not None and meta.deletion_timestamp and meta.deletion_grace_period_seconds is not None:
        if asked is None or asked >= meta.deletion_grace_period_seconds:
            return with_meta(old, meta)  # already on its way, and not later than asked
        began = from_rfc3339(meta.deletion_timestamp) - meta.deletion_grace_period_seconds
        meta = replace(meta, deletion_timestamp=rfc3339(began + asked), deletion_grace_period_seconds=asked)
        grace = asked
    elif grace:
        meta = begun(meta, rfc3339(machine.clock.wall() + grace), grace)
    if finalizers or resource.held(old):
        if meta.deletion_timestamp is None or not grace:
            meta = begun(meta, meta.deletion_timestamp or machine.now(), 0)
        return resource.on_delete(with_meta(old, replace(meta, finalizers=finalizers or None)))
    return with_meta(old, replace(meta, finalizers=None)) if grace else None


def begun(meta: ObjectMeta, at: str, grace: int) -> ObjectMeta:
    """Deletion counts as a change of what is wanted, once."""
    generation = meta.generation
    if generation and meta.deletion_timestamp is None:
        generation += 1
    return replace(meta, deletion_timestamp=at, deletion_grace_period_seconds=grace, generation=generation)


def finalizers_for(present: tuple[str, ...], options: DeleteOptions) -> tuple[str, ...]:
    """The garbage collector is told by finalizers what to do about dependents."""
    policy = options.propagation_policy
    orphan = options.orphan_dependents
    if policy is None and orphan is None:
        return present
    kept = tuple(name for name in present if name not in (ORPHAN, FOREGROUND))
    if orphan or policy == "Orphan":
        return (*kept, ORPHAN)
    return (*kept, FOREGROUND) if policy == "Foreground" else kept
