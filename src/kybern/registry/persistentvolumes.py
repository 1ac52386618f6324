"""persistentvolumes: storage that exists, whoever may claim it."""

import posixpath
from collections.abc import Iterator

from kybern.api import names, quantity
from kybern.api.core_v1 import (
    CSIPersistentVolumeSource,
    HostPathVolumeSource,
    ISCSIPersistentVolumeSource,
    NodeSelectorTerm,
    PersistentVolume,
    PersistentVolumeSpec,
    PersistentVolumeStatus,
    VolumeNodeAffinity,
)
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import immutable, judged, named
from kybern.registry.columns import AGE, NAME, UNSET, or_unset
from kybern.registry.defaulting import filled, part
from kybern.registry.difference import difference
from kybern.registry.drivers import (
    COMMON,
    PORTAL_TOO_LONG,
    Check,
    portal_too_long,
    validate_driver_name,
    validate_iscsi,
    validate_local,
    validate_one_source,
)
from kybern.registry.node_labels import term_warnings
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
MOUNT_ANNOTATION = "volume.beta.kubernetes.io/mount-options"
WITH_MOUNT_OPTIONS = (
    "gce_persistent_disk", "aws_elastic_block_store", "glusterfs", "nfs", "rbd", "quobyte", "iscsi", "cinder", "cephfs",
    "azure_file", "vsphere_volume", "azure_disk", "photon_persistent_disk",
)  # fmt: skip
LABELS_OF_TODAY = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def default(volume: PersistentVolume) -> PersistentVolume:
    volume = part(volume, "spec", default_spec)
    return part(volume, "status", lambda found: filled(found, phase="Pending"))


def default_spec(spec: PersistentVolumeSpec) -> PersistentVolumeSpec:
    spec = filled(spec, persistent_volume_reclaim_policy="Retain", volume_mode="Filesystem")
    if spec.host_path is not None and spec.host_path.type is None:
        spec = changed(spec, host_path=changed(spec.host_path, type=""))
    return spec


def on_create(volume: PersistentVolume) -> PersistentVolume:
    since = volume.status.last_phase_transition_time
    return changed(volume, status=PersistentVolumeStatus(phase="Pending", last_phase_transition_time=since))


def validate(volume: PersistentVolume) -> Iterator[FieldError]:
    spec = volume.spec
    yield from validate_access_modes(spec.access_modes, "spec.accessModes", "")
    yield from validate_capacity(spec)
    if spec.persistent_volume_reclaim_policy and spec.persistent_volume_reclaim_policy not in RECLAIM_POLICIES:
        here = "spec.persistentVolumeReclaimPolicy"
        yield not_supported(here, spec.persistent_volume_reclaim_policy, RECLAIM_POLICIES)
    if spec.node_affinity is not None:
        if spec.node_affinity.required is None:
            yield required("spec.nodeAffinity.required", "must specify required node constraints")
        else:
            yield from validate_node_selector(spec.node_affinity.required, "spec.nodeAffinity.required")
    yield from validate_sources(spec, volume.metadata.name or "", "spec")
    yield from judged("spec.storageClassName", spec.storage_class_name, names.dns1123_subdomain)
    yield from validate_mode_and_class(spec, "spec")
    if MOUNT_ANNOTATION in (volume.metadata.annotations or {}) and not has_mount_options(spec):
        here = f"metadata.annotations.{MOUNT_ANNOTATION}"
        yield forbidden_field(here, "may not specify mount options for this volume type")


def has_mount_options(spec: PersistentVolumeSpec) -> bool:
    return any(getattr(spec, name) is not None for name in WITH_MOUNT_OPTIONS)


def validate_sources(spec: PersistentVolumeSpec, volume: str, at: str) -> Iterator[FieldError]:
    yield from validate_one_source(spec, VALIDATED_SOURCES, at)
    if spec.local is not None and spec.node_affinity is None:
        yield required(f"{at}.nodeAffinity", "Local volume requires node affinity")
    if spec.iscsi is not None and portal_too_long(spec.iscsi, volume):
        yield invalid_value(f"{at}.iscsi.targetportal", spec.iscsi.target_portal, PORTAL_TOO_LONG)
    if spec.persistent_volume_reclaim_policy == "Recycle" and is_root(spec.host_path):
        why = "may not be 'recycle' for a hostPath mount of '/'"
        yield forbidden_field(f"{at}.persistentVolumeReclaimPolicy", why)


