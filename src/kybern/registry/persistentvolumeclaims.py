"""persistentvolumeclaims: what storage somebody asks for. Once bound, only more of it can be asked for."""

from collections.abc import Iterator

from kybern.api import names, quantity
from kybern.api.core_v1 import (
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    TypedLocalObjectReference,
    TypedObjectReference,
)
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import judged, label_selector
from kybern.registry.columns import AGE, NAME, UNSET
from kybern.registry.defaulting import filled, part
from kybern.registry.difference import difference
from kybern.registry.parts import changed, keep_status, kind_of, status
from kybern.registry.resource import Column, Resource

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
SHORT_MODES = (
    ("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP"),
)  # fmt: skip
VOLUME_MODES = ("Block", "Filesystem")
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
IMMUTABLE_SPEC = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def default_claim(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    claim = part(claim, "spec", lambda spec: filled(spec, volume_mode="Filesystem"))
    return part(claim, "status", lambda found: filled(found, phase="Pending"))


def on_create(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    return changed(claim, spec=with_both_sources(claim.spec), status=PersistentVolumeClaimStatus(phase="Pending"))


def with_both_sources(spec: PersistentVolumeClaimSpec) -> PersistentVolumeClaimSpec:
    """The source of a claim, in its old field and in its new one."""
    old, new = spec.data_source, spec.data_source_ref
    if old is not None and new is None:
        ref = TypedObjectReference(kind=old.kind, name=old.name, api_group=old.api_group)
        return changed(spec, data_source_ref=ref)
    if new is not None and old is None and not new.namespace:
        source = TypedLocalObjectReference(kind=new.kind, name=new.name, api_group=new.api_group)
        return changed(spec, data_source=source)
    return spec


def validate(claim: PersistentVolumeClaim) -> Iterator[FieldError]:
    yield from validate_claim_spec(claim.spec, "spec")


def validate_claim_spec(spec: PersistentVolumeClaimSpec, at: str) -> Iterator[FieldError]:
    yield from validate_access_modes(spec.access_modes, f"{at}.accessModes")
    yield from label_selector(spec.selector, f"{at}.selector")
    wanted = (spec.resources.requests or {}).get("storage") if spec.resources is not None else None
    if wanted is None:
        yield required(f"{at}.resources[storage]")
    elif quantity.parse(wanted).nano <= 0:
        yield invalid_value(f"{at}.resources[storage]", wanted, "must be greater than zero")
    yield from judged(f"{at}.storageClassName", spec.storage_class_name, names.dns1123_subdomain)
    if spec.volume_mode is not None and spec.volume_mode not in VOLUME_MODES:
        yield not_supported(f"{at}.volumeMode", spec.volume_mode, VOLUME_MODES)
    source = spec.data_source
    if source is not None:
        for field, value in (("name", source.name), ("kind", source.kind)):
            if not value:
                yield required(f"{at}.dataSource.{field}")
        if not source.api_group and source.kind != "PersistentVolumeClaim":
            why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            yield invalid_value(f"{at}.dataSource", source.kind, why)


def validate_access_modes(modes: tuple[str, ...] | None, at: str) -> Iterator[FieldError]:
    if not modes:
        yield required(at, "at least 1 access mode is required")
        return
    for mode in modes:
        if mode not in ACCESS_MODES:
            yield not_supported(at, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        yield forbidden_field(at, "may not use ReadWriteOncePod with other access modes")


def validate_update(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Iterator[FieldError]:
    yield from validate(claim)
    new, before = claim.spec, old.spec
    bound = old.status.phase == "Bound"
    if not before.volume_name:
        before = changed(before, volume_name=new.volume_name)  # the binder sets it, once
    leftover = changed(new, volume_attributes_class_name=before.volume_attributes_class_name)
    if before.storage_class_name is None:
        leftover = changed(leftover, storage_class_name=None)  # a default class may arrive late
    if bound:
        leftover = changed(leftover, resources=before.resources)
    if leftover != before:
        shown = difference("core.PersistentVolumeClaimSpec", before, leftover)
        yield forbidden_field("spec", f"{IMMUTABLE_SPEC}\n{shown}")
    elif bound:
        yield from validate_growth(claim, old)


def validate_growth(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Iterator[FieldError]:
    now = (claim.spec.resources.requests or {}).get("storage") if claim.spec.resources is not None else None
    floor = (old.status.capacity or {}).get("storage")
    if now and floor and quantity.compare(now, floor) < 0:
        why = "field can not be less than status.capacity"
        yield forbidden_field("spec.resources.requests.storage", why)


def short_modes(modes: tuple[str, ...] | None) -> str:
    return ",".join(short for mode, short in SHORT_MODES if mode in (modes or ()))


def class_of(claim: PersistentVolumeClaim) -> str:
    annotated = (claim.metadata.annotations or {}).get(CLASS_ANNOTATION)
    return annotated if annotated is not None else claim.spec.storage_class_name or ""


def status_cell(claim: PersistentVolumeClaim, now: float) -> str:
    return "Terminating" if claim.metadata.deletion_timestamp else claim.status.phase or ""


def capacity_cell(claim: PersistentVolumeClaim, now: float) -> str:
    return (claim.status.capacity or {}).get("storage", "") if claim.spec.volume_name else ""


PERSISTENT_VOLUME_CLAIMS = Resource(
    kind=kind_of(PersistentVolumeClaim),
    short_names=("pvc",),
    default=default_claim,
    on_create=on_create,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    subresources=(status(),),
    columns=(
        NAME,
        Column("Status", status_cell),
        Column("Volume", lambda claim, now: claim.spec.volume_name or ""),
        Column("Capacity", capacity_cell),
        Column("Access Modes", lambda c, now: short_modes(c.status.access_modes) if c.spec.volume_name else ""),
        Column("StorageClass", lambda claim, now: class_of(claim)),
        Column("VolumeAttributesClass", lambda claim, now: claim.spec.volume_attributes_class_name or UNSET),
        AGE,
        Column("VolumeMode", lambda claim, now: claim.spec.volume_mode or UNSET, priority=1),
    ),
)
