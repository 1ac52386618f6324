"""An object's metadata, whichever form the object has: a Struct, or a custom object."""

from typing import Any

from msgspec import structs

from kybern.api.custom import CustomObject
from kybern.api.errors import About
from kybern.api.meta_v1 import ObjectMeta
from kybern.registry.resource import Obj, Resource

replace = structs.replace


def meta_of(obj: Obj) -> ObjectMeta:
    meta: ObjectMeta = obj.metadata
    return meta


def with_meta(obj: Obj, meta: ObjectMeta) -> Obj:
    if obj.metadata is meta:
        return obj
    return obj.with_metadata(meta) if isinstance(obj, CustomObject) else replace(obj, metadata=meta)


def changed_meta(obj: Obj, **changes: Any) -> Obj:
    return with_meta(obj, replace(meta_of(obj), **changes))


def at_revision(obj: Obj, revision: int) -> Obj:
    return changed_meta(obj, resource_version=str(revision))


def about(resource: Resource, name: str = "") -> About:
    """What errors about an object of this resource name."""
    kind = resource.kind
    return About(resource=kind.plural, group=kind.group, name=name, kind=kind.kind)
