"""Objects of custom kinds: a dict, as it came, of which only the metadata is a Struct.

Every version of a custom kind has a class of its own, made at run time by `custom_type`. It stands where a built-in
kind has its Struct: `codec` decodes to it, and `schema.of` finds the schema that belongs to it.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

import msgspec

from kybern.api.meta_v1 import ObjectMeta

if TYPE_CHECKING:
    from kybern.api.schema import Node

HEAD = ("kind", "apiVersion", "metadata")
CUSTOM_BYTES_MAX = 1536 * 1024
"""Of one custom object in the store: what etcd takes, which holds them as JSON too. It bounds what writing one can cost."""


class CustomObject(dict[str, Any]):
    """kind, apiVersion and metadata come first, since `item.with_revision` splices into the first metadata there is."""

    __slots__ = ()

    node: ClassVar["Node | None"] = None
    openapi: ClassVar[Mapping[str, Any]] = {}
    """The kind's schema as its definition has it: OpenAPI v3, as JSON."""
    fingerprint: ClassVar[str] = ""
    """Another one for every schema."""

    @property
    def metadata(self) -> ObjectMeta:
        found: ObjectMeta = self["metadata"]
        return found

    def with_metadata(self, metadata: ObjectMeta) -> "CustomObject":
        found = type(self)(self)
        found["metadata"] = metadata
        return found

    def changed(self, **parts: Any) -> "CustomObject":
        """Another one, with these parts of it replaced; a part that is None is left out."""
        found = type(self)(self)
        for key, value in parts.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        return found


def custom_type(kind: str, openapi: Mapping[str, Any], node: "Node") -> type[CustomObject]:
    fingerprint = sha256(msgspec.json.encode(openapi)).hexdigest()
    own = {"__slots__": (), "node": node, "openapi": openapi, "fingerprint": fingerprint}
    return type(kind, (CustomObject,), own)


def is_custom(wanted: Any) -> TypeGuard[type[CustomObject]]:
    return isinstance(wanted, type) and issubclass(wanted, CustomObject)
