"""What resources are put together from: their kinds, and the subresources that many of them share.

- `status` is written on its own: a write to it keeps the spec, and of the metadata what upstream keeps.
- `scale` shows and changes one number, `spec.replicas`, in the same words for every kind that has it.
- `connect` names what the API server handles itself: exec, logs, proxying, tokens, eviction.
"""

from collections.abc import Callable
from typing import Any, Literal

from msgspec import structs

from kybern.api import authentication_v1, policy_v1
from kybern.api.autoscaling_v1 import Scale, ScaleSpec, ScaleStatus
from kybern.api.core_v1 import Binding
from kybern.api.invalid import FieldError, invalid_value
from kybern.api.kind import Kind
from kybern.api.kinds import KINDS
from kybern.api.meta_v1 import ObjectMeta
from kybern.registry.columns import AGE, BARE_NAME
from kybern.registry.resource import Column, Obj, Subresource, no_warnings, nothing_wrong

BY_TYPE: dict[type[Any], Kind] = {kind.type: kind for kind in KINDS}

changed = structs.replace


def kind_of(type_: type[Any]) -> Kind:
    return BY_TYPE[type_]


def body_kind(type_: type[Any], group: str, version: str, kind: str) -> Kind:
    """A kind that exists only as the body of a subresource."""
    return Kind(
        type=type_, list_type=None, group=group, version=version, kind=kind, plural="", namespaced=True, verbs=()
    )


SCALE = body_kind(Scale, "autoscaling", "v1", "Scale")
SCALE_COLUMNS = (
    BARE_NAME,
    Column(
        "Desired", lambda scale, now: scale.spec.replicas or 0, type="integer", of="autoscaling_v1.ScaleSpec.replicas"
    ),
    Column(
        "Available", lambda scale, now: scale.status.replicas, type="integer", of="autoscaling_v1.ScaleStatus.replicas"
    ),
    AGE,
)
EVICTION = body_kind(policy_v1.Eviction, "policy", "v1", "Eviction")
TOKEN_REQUEST = body_kind(authentication_v1.TokenRequest, "authentication.k8s.io", "v1", "TokenRequest")
BINDING = BY_TYPE[Binding]


def connect(name: str, options_kind: str = "", verbs: tuple[str, ...] = ("get", "post")) -> Subresource:
    """Handled by the API server itself; the kind of its options is only ever named in discovery."""
    kind = body_kind(dict, "", "v1", options_kind) if options_kind else None
    return Subresource(name=name, kind=kind, verbs=verbs)


PROXY_VERBS = ("delete", "get", "patch", "post", "put")

Kept = Literal["none", "labels", "all"]


def keep_spec(stored: Obj, sent: Obj) -> Obj:
    return changed(sent, spec=stored.spec)


def keep_spec_and_labels(stored: Obj, sent: Obj) -> Obj:
    return changed(sent, spec=stored.spec, metadata=changed(sent.metadata, labels=stored.metadata.labels))


def keep_all_but_status(stored: Obj, sent: Obj) -> Obj:
    meta = changed(
        stored.metadata,
        managed_fields=sent.metadata.managed_fields,
        resource_version=sent.metadata.resource_version,
    )
    return changed(stored, metadata=meta, status=sent.status)


KEEPING: dict[Kept, Callable[[Obj, Obj], Obj]] = {
    "none": keep_spec,
    "labels": keep_spec_and_labels,
    "all": keep_all_but_status,
}


def status(
    metadata_kept: Kept = "none",
    validate: Callable[[Obj, Obj], Any] = nothing_wrong,
    warnings: Callable[[Obj, Obj], Any] = no_warnings,
) -> Subresource:
    """The status of an object; `metadata_kept` says what of the metadata a status write may not change."""
    return Subresource(name="status", read=whole, write=KEEPING[metadata_kept], validate=validate, warnings=warnings)


def whole(obj: Obj) -> Obj:
    return obj


def clear_status(obj: Obj) -> Obj:
    """Creation never takes a status from outside."""
    empty = type(obj.status)()
    return obj if obj.status == empty else changed(obj, status=empty)


def keep_status(new: Obj, old: Obj) -> Obj:
    """An update of the object leaves the status to the subresource."""
    return new if new.status is old.status or new.status == old.status else changed(new, status=old.status)


def spec_of(obj: Obj) -> Obj:
    return obj.spec


def scale(selector_text: Callable[[Obj], str]) -> Subresource:
    def read(obj: Obj) -> Scale:
        return Scale(
            metadata=ObjectMeta(
                name=obj.metadata.name,
                namespace=obj.metadata.namespace,
                uid=obj.metadata.uid,
                resource_version=obj.metadata.resource_version,
                creation_timestamp=obj.metadata.creation_timestamp,
            ),
            spec=ScaleSpec(replicas=obj.spec.replicas or None),
            status=ScaleStatus(replicas=obj.status.replicas or 0, selector=selector_text(obj) or None),
        )

    return Subresource(
        name="scale",
        kind=SCALE,
        read=read,
        write=rescaled,
        validate=validate_scale,
        replicas=("spec", "replicas"),
        columns=SCALE_COLUMNS,
    )


def rescaled(stored: Obj, sent: Scale) -> Obj:
    return changed(stored, spec=changed(stored.spec, replicas=sent.spec.replicas or 0))


def validate_scale(new: Obj, old: Obj) -> tuple[FieldError, ...]:
    if new.spec.replicas < 0:
        return (invalid_value("spec.replicas", new.spec.replicas, "must be greater than or equal to 0"),)
    return ()
