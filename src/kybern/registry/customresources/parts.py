"""The subresources of custom kinds: `status`, and `scale` by the paths that the definition names."""

from collections.abc import Iterable
from typing import Any

from kybern.api.apiextensions_v1 import CustomResourceSubresourceScale
from kybern.api.autoscaling_v1 import Scale, ScaleSpec, ScaleStatus
from kybern.api.custom import CustomObject
from kybern.api.errors import BadRequest, InternalError
from kybern.api.go_messages import go_name
from kybern.api.invalid import FieldError, invalid_value
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.numbers import INT32_MAX
from kybern.registry.parts import SCALE, SCALE_COLUMNS, changed, whole
from kybern.registry.resource import Subresource, nothing_wrong

GO_NAMES = {"number": "float64", "array": "[]interface {}", "object": "map[string]interface {}"}


def status(validate: Any) -> Subresource:
    return Subresource(name="status", read=whole, write=with_status, validate=validate)


def with_status(stored: CustomObject, sent: CustomObject) -> CustomObject:
    """Only the status is written; of the metadata only who owns which field."""
    meta = changed(
        stored.metadata,
        managed_fields=sent.metadata.managed_fields,
        resource_version=sent.metadata.resource_version,
    )
    return stored.changed(metadata=meta, status=sent.get("status"))


def without_status(obj: CustomObject) -> CustomObject:
    return obj.changed(status=None) if "status" in obj else obj


def with_old_status(new: CustomObject, old: CustomObject) -> CustomObject:
    if "status" not in old and "status" not in new:
        return new
    return new.changed(status=old.get("status"))


# --- scale ------------------------------------------------------------------------------------------------------------


def path_of(text: str) -> tuple[str, ...]:
    """`.spec.replicas` as its names."""
    return tuple(text.removeprefix(".").split("."))


def value_at(obj: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(obj, dict) or name not in obj:
            return None
        obj = obj[name]
    return obj


def with_value(obj: Any, path: tuple[str, ...], value: Any) -> Any:
    """Another object that has this value there; what lies between is made."""
    if not path:
        return value
    inner = obj.get(path[0]) if isinstance(obj, dict) else None
    changed_part = {path[0]: with_value(inner or {}, path[1:], value)}
    return obj.changed(**changed_part) if isinstance(obj, CustomObject) else {**(obj or {}), **changed_part}


def scale(defined: CustomResourceSubresourceScale) -> Subresource:
    wanted, present = path_of(defined.spec_replicas_path), path_of(defined.status_replicas_path)
    selector = path_of(defined.label_selector_path) if defined.label_selector_path else None

    def read(obj: CustomObject) -> Scale:
        replicas = value_at(obj, wanted)
        if replicas is None:
            raise InternalError(f'the spec replicas field "{defined.spec_replicas_path}" does not exist')
        meta = obj.metadata
        return Scale(
            metadata=ObjectMeta(
                name=meta.name,
                namespace=meta.namespace,
                uid=meta.uid,
                resource_version=meta.resource_version,
                creation_timestamp=meta.creation_timestamp,
            ),
            spec=ScaleSpec(replicas=int(replicas) or None),
            status=ScaleStatus(
                replicas=int(value_at(obj, present) or 0),
                selector=value_at(obj, selector) or None if selector else None,
            ),
        )

    def write(stored: CustomObject, sent: Scale) -> CustomObject:
        if sent.spec.replicas is None and value_at(stored, wanted) is None:
            raise BadRequest(f'the spec replicas field "{defined.spec_replicas_path}" cannot be empty')
        found: CustomObject = with_value(stored, wanted, sent.spec.replicas or 0)
        return found

    return Subresource(
        name="scale", kind=SCALE, read=read, write=write, validate=nothing_wrong, replicas=wanted, columns=SCALE_COLUMNS
    )


def scale_errors(obj: CustomObject, defined: CustomResourceSubresourceScale | None) -> Iterable[FieldError]:
    """What the paths lead to is a number of replicas, and a text."""
    if defined is None:
        return
    for text in (defined.spec_replicas_path, defined.status_replicas_path):
        value = value_at(obj, path_of(text))
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            yield invalid_value(
                text, 0, f"{text} accessor error: {told(value)} is of the type {kind(value)}, expected int64"
            )
        elif value < 0:
            yield invalid_value(text, value, "should be a non-negative integer")
        elif value > INT32_MAX:
            yield invalid_value(text, value, f"should be less than or equal to {INT32_MAX}")
    if defined.label_selector_path:
        text = defined.label_selector_path
        value = value_at(obj, path_of(text))
        if value is not None and not isinstance(value, str):
            yield invalid_value(
                text, "", f"{text} accessor error: {told(value)} is of the type {kind(value)}, expected string"
            )


def told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def kind(value: Any) -> str:
    name = go_name(value)
    return "int64" if type(value) is int else GO_NAMES.get(name, name)
