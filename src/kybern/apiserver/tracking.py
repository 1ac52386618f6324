"""managedFields: who owns which field, kept up with every write (`api.apply` says how; here is when)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from kybern.api import apply, schema
from kybern.api.codec import encode, from_builtins
from kybern.api.custom import CustomObject
from kybern.api.meta_v1 import ManagedFieldsEntry
from kybern.apiserver.meta import changed_meta
from kybern.apiserver.options import Writing
from kybern.apiserver.storage import Storage
from kybern.registry.resource import Obj, Resource

STATUS_ONLY = ("status",)
SPEC_ONLY = ("spec",)

document_of = msgspec.json.Decoder().decode
"""Encoded JSON to the dicts and lists that `api.apply` compares."""


def track(storage: Storage, new: Obj, old: Obj | None, writing: Writing, now: str) -> Obj:
    """The object with the entries that this write leaves. Server-side apply has made its own already."""
    if writing.operation == "Apply":
        return new
    kind = storage.resource.kind
    entries = apply.track(
        None if old is None else document(old),
        document(new),
        manager=writing.manager,
        api_version=kind.api_version,
        now=now,
        schema=schema.of(kind.type),
        subresource=writing.subresource,
        ignored=ignored(storage.resource, writing.subresource),
    )
    return with_entries(new, entries)


def document(obj: Obj) -> dict[str, Any]:
    """An object as the dicts and lists that its JSON consists of; a custom one consists of them anyway."""
    if isinstance(obj, CustomObject):
        return {**obj, "metadata": document_of(encode(obj.metadata))}
    found: dict[str, Any] = document_of(encode(obj))
    return found


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
