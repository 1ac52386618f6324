"""storageclasses, volumeattributesclasses, volumeattachments: how storage is made, changed, and brought to a node."""

from collections.abc import Iterator, Mapping

from kybern.api import names
from kybern.api.core_v1 import TopologySelectorLabelRequirement, TopologySelectorTerm
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from kybern.api.numbers import INT32_MAX
from kybern.api.storage_v1 import (
    StorageClass,
    VolumeAttachment,
    VolumeAttachmentSource,
    VolumeAttributesClass,
    VolumeError,
)
from kybern.registry.checks import between, immutable, named, repeated
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import filled
from kybern.registry.drivers import validate_driver_name
from kybern.registry.node_labels import NODE_LABELS
from kybern.registry.parts import clear_status, keep_status, kind_of, status
from kybern.registry.persistentvolumes import validate_inline_spec
from kybern.registry.resource import Column, Resource

PARAMETERS_MAX = 512
PARAMETERS_BYTES_MAX = 256 * 1024
MESSAGE_BYTES_MAX = 1024
DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def validate_class(found: StorageClass) -> Iterator[FieldError]:
    yield from named("provisioner", found.provisioner, lambda text: names.qualified_name(text.lower()))
    yield from validate_parameters(found.parameters or {}, "parameters")
    if found.reclaim_policy not in ("Delete", "Retain"):
        yield not_supported("reclaimPolicy", found.reclaim_policy, ("Delete", "Retain"))
    if not found.volume_binding_mode:
        yield required("volumeBindingMode")
    elif found.volume_binding_mode not in ("Immediate", "WaitForFirstConsumer"):
        yield not_supported("volumeBindingMode", found.volume_binding_mode, ("Immediate", "WaitForFirstConsumer"))
    terms = found.allowed_topologies or ()
    again = repeated(map(topology_of, terms)) | {i for i, term in enumerate(terms) if not term.match_label_expressions}
    for index, term in enumerate(terms):
        at = f"allowedTopologies[{index}].matchLabelExpressions"
        yield from validate_topology(term.match_label_expressions or (), at)
        if index in again:
            yield duplicate(at, "")


def validate_parameters(parameters: Mapping[str, str], at: str) -> Iterator[FieldError]:
    if len(parameters) > PARAMETERS_MAX:
        yield too_long(at, "", PARAMETERS_MAX)
        return
    if "" in parameters:
        yield invalid_value(at, "", "field can not be empty.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > PARAMETERS_BYTES_MAX:
        yield too_long(at, "", PARAMETERS_BYTES_MAX)


def validate_topology(expressions: tuple[TopologySelectorLabelRequirement, ...], at: str) -> Iterator[FieldError]:
    again = repeated(wanted.key for wanted in expressions)
    for index, wanted in enumerate(expressions):
        here = f"{at}[{index}]"
        if not wanted.values:
            yield required(f"{here}.values")
        for place in sorted(repeated(wanted.values)):
            yield duplicate(f"{here}.values[{place}]", wanted.values[place])
        for wrong in names.qualified_name(wanted.key):
            yield invalid_value(f"{here}.key", wanted.key, wrong)
        if index in again:
            yield duplicate(f"{here}.key", wanted.key)


def topology_of(term: TopologySelectorTerm) -> frozenset[tuple[str, frozenset[str]]]:
    wanted = {wanted.key: frozenset(wanted.values) for wanted in term.match_label_expressions or ()}
    return frozenset(wanted.items())


def validate_class_update(found: StorageClass, old: StorageClass) -> Iterator[FieldError]:
    yield from validate_class(found)
    for field, new, before in (
        ("parameters", found.parameters or {}, old.parameters or {}),
        ("provisioner", found.provisioner, old.provisioner),
        ("reclaimPolicy", found.reclaim_policy, old.reclaim_policy),
    ):
        if new != before:
            yield forbidden_field(field, f"updates to {field} are forbidden.")
    yield from immutable("volumeBindingMode", found.volume_binding_mode, old.volume_binding_mode)


def class_warnings(found: StorageClass, old: StorageClass | None) -> Iterator[str]:
    for index, term in enumerate(found.allowed_topologies or ()):
        for place, wanted in enumerate(term.match_label_expressions or ()):
            if wanted.key in NODE_LABELS:
                yield f"allowedTopologies[{index}].matchLabelExpressions[{place}].key: {NODE_LABELS[wanted.key]}"


def class_name_cell(found: StorageClass, now: float) -> str:
    notes = found.metadata.annotations or {}
    name = found.metadata.name or ""
    return f"{name} (default)" if any(notes.get(key) == "true" for key in DEFAULT_ANNOTATIONS) else name


STORAGE_CLASSES = Resource(
    kind=kind_of(StorageClass),
    short_names=("sc",),
    default=lambda found: filled(found, reclaim_policy="Delete", volume_binding_mode="Immediate"),
    validate=validate_class,
    validate_update=validate_class_update,
    warnings=class_warnings,
    columns=(
        Column("Name", class_name_cell, format="name", of="meta_v1.ObjectMeta.name"),
        Column("Provisioner", lambda found, now: found.provisioner, of="storage_v1.StorageClass.provisioner"),
        Column(
            "ReclaimPolicy",
            lambda found, now: found.reclaim_policy or "Delete",
            of="storage_v1.StorageClass.reclaimPolicy",
        ),
        Column(
            "VolumeBindingMode",
            lambda found, now: found.volume_binding_mode or "Immediate",
            of="storage_v1.StorageClass.volumeBindingMode",
        ),
        Column(
            "AllowVolumeExpansion",
            lambda found, now: bool(found.allow_volume_expansion),
            of="storage_v1.StorageClass.allowVolumeExpansion",
        ),
        AGE,
    ),
)


def validate_attributes_class(found: VolumeAttributesClass) -> Iterator[FieldError]:
    yield from named("driverName", found.driver_name, lambda text: names.qualified_name(text.lower()))
    if not found.parameters:
        yield required("parameters", "must contain at least one key/value pair")
    else:
        yield from validate_parameters(found.parameters, "parameters")


def validate_attributes_update(found: VolumeAttributesClass, old: VolumeAttributesClass) -> Iterator[FieldError]:
    if found.driver_name != old.driver_name:
        yield forbidden_field("driverName", "updates to driverName are forbidden.")
    if (found.parameters or {}) != (old.parameters or {}):
        yield forbidden_field("parameters", "updates to parameters are forbidden.")
    yield from validate_attributes_class(found)


VOLUME_ATTRIBUTES_CLASSES = Resource(
    kind=kind_of(VolumeAttributesClass),
    short_names=("vac",),
    validate=validate_attributes_class,
    validate_update=validate_attributes_update,
    columns=(
        NAME,
        Column("DriverName", lambda found, now: found.driver_name, of="storage_v1.VolumeAttributesClass.driverName"),
        AGE,
    ),
)


# --- volumeattachments ------------------------------------------------------------------------------------------------


def validate_attachment(found: VolumeAttachment) -> Iterator[FieldError]:
    yield from validate_attached(found)
    yield from validate_driver_name(found.spec.attacher, "spec.attacher")
    name = found.spec.source.persistent_volume_name
    if name is not None:
        for wrong in names.dns1123_subdomain(name):
            yield invalid_value("spec.source.persistentVolumeName", name, wrong)


def validate_attached(found: VolumeAttachment) -> Iterator[FieldError]:
    """Also of one that is there already, whose driver and volume may have names of old."""
    if not found.spec.attacher:
        yield required("spec.attacher")
    yield from validate_source(found.spec.source, "spec.source")
    for wrong in names.dns1123_subdomain(found.spec.node_name):
        yield invalid_value("spec.nodeName", found.spec.node_name, wrong)
    told = found.status.attachment_metadata or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in told.items()) > PARAMETERS_BYTES_MAX:
        yield too_long("status.attachmentMetadata", "", PARAMETERS_BYTES_MAX)
    yield from validate_error(found.status.attach_error, "status.attachError")
    yield from validate_error(found.status.detach_error, "status.detachError")


