"""One version of a CustomResourceDefinition as a `Resource`: the same value that a built-in kind is, made at run time.

Everything a schema asks is compiled when the definition is installed, so that a write costs a few walks of its object.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kybern.api import names, schema
from kybern.api.apiextensions_v1 import (
    CustomResourceDefinition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionVersion,
    CustomResourceSubresources,
)
from kybern.api.custom import CUSTOM_BYTES_MAX, CustomObject, custom_type
from kybern.api.errors import RequestEntityTooLarge
from kybern.api.invalid import FieldError, invalid_value
from kybern.api.kind import Kind
from kybern.api.strict import is_plain, pruned
from kybern.registry.customresources import jsonpath
from kybern.registry.customresources.columns import columns
from kybern.registry.customresources.columns import text as shown
from kybern.registry.customresources.conditions import is_true
from kybern.registry.customresources.defaulting import Fill, NoRoom, Room, filling, is_longer
from kybern.registry.customresources.parts import scale, scale_errors, status, with_old_status, without_status
from kybern.registry.customresources.quick import looking
from kybern.registry.customresources.validating import Validation
from kybern.registry.customresources.version import openapi_of
from kybern.registry.metadata import STANDARD_FINALIZERS
from kybern.registry.resource import Resource, Subresource, keep_new, same

VERBS = ("delete", "deletecollection", "get", "list", "patch", "post", "put", "watch")
VERBS_OF_THE_ENDING = tuple(verb for verb in VERBS if verb != "post")
OF_EVERY_OBJECT = ("apiVersion", "kind", "metadata")
KEEPS_ALL = {"x-kubernetes-preserve-unknown-fields": True}
NO_NAMES = CustomResourceDefinitionNames()


def resource_of(definition: CustomResourceDefinition, version: CustomResourceDefinitionVersion) -> Resource:
    openapi = openapi_of(version)
    kind = kind_of(definition, version.name, openapi)
    accepted = definition.status.accepted_names or NO_NAMES
    parts = version.subresources or CustomResourceSubresources()
    has_status = parts.status is not None
    judged = Validation(openapi, lambda obj: type_errors(obj, kind), lambda obj: scale_errors(obj, parts.scale))
    fill = filling(openapi) or kept_as_is
    subresources: list[Subresource] = [status(judged.of_change)] if has_status else []
    if parts.scale is not None:
        subresources.append(scale(parts.scale))
    return Resource(
        kind=kind,
        version_needed=True,
        singular=accepted.singular or "",
        short_names=accepted.short_names or (),
        categories=accepted.categories or (),
        storage_prefix=prefix_of(definition),
        default=writing(fill),
        on_create=without_status if has_status else same,
        on_update=with_old_status if has_status else keep_new,
        validate=judged.of_new,
        validate_update=judged.of_change,
        warnings=finalizer_warnings,
        deprecation=deprecation_of(version, kind),
        own_finalizers=True,
        generation=without_metadata_and_status if has_status else without_metadata,
        subresources=tuple(subresources),
        selectable={
            field.json_path.removeprefix("."): selected(field.json_path) for field in version.selectable_fields or ()
        },
        columns=columns(version.additional_printer_columns),
        to_storage=conversion_to(definition, storage_version(definition)) if not version.storage else same,
        from_storage=reading(kind, fill),
    )


def kind_of(definition: CustomResourceDefinition, version: str, openapi: Mapping[str, Any]) -> Kind:
    accepted = definition.status.accepted_names or NO_NAMES
    node = node_of(definition, openapi)
    node.open = node.open or not openapi
    for key, part in openapi.get("properties", {}).items():
        if key in node.fields and key not in OF_EVERY_OBJECT:
            node.fields[key].passes = looking(part, closed=True)
    return Kind(
        type=custom_type(accepted.kind, openapi, node),
        list_type=None,
        group=definition.spec.group,
        version=version,
        kind=accepted.kind,
        plural=accepted.plural,
        namespaced=definition.spec.scope == "Namespaced",
        verbs=VERBS_OF_THE_ENDING if is_true(definition, "Terminating") else VERBS,
        listed_as=accepted.list_kind or "",
    )


def node_of(definition: CustomResourceDefinition, openapi: Mapping[str, Any]) -> schema.Node:
    """What its objects may have. A definition of an older server may say that they keep whatever nobody knows."""
    return schema.of_custom_resource(KEEPS_ALL if definition.spec.preserve_unknown_fields else openapi)


def prefix_of(definition: CustomResourceDefinition) -> str:
    """Where the objects of all versions lie; upstream's place."""
    return f"/registry/{definition.spec.group}/{definition.spec.names.plural}"