def validate_mode_and_class(spec: PersistentVolumeSpec, at: str) -> Iterator[FieldError]:
    if spec.volume_mode is not None and spec.volume_mode not in VOLUME_MODES:
        yield not_supported(f"{at}.volumeMode", spec.volume_mode, VOLUME_MODES)
    if spec.volume_attributes_class_name is not None:
        yield from validate_attributes_class(spec, at)


def validate_inline_spec(spec: PersistentVolumeSpec, at: str) -> Iterator[FieldError]:
    """Of a volume that is nobody's object: a pod's own, on its way to a node."""
    never = "may not be specified in the context of inline volumes"
    for field, value in (("claimRef", spec.claim_ref), ("capacity", spec.capacity)):
        if value:
            yield forbidden_field(f"{at}.{field}", never)
    if spec.csi is None:
        yield required(f"{at}.csi", "has to be specified in the context of inline volumes")
    yield from validate_access_modes(spec.access_modes, f"{at}.accessModes", "")
    if spec.persistent_volume_reclaim_policy not in (None, "", "Retain"):
        why = "may only be Retain in the context of inline volumes"
        yield forbidden_field(f"{at}.persistentVolumeReclaimPolicy", why)
    if spec.node_affinity is not None:
        yield forbidden_field(f"{at}.nodeAffinity", never)
    yield from validate_sources(spec, "", at)
    if spec.storage_class_name:
        yield forbidden_field(f"{at}.storageClassName", never)
    if spec.volume_mode not in (None, "Filesystem"):
        why = "may not specify volumeMode other than Filesystem in the context of inline volumes"
        yield forbidden_field(f"{at}.volumeMode", why)
    if spec.volume_attributes_class_name is not None:
        yield from validate_attributes_class(spec, at)


def is_root(source: HostPathVolumeSource | None) -> bool:
    return source is not None and source.path.startswith("/") and posixpath.normpath(source.path).strip("/") == ""


def validate_attributes_class(spec: PersistentVolumeSpec, at: str) -> Iterator[FieldError]:
    here = f"{at}.volumeAttributesClassName"
    if not spec.volume_attributes_class_name:
        yield required(here, "an empty string is disallowed")
    yield from judged(here, spec.volume_attributes_class_name, names.dns1123_subdomain)
    if spec.csi is None:
        yield required(f"{at}.csi", "has to be specified when using volumeAttributesClassName")


def validate_capacity(spec: PersistentVolumeSpec) -> Iterator[FieldError]:
    capacity = spec.capacity or {}
    if not capacity:
        yield required("spec.capacity")
    if capacity.keys() != {"storage"}:
        yield not_supported("spec.capacity", capacity, ("storage",))
    for name, amount in capacity.items():
        if quantity.parse(amount).nano < 0:
            yield invalid_value(f"spec.capacity[{name}]", quantity.value(amount), "must be a valid resource quantity")
        if quantity.parse(amount).nano <= 0:
            yield invalid_value(f"spec.capacity[{name}]", amount, "must be greater than zero")


def validate_csi(source: CSIPersistentVolumeSource, at: str) -> Iterator[FieldError]:
    yield from validate_driver_name(source.driver, f"{at}.driver")
    if not source.volume_handle:
        yield required(f"{at}.volumeHandle")
    for field, ref in (
        ("controllerPublishSecretRef", source.controller_publish_secret_ref),
        ("controllerExpandSecretRef", source.controller_expand_secret_ref),
        ("nodePublishSecretRef", source.node_publish_secret_ref),
        ("nodeExpandSecretRef", source.node_expand_secret_ref),
    ):
        if ref is not None:
            yield from named(f"{at}.{field}.name", ref.name, names.dns1123_subdomain)
            yield from named(f"{at}.{field}.namespace", ref.namespace, names.dns1123_label)


def validate_iscsi_volume(source: ISCSIPersistentVolumeSource, at: str) -> Iterator[FieldError]:
    yield from validate_iscsi(source, at)
    if source.secret_ref is not None and not source.secret_ref.name:
        yield required(f"{at}.secretRef.name")


VALIDATED_SOURCES: tuple[tuple[str, str, Check], ...] = (
    *COMMON,
    ("iscsi", "iscsi", validate_iscsi_volume),
    ("local", "local", validate_local),
    ("csi", "csi", validate_csi),
)


