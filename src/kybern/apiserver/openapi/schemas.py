"""All the definitions that a set of resources needs."""

from collections.abc import Iterable
from typing import Any

from kybern.api import meta_v1
from kybern.api.custom import is_custom
from kybern.api.kind import Kind
from kybern.apiserver.openapi import custom
from kybern.apiserver.openapi.definitions import Definitions, Dialect, Schema
from kybern.apiserver.openapi.descriptions import Descriptions
from kybern.apiserver.openapi.operations import PATCH
from kybern.registry.resource import Resource

ALWAYS = (
    meta_v1.APIGroup, meta_v1.APIGroupList, meta_v1.APIResourceList, meta_v1.APIVersions, meta_v1.DeleteOptions,
    meta_v1.Status, meta_v1.WatchEvent,
)  # fmt: skip


def schemas(resources: Iterable[Resource], dialect: Dialect, descriptions: Descriptions) -> dict[str, Schema]:
    served = list(resources)
    kinds = [kind for resource in served for kind in _kinds(resource)]
    structs = [
        type_ for kind in kinds for type_ in (kind.type, kind.list_type) if type_ is not None and _is_struct(type_)
    ]
    found = Definitions(dialect, descriptions).complete([*ALWAYS, *structs])
    found[PATCH] = {"description": "A change of an object, in one of the patch formats.", "type": "object"}
    for resource in served:
        if is_custom(resource.kind.type):
            found |= custom.definitions(resource, dialect)
    return dict(sorted(found.items()))


def _kinds(resource: Resource) -> Iterable[Kind]:
    yield resource.kind
    for part in resource.subresources:
        if part.kind is not None:
            yield part.kind


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and hasattr(type_, "__struct_fields__")
