"""persistentvolumes: storage that exists, whoever may claim it."""

from collections.abc import Iterator

from kybern.api import names, quantity
from kybern.api.core_v1 import PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import judged, no_backsteps
from kybern.registry.columns import AGE, NAME, UNSET
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import changed, keep_status, kind_of, status
from kybern.registry.persistentvolumeclaims import (
    CLASS_ANNOTATION,
    VOLUME_MODES,
    short_modes,
    validate_access_modes,
)
from kybern.registry.podspec.placement import validate_node_selector
from kybern.registry.resource import Column, Resource

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
NO_SOURCES = {
    "access_modes", "capacity", "claim_ref", "mount_options", "node_affinity", "persistent_volume_reclaim_policy",
    "storage_class_name", "volume_attributes_class_name", "volume_mode",
}  # fmt: skip
SOURCES = tuple(name for name in PersistentVolumeSpec.__struct_fields__ if name not in NO_SOURCES)
CAMEL = dict(zip(PersistentVolumeSpec.__struct_fields__, PersistentVolumeSpec.__struct_encode_fields__, strict=True))


def default(volume: PersistentVolume) -> PersistentVolume:
    volume = part(volume, "spec", default_spec)
    return part(volume, "status", lambda found: filled(found, phase="Pending"))


def default_spec(spec: PersistentVolumeSpec) -> PersistentVolumeSpec:
    spec = filled(spec, persistent_volume_reclaim_policy="Retain", volume_mode="Filesystem")
    if spec.host_path is not None and spec.host_path.type is None:
        spec = changed(spec, host_path=changed(spec.host_path, type=""))
    return spec


def on_create(volume: PersistentVolume) -> PersistentVolume:
    return changed(volume, status=PersistentVolumeStatus(phase="Pending"))


def validate(volume: PersistentVolume) -> Iterator[FieldError]:
    spec = volume.spec
    yield from validate_access_modes(spec.access_modes, "spec.accessModes")
    yield from validate_capacity(spec)
    if spec.persistent_volume_reclaim_policy not in RECLAIM_POLICIES:
        here = "spec.persistentVolumeReclaimPolicy"
        yield not_supported(here, spec.persistent_volume_reclaim_policy, RECLAIM_POLICIES)
    yield from validate_one_source(spec)
    yield from judged("spec.storageClassName", spec.storage_class_name, names.dns1123_subdomain)
    if spec.volume_mode not in VOLUME_MODES:
        yield not_supported("spec.volumeMode", spec.volume_mode, VOLUME_MODES)
    if spec.node_affinity is not None and spec.node_affinity.required is not None:
        yield from validate_node_selector(spec.node_affinity.required, "spec.nodeAffinity.required")


def validate_capacity(spec: PersistentVolumeSpec) -> Iterator[FieldError]:
    if not spec.capacity:
        yield required("spec.capacity")
        return
    for name, amount in spec.capacity.items():
        if name != "storage":
            yield not_supported("spec.capacity", name, ("storage",))
        if quantity.parse(amount).nano <= 0:
            yield invalid_value(f"spec.capacity[{name}]", amount, "must be greater than zero")


def validate_one_source(spec: PersistentVolumeSpec) -> Iterator[FieldError]:
    found = [name for name in SOURCES if getattr(spec, name) is not None]
    if not found:
        yield required("spec", "must specify a volume type")
    for name in found[1:]:
        yield forbidden_field(f"spec.{CAMEL[name]}", "may not specify more than 1 volume type")
    if spec.host_path is not None:
        if not spec.host_path.path:
            yield required("spec.hostPath.path")
        yield from no_backsteps("spec.hostPath.path", spec.host_path.path)
    if spec.local is not None:
        if not spec.local.path:
            yield required("spec.local.path")
        yield from no_backsteps("spec.local.path", spec.local.path)
        if spec.node_affinity is None:
            yield required("spec.nodeAffinity", "Local volume requires node affinity")
    if spec.csi is not None:
        for field, value in (("driver", spec.csi.driver), ("volumeHandle", spec.csi.volume_handle)):
            if not value:
                yield required(f"spec.csi.{field}")


def validate_update(volume: PersistentVolume, old: PersistentVolume) -> Iterator[FieldError]:
    yield from validate(volume)
    if any(getattr(volume.spec, name) != getattr(old.spec, name) for name in SOURCES):
        yield forbidden_field("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    if volume.spec.volume_mode != old.spec.volume_mode:
        yield invalid_value("spec.volumeMode", volume.spec.volume_mode, "field is immutable")
    if old.spec.node_affinity is not None and volume.spec.node_affinity != old.spec.node_affinity:
        yield invalid_value("spec.nodeAffinity", volume.spec.node_affinity, "field is immutable")


def status_cell(volume: PersistentVolume, now: float) -> str:
    return "Terminating" if volume.metadata.deletion_timestamp else volume.status.phase or ""


def claim_cell(volume: PersistentVolume, now: float) -> str:
    ref = volume.spec.claim_ref
    return f"{ref.namespace or ''}/{ref.name or ''}" if ref is not None else ""


def class_cell(volume: PersistentVolume, now: float) -> str:
    annotated = (volume.metadata.annotations or {}).get(CLASS_ANNOTATION)
    return annotated if annotated is not None else volume.spec.storage_class_name or ""


PERSISTENT_VOLUMES = Resource(
    kind=kind_of(PersistentVolume),
    short_names=("pv",),
    default=default,
    on_create=on_create,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    subresources=(status(),),
    columns=(
        NAME,
        Column("Capacity", lambda volume, now: (volume.spec.capacity or {}).get("storage", "")),
        Column("Access Modes", lambda volume, now: short_modes(volume.spec.access_modes)),
        Column("Reclaim Policy", lambda volume, now: volume.spec.persistent_volume_reclaim_policy or ""),
        Column("Status", status_cell),
        Column("Claim", claim_cell),
        Column("StorageClass", class_cell),
        Column("VolumeAttributesClass", lambda volume, now: volume.spec.volume_attributes_class_name or UNSET),
        Column("Reason", lambda volume, now: volume.status.reason or ""),
        AGE,
        Column("VolumeMode", lambda volume, now: volume.spec.volume_mode or UNSET, priority=1),
    ),
)