def validate_update(volume: PersistentVolume, old: PersistentVolume) -> Iterator[FieldError]:
    yield from validate(volume)
    new_source, source = source_of(with_late_secret(volume.spec, old.spec)), source_of(old.spec)
    if new_source != source:
        shown = difference("core.PersistentVolumeSource", source, new_source)
        why = f"spec.persistentvolumesource is immutable after creation\n{shown}"
        yield forbidden_field("spec.persistentvolumesource", why)
    yield from immutable("volumeMode", volume.spec.volume_mode, old.spec.volume_mode)
    if old.spec.node_affinity is not None and not same_nodes(volume.spec.node_affinity, old.spec.node_affinity):
        why = "field is immutable, except for updating from beta label to GA"
        yield invalid_value("nodeAffinity", volume.spec.node_affinity, why)
    if old.spec.volume_attributes_class_name is not None and volume.spec.volume_attributes_class_name is None:
        why = "update from non-nil value to nil is forbidden"
        yield forbidden_field("spec.volumeAttributesClassName", why)


def source_of(spec: PersistentVolumeSpec) -> PersistentVolumeSpec:
    """Nothing but where the data is."""
    return PersistentVolumeSpec(**{name: getattr(spec, name) for name in SOURCES})


def with_late_secret(new: PersistentVolumeSpec, old: PersistentVolumeSpec) -> PersistentVolumeSpec:
    """The secret for growing a volume may be told later."""
    if new.csi is None or old.csi is None or old.csi.controller_expand_secret_ref is not None:
        return new
    return changed(new, csi=changed(new.csi, controller_expand_secret_ref=None))


def same_nodes(new: VolumeNodeAffinity | None, old: VolumeNodeAffinity) -> bool:
    """The same, or with labels of old called by their names of today."""
    if new is None or new.required is None or old.required is None:
        return new == old
    terms, before = new.required.node_selector_terms, old.required.node_selector_terms
    return len(terms) == len(before) and all(map(same_term, terms, before))


def same_term(new: NodeSelectorTerm, old: NodeSelectorTerm) -> bool:
    now, before = new.match_expressions or (), old.match_expressions or ()
    if new.match_fields != old.match_fields or len(now) != len(before):
        return False
    return all(
        a == b or (LABELS_OF_TODAY.get(b.key) == a.key and changed(b, key=a.key) == a)
        for a, b in zip(now, before, strict=True)
    )


OLD_ANNOTATIONS = {
    CLASS_ANNOTATION: 'deprecated since v1.8; use "storageClassName" attribute instead',
    MOUNT_ANNOTATION: 'deprecated since v1.31; use "mountOptions" attribute instead',
}
RECYCLED = (
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is "
    "to use dynamic provisioning."
)
OLD_SOURCES = (
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photon_persistent_disk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scale_io", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)


def warnings(volume: PersistentVolume, old: PersistentVolume | None) -> Iterator[str]:
    for key, message in OLD_ANNOTATIONS.items():
        if key in (volume.metadata.annotations or {}):
            yield f"metadata.annotations[{key}]: {message}"
    spec = volume.spec
    if spec.persistent_volume_reclaim_policy == "Recycle":
        yield RECYCLED
    wanted = spec.node_affinity.required if spec.node_affinity is not None else None
    for index, term in enumerate(wanted.node_selector_terms if wanted is not None else ()):
        yield from term_warnings(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]")
    for attribute, field, message in OLD_SOURCES:
        if getattr(spec, attribute) is not None:
            yield f"spec.{field}: {message}"


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
    warnings=warnings,
    subresources=(status(),),
    columns=(
        NAME,
        Column(
            "Capacity",
            lambda volume, now: (volume.spec.capacity or {}).get("storage", "0"),
            of="core_v1.PersistentVolumeSpec.capacity",
        ),
        Column(
            "Access Modes",
            lambda volume, now: short_modes(volume.spec.access_modes),
            of="core_v1.PersistentVolumeSpec.accessModes",
        ),
        Column(
            "Reclaim Policy",
            lambda volume, now: volume.spec.persistent_volume_reclaim_policy or "",
            of="core_v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy",
        ),
        Column("Status", status_cell, of="core_v1.PersistentVolumeStatus.phase"),
        Column("Claim", claim_cell, of="core_v1.PersistentVolumeSpec.claimRef"),
        Column("StorageClass", class_cell, description="StorageClass of the pv"),
        Column(
            "VolumeAttributesClass",
            lambda volume, now: or_unset(volume.spec.volume_attributes_class_name),
            description="VolumeAttributesClass of the pv",
        ),
        Column("Reason", lambda volume, now: volume.status.reason or "", of="core_v1.PersistentVolumeStatus.reason"),
        AGE,
        Column(
            "VolumeMode",
            lambda volume, now: volume.spec.volume_mode or UNSET,
            priority=1,
            of="core_v1.PersistentVolumeSpec.volumeMode",
        ),
    ),
)
