"""managedFields: who owns which field, kept up with every write (`api.apply` says how; here is when).

What is created belongs to its creator as it was sent, before admission adds to it; so the pods of one template have the
same set of fields, which is worked out once. What the server itself makes of an object (a binding) changes no owner.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from kybern.api import apply, schema
from kybern.api.codec import encode, from_builtins, untyped
from kybern.api.custom import CustomObject
from kybern.api.meta_v1 import ManagedFieldsEntry, ObjectMeta
from kybern.apiserver.meta import changed_meta, meta_of, replace
from kybern.apiserver.options import Writing
from kybern.apiserver.storage import Storage
from kybern.registry.resource import Obj, Resource

STATUS_ONLY = ("status",)
SPEC_ONLY = ("spec",)
SHAPES_MAX, SHAPE_BYTES_MAX = 128, 8 * 1024  # objects whose likes are created again: larger ones rarely are

document_of = untyped
"""Encoded JSON to the dicts and lists that `api.apply` compares."""


def track_new(storage: Storage, new: Obj, asked: Obj, writing: Writing, now: str) -> Obj:
    """The object with one entry, of the creator who asked for that. Server-side apply has made its own already."""
    if writing.operation == "Apply":
        return new
    kind, left_out = storage.resource.kind, ignored(storage.resource, writing.subresource)
    if isinstance(new, CustomObject):
        owned: Mapping[str, Any] = apply.created(document(asked), schema.of(kind.type), left_out)
    else:
        said = encode(nameless(asked))
        owned = shape(kind.type, said, left_out)
    entry = ManagedFieldsEntry(
        manager=writing.manager,
        operation=writing.operation,
        api_version=kind.api_version,
        time=now,
        fields_type="FieldsV1",
        fields_v1=owned,
        subresource=writing.subresource or None,
    )
    return changed_meta(new, managed_fields=(entry,) if owned else None)


def nameless(obj: Obj) -> Obj:
    """Without what tells apart the objects of one template, all of which nobody owns."""
    return changed_meta(
        obj, name=None, namespace=None, uid=None, creation_timestamp=None, resource_version=None, managed_fields=None
    )


def fields_of(type: type[Any], said: bytes, left_out: tuple[str, ...]) -> Mapping[str, Any]:
    return apply.created(document_of(said), schema.of(type), left_out)


kept_fields_of = lru_cache(maxsize=SHAPES_MAX)(fields_of)


def shape(type: Any, said: bytes, left_out: tuple[str, ...]) -> Mapping[str, Any]:
    """The set of fields in an object that was not there before."""
    return (kept_fields_of if len(said) <= SHAPE_BYTES_MAX else fields_of)(type, said, left_out)


def track(storage: Storage, new: Obj, old: Obj, writing: Writing, now: str) -> Obj:
    """The object with the entries that this change leaves."""
    if writing.operation == "Apply" or writing.posted is not None:
        return new
    kind = storage.resource.kind
    before, after = differing(old, new)
    entries = apply.track(
        before,
        after,
        manager=writing.manager,
        api_version=kind.api_version,
        now=now,
        schema=schema.of(kind.type),
        subresource=writing.subresource,
        ignored=ignored(storage.resource, writing.subresource),
    )
    return with_entries(new, entries)


def differing(old: Obj, new: Obj) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both as documents, without the parts that are the same: of a new status the spec is not looked at, nor the names."""
    if not isinstance(new, CustomObject):
        kind: Any = type(new)
        same = {name: part for name, part in nothing_in(kind).items() if getattr(new, name) == getattr(old, name)}
        if new.metadata == old.metadata:
            same["metadata"] = ObjectMeta(managed_fields=new.metadata.managed_fields)
        old, new = replace(old, **same), replace(new, **same)
    return document(old), document(new)


@cache
def nothing_in(type: Any) -> Mapping[str, Any]:
    """The parts of an object of this kind that says nothing, but its metadata."""
    found = type()
    return {name: getattr(found, name) for name in type.__struct_fields__ if name != "metadata"}


def document(obj: Obj) -> dict[str, Any]:
    """An object as the dicts and lists that its JSON consists of; a custom one consists of them anyway."""
    entries = meta_of(obj).managed_fields
    bare = changed_meta(obj, managed_fields=None) if entries else obj
    if isinstance(bare, CustomObject):
        found: dict[str, Any] = {**bare, "metadata": document_of(encode(bare.metadata))}
    else:
        found = document_of(encode(bare))
    if entries:
        found.setdefault("metadata", {})["managedFields"] = [entry_document(entry) for entry in entries]
    return found


def entry_document(entry: ManagedFieldsEntry) -> dict[str, Any]:
    """With the very sets that it has: they are trees of dicts already, most of an object's JSON, and never changed."""
    said = zip(entry.__struct_encode_fields__, entry.__struct_fields__, strict=True)
    return {name: value for name, field in said if (value := getattr(entry, field)) is not None}


def with_entries(obj: Obj, entries: Sequence[dict[str, Any]]) -> Obj:
    found = from_builtins(tuple[ManagedFieldsEntry, ...], entries) if entries else None
    return changed_meta(obj, managed_fields=found)


def ignored(resource: Resource, subresource: str) -> tuple[str, ...]:
    """The parts of an object that a request to this address cannot set."""
    if subresource == "status":
        return SPEC_ONLY
    if any(sub.name == "status" for sub in resource.subresources):
        return STATUS_ONLY
    return ()