def storage_version(definition: CustomResourceDefinition) -> CustomResourceDefinitionVersion:
    return next(version for version in definition.spec.versions if version.storage)


def deprecation_of(version: CustomResourceDefinitionVersion, kind: Kind) -> str:
    if not version.deprecated:
        return ""
    return version.deprecation_warning or f"{kind.api_version} {kind.kind} is deprecated"


# --- between versions -------------------------------------------------------------------------------------------------


def kept_as_is(obj: Any, room: Room) -> Any:
    return obj


def writing(fill: Fill) -> Callable[[CustomObject], CustomObject]:
    def default(obj: CustomObject) -> CustomObject:
        """TakesLong where it does, while others wait."""
        try:
            filled: CustomObject = with_defaults(fill, obj)
        except NoRoom:
            raise RequestEntityTooLarge(f"Request entity too large: limit is {CUSTOM_BYTES_MAX}") from None
        return filled

    return default


def with_defaults(fill: Fill, obj: CustomObject) -> CustomObject:
    """NoRoom where they make more of it than can be written."""
    filled: CustomObject = fill(obj, Room(CUSTOM_BYTES_MAX))
    if filled is not obj and is_longer(filled, CUSTOM_BYTES_MAX):
        raise NoRoom
    return filled


def reading(kind: Kind, fill: Fill) -> Callable[[CustomObject], CustomObject]:
    """A stored object of any version as one of this: by name alone, without what this version does not know, and with
    its defaults, which may be younger than the object; without them where it would not be writable any more."""

    def read(obj: CustomObject) -> CustomObject:
        found = obj if obj["apiVersion"] == kind.api_version else obj.changed(apiVersion=kind.api_version)
        kept = pruned_object(kind.type, found)
        try:
            return with_defaults(fill, kept)
        except NoRoom:
            return kept

    return read


def conversion_to(
    definition: CustomResourceDefinition, version: CustomResourceDefinitionVersion
) -> Callable[[CustomObject], CustomObject]:
    """To the version in which objects are stored."""
    node = node_of(definition, openapi_of(version))

    def convert(obj: CustomObject) -> CustomObject:
        group = obj["apiVersion"].rpartition("/")[0]
        found: CustomObject = obj.changed(apiVersion=f"{group}/{version.name}")
        kept = pruned(node, {key: item for key, item in found.items() if key != "metadata"})
        return found.changed(**{key: kept.get(key) for key in found if key != "metadata"})

    return convert


def pruned_object(type_: type[CustomObject], obj: CustomObject) -> CustomObject:
    node = schema.of(type_)
    if is_plain(node, obj):
        return obj
    body = {key: item for key, item in obj.items() if key != "metadata"}
    kept = pruned(node, body)
    return obj if kept is body else obj.changed(**{key: kept.get(key) for key in body})


# --- rules that need no schema ----------------------------------------------------------------------------------------


def type_errors(obj: CustomObject, kind: Kind) -> Iterable[FieldError]:
    if obj["kind"] != kind.kind:
        yield invalid_value("kind", obj["kind"], f"must be {kind.kind}")
    if obj["apiVersion"] != kind.api_version:
        yield invalid_value("apiVersion", obj["apiVersion"], f"must be {kind.api_version}")


def without_metadata(obj: CustomObject) -> dict[str, Any]:
    return {key: item for key, item in obj.items() if key != "metadata"}


def without_metadata_and_status(obj: CustomObject) -> dict[str, Any]:
    return {key: item for key, item in obj.items() if key not in ("metadata", "status")}


def selected(path: str) -> Callable[[CustomObject], str]:
    def read(obj: CustomObject) -> str:
        value = jsonpath.first(path, obj)
        return "" if value is None else shown(value)

    return read


def finalizer_warnings(new: CustomObject, old: CustomObject | None) -> Iterator[str]:
    if not new.metadata.finalizers:
        return
    before = set(old.metadata.finalizers or ()) if old is not None else set()
    for finalizer in sorted(set(new.metadata.finalizers) - before):
        at = f'metadata.finalizers: "{finalizer}"'
        for wrong in names.qualified_name(finalizer):
            yield f"{at}: {wrong}"
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            better = "a domain-qualified finalizer name including a path (/)" if "." in finalizer else ""
            better = better or "a domain-qualified finalizer name"
            yield f"{at}: prefer {better} to avoid accidental conflicts with other finalizer writers"
