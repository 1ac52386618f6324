"""persistentvolumeclaims: what storage somebody asks for. Once bound, only more of it can be asked for."""

from collections.abc import Iterator

from kybern.api import names, quantity
from kybern.api.core_v1 import (
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    TypedLocalObjectReference,
    TypedObjectReference,
    VolumeResourceRequirements,
)
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.api.shape import Quantity
from kybern.registry.checks import immutable, judged, label_selector
from kybern.registry.columns import AGE, NAME, UNSET, or_unset
from kybern.registry.defaulting import filled, part
from kybern.registry.difference import difference
from kybern.registry.parts import changed, keep_status, kind_of, status
from kybern.registry.resource import Column, Resource

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
SHORT_MODES = (
    ("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP"),
)  # fmt: skip
VOLUME_MODES = ("Block", "Filesystem")
CLAIM_OR_SNAPSHOT = (("PersistentVolumeClaim", ""), ("VolumeSnapshot", "snapshot.storage.k8s.io"))
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
IMMUTABLE_SPEC = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def default_claim(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    claim = part(claim, "spec", lambda spec: filled(spec, volume_mode="Filesystem"))
    return part(claim, "status", lambda found: filled(found, phase="Pending"))


def on_create(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    spec = with_both_sources(with_known_sources(claim.spec, PersistentVolumeClaimSpec()))
    return changed(claim, spec=spec, status=PersistentVolumeClaimStatus(phase="Pending"))


def on_update(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> PersistentVolumeClaim:
    spec = with_both_sources(with_known_sources(claim.spec, old.spec))
    claim = keep_status(claim, old)
    return claim if spec is claim.spec else changed(claim, spec=spec)


def with_known_sources(spec: PersistentVolumeClaimSpec, old: PersistentVolumeClaimSpec) -> PersistentVolumeClaimSpec:
    """What is filled from another namespace is left out, upstream's alpha; the old field never told of more than claims
    and snapshots. A claim that has such a source keeps it."""
    ref, source = spec.data_source_ref, spec.data_source
    if ref is not None and ref.namespace and old.data_source_ref is None:
        spec, ref = changed(spec, data_source_ref=None), None
    if source is None or ref is not None or old.data_source is not None or old.data_source_ref is not None:
        return spec
    return spec if (source.kind, source.api_group or "") in CLAIM_OR_SNAPSHOT else changed(spec, data_source=None)


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
    yield from validate_data_sources(spec, at)
    yield from judged(f"{at}.volumeAttributesClassName", spec.volume_attributes_class_name, names.dns1123_subdomain)


def validate_data_sources(spec: PersistentVolumeClaimSpec, at: str) -> Iterator[FieldError]:
    old, new = spec.data_source, spec.data_source_ref
    for field, source in (("dataSource", old), ("dataSourceRef", new)):
        if source is None:
            continue
        for name, value in (("name", source.name), ("kind", source.kind)):
            if not value:
                yield required(f"{at}.{field}.{name}")
        if not source.api_group and source.kind != "PersistentVolumeClaim":
            why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            yield invalid_value(f"{at}.{field}", source.kind, why)
        yield from judged(f"{at}.{field}.apiGroup", source.api_group, names.dns1123_subdomain)
    if new is not None:
        yield from judged(f"{at}.dataSourceRef.namespace", new.namespace, names.dns1123_label)
    if new is None or old is None:
        return
    if new.namespace:
        why = "may not be specified when dataSourceRef.namespace is specified"
        yield invalid_value(at, f"{at}.dataSource", why)
    elif (old.api_group, old.kind, old.name) != (new.api_group, new.kind, new.name):
        yield invalid_value(at, f"{at}.dataSource", "must match dataSourceRef")


def validate_access_modes(
    modes: tuple[str, ...] | None, at: str, missing: str = "at least 1 access mode is required"
) -> Iterator[FieldError]:
    if not modes:
        yield required(at, missing)
        return
    for mode in modes:
        if mode not in ACCESS_MODES:
            yield not_supported(at, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and not set(modes).isdisjoint(set(ACCESS_MODES) - {"ReadWriteOncePod"}):
        yield forbidden_field(at, "may not use ReadWriteOncePod with other access modes")


def validate_update(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Iterator[FieldError]:
    yield from validate(claim)
    before, leftover = old.spec, claim.spec
    if not before.volume_name:
        before = changed(before, volume_name=leftover.volume_name)  # the binder sets it, once
    if moved_from_annotation(claim, old):
        leftover = changed(leftover, storage_class_name=None)
    else:
        yield from immutable(
            f"metadata.annotations.{CLASS_ANNOTATION}", annotated_class(claim) or "", annotated_class(old) or ""
        )
        if class_may_be_set(claim, old):
            leftover = changed(leftover, storage_class_name=before.storage_class_name)
    if old.status.phase == "Bound":
        leftover = changed(leftover, volume_attributes_class_name=before.volume_attributes_class_name)
        leftover = changed(leftover, resources=with_storage(leftover.resources, storage_of(before)))
    if leftover != before:
        shown = difference("core.PersistentVolumeClaimSpec", before, leftover)
        yield forbidden_field("spec", f"{IMMUTABLE_SPEC}\n{shown}")
    yield from validate_growth(claim, old)
    yield from immutable("volumeMode", claim.spec.volume_mode, old.spec.volume_mode)
    now, was = claim.spec.volume_attributes_class_name, old.spec.volume_attributes_class_name
    if now != was and not now and old.status.current_volume_attributes_class_name is not None:
        what = "nil" if now is None else "empty string"
        why = f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
        yield forbidden_field("spec.volumeAttributesClassName", why)


def annotated_class(claim: PersistentVolumeClaim) -> str | None:
    return (claim.metadata.annotations or {}).get(CLASS_ANNOTATION)


def moved_from_annotation(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> bool:
    """Whether the class that the annotation told is now told by the field."""
    before = annotated_class(old)
    if before is None or old.spec.storage_class_name is not None:
        return False
    return claim.spec.storage_class_name == before and annotated_class(claim) in (None, before)


def class_may_be_set(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> bool:
    """A claim without a class may get one late: the default, say."""
    if claim.spec.storage_class_name is None or old.spec.storage_class_name is not None:
        return False
    return annotated_class(old) in (None, claim.spec.storage_class_name)


def storage_of(spec: PersistentVolumeClaimSpec) -> Quantity | None:
    return (spec.resources.requests or {}).get("storage") if spec.resources is not None else None


def with_storage(
    resources: VolumeResourceRequirements | None, storage: Quantity | None
) -> VolumeResourceRequirements | None:
    if resources is None or resources.requests is None or storage is None:
        return resources
    return changed(resources, requests={**resources.requests, "storage": storage})


def validate_growth(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Iterator[FieldError]:
    """A claim shrinks back after a failed growth, never below what there is."""
    now, before = storage_of(claim.spec) or "0", storage_of(old.spec) or "0"
    there = (old.status.capacity or {}).get("storage", "0")
    if quantity.compare(now, before) < 0 and quantity.compare(now, there) <= 0:
        yield forbidden_field("spec.resources.requests.storage", "field can not be less than status.capacity")


RESIZE_STATES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip


def validate_status(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Iterator[FieldError]:
    found = claim.status
    for name, amount in (found.capacity or {}).items():
        yield from validate_stored_amount(amount, f"status.capacity[{name}]")
    for name, state in (found.allocated_resource_statuses or {}).items():
        yield from validate_storage_name(name, "status.allocatedResourceStatus")
        if state not in RESIZE_STATES:
            yield not_supported("status.allocatedResourceStatus", name, RESIZE_STATES)
    for name, amount in (found.allocated_resources or {}).items():
        yield from validate_storage_name(name, "status.allocatedResources")
        yield from validate_stored_amount(amount, f"status.allocatedResources[{name}]")


def validate_storage_name(name: str, at: str) -> Iterator[FieldError]:
    wrong = names.qualified_name(name)
    for text in wrong:
        yield invalid_value(at, name, text)
    if not wrong and name != "storage" and ("/" not in name or "kubernetes.io/" in name):
        yield not_supported(at, name, ("storage",))


def validate_stored_amount(amount: Quantity, at: str) -> Iterator[FieldError]:
    if quantity.parse(amount).nano < 0:
        yield invalid_value(at, quantity.value(amount), "must be a valid resource quantity")


def warnings(claim: PersistentVolumeClaim, old: PersistentVolumeClaim | None) -> Iterator[str]:
    if CLASS_ANNOTATION in (claim.metadata.annotations or {}):
        yield f'metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use "storageClassName" attribute instead'
    yield from claim_spec_warnings(claim.spec, "spec")


def claim_spec_warnings(spec: PersistentVolumeClaimSpec, at: str) -> Iterator[str]:
    """Part of a byte: most likely `M` was meant where `m` stands."""
    if spec.resources is None:
        return
    for field, amounts in (("requests", spec.resources.requests), ("limits", spec.resources.limits)):
        amount = (amounts or {}).get("storage")
        if amount is not None and quantity.milli(amount) % 1000:
            here = f"{at}.resources.{field}[storage]"
            yield f'{here}: fractional byte value "{amount}" is invalid, must be an integer'


def short_modes(modes: tuple[str, ...] | None) -> str:
    return ",".join(short for mode, short in SHORT_MODES if mode in (modes or ()))


def class_of(claim: PersistentVolumeClaim) -> str:
    annotated = (claim.metadata.annotations or {}).get(CLASS_ANNOTATION)
    return annotated if annotated is not None else claim.spec.storage_class_name or ""


def status_cell(claim: PersistentVolumeClaim, now: float) -> str:
    return "Terminating" if claim.metadata.deletion_timestamp else claim.status.phase or ""


def capacity_cell(claim: PersistentVolumeClaim, now: float) -> str:
    return (claim.status.capacity or {}).get("storage", "0") if claim.spec.volume_name else ""


PERSISTENT_VOLUME_CLAIMS = Resource(
    kind=kind_of(PersistentVolumeClaim),
    short_names=("pvc",),
    default=default_claim,
    on_create=on_create,
    on_update=on_update,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    subresources=(status(validate=validate_status),),
    columns=(
        NAME,
        Column("Status", status_cell, of="core_v1.PersistentVolumeClaimStatus.phase"),
        Column(
            "Volume", lambda claim, now: claim.spec.volume_name or "", of="core_v1.PersistentVolumeClaimSpec.volumeName"
        ),
        Column("Capacity", capacity_cell, of="core_v1.PersistentVolumeClaimStatus.capacity"),
        Column(
            "Access Modes",
            lambda c, now: short_modes(c.status.access_modes) if c.spec.volume_name else "",
            of="core_v1.PersistentVolumeClaimStatus.accessModes",
        ),
        Column("StorageClass", lambda claim, now: class_of(claim), description="StorageClass of the pvc"),
        Column(
            "VolumeAttributesClass",
            lambda claim, now: or_unset(claim.spec.volume_attributes_class_name),
            description="VolumeAttributesClass of the pvc",
        ),
        AGE,
        Column(
            "VolumeMode",
            lambda claim, now: claim.spec.volume_mode or UNSET,
            priority=1,
            of="core_v1.PersistentVolumeClaimSpec.volumeMode",
        ),
    ),
)