def validate_source(source: VolumeAttachmentSource, at: str) -> Iterator[FieldError]:
    one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if source.inline_volume_spec is not None and source.persistent_volume_name is not None:
        yield forbidden_field(at, one)
    elif source.inline_volume_spec is not None:
        yield from validate_inline_spec(source.inline_volume_spec, f"{at}.inlineVolumeSpec")
    elif source.persistent_volume_name is None:
        yield required(at, one)
    elif not source.persistent_volume_name:
        yield required(f"{at}.persistentVolumeName", "must specify non empty persistentVolumeName")


def validate_error(error: VolumeError | None, at: str) -> Iterator[FieldError]:
    if error is None:
        return
    if len((error.message or "").encode()) > MESSAGE_BYTES_MAX:
        yield too_long(f"{at}.message", "", PARAMETERS_BYTES_MAX)  # upstream names the other limit
    if error.error_code is not None and error.error_code < 0:
        yield invalid_value(f"{at}.errorCode", error.error_code, between(0, INT32_MAX))


def validate_attachment_update(found: VolumeAttachment, old: VolumeAttachment) -> Iterator[FieldError]:
    yield from validate_attached(found)
    yield from immutable("spec", found.spec, old.spec)


VOLUME_ATTACHMENTS = Resource(
    kind=kind_of(VolumeAttachment),
    version_needed=True,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_attachment,
    validate_update=validate_attachment_update,
    subresources=(status("all", validate=validate_attachment_update),),
    columns=(
        NAME,
        Column(
            "Attacher",
            lambda found, now: found.spec.attacher,
            format="name",
            of="storage_v1.VolumeAttachmentSpec.attacher",
        ),
        Column(
            "PV",
            lambda found, now: found.spec.source.persistent_volume_name or "",
            of="storage_v1.VolumeAttachmentSource.persistentVolumeName",
        ),
        Column("Node", lambda found, now: found.spec.node_name, of="storage_v1.VolumeAttachmentSpec.nodeName"),
        Column(
            "Attached",
            lambda found, now: found.status.attached,
            type="boolean",
            of="storage_v1.VolumeAttachmentStatus.attached",
        ),
        AGE,
    ),
)
