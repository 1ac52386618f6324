"""storageclasses, volumeattachments, CSI drivers and what they tell about themselves."""

from collections.abc import Iterator, Mapping

from kybern.api import names, quantity
from kybern.api.core_v1 import TopologySelectorLabelRequirement, TopologySelectorTerm
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from kybern.api.storage_v1 import (
    CSIDriver,
    CSIDriverSpec,
    CSINode,
    CSIStorageCapacity,
    StorageClass,
    VolumeAttachment,
    VolumeAttributesClass,
)
from kybern.registry.checks import NOT_NEGATIVE, immutable, label_selector, named, not_negative, repeated
from kybern.registry.columns import AGE, NAME, UNSET
from kybern.registry.defaulting import filled, part
from kybern.registry.drivers import validate_driver_name
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, status
from kybern.registry.resource import Column, Resource

PARAMETERS_MAX = 512
PARAMETERS_BYTES_MAX = 256 * 1024
NODE_ID_BYTES_MAX = 256
UPDATE_SECONDS_MIN = 10
TOKEN_SECONDS_MIN = 600
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
    again = repeated(map(topology_of, terms))
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
    columns=(
        Column("Name", class_name_cell, format="name"),
        Column("Provisioner", lambda found, now: found.provisioner),
        Column("ReclaimPolicy", lambda found, now: found.reclaim_policy or "Delete"),
        Column("VolumeBindingMode", lambda found, now: found.volume_binding_mode or UNSET),
        Column("AllowVolumeExpansion", lambda found, now: bool(found.allow_volume_expansion)),
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


VOLUME_ATTRIBUTES_CLASSES = Resource(
    kind=kind_of(VolumeAttributesClass),
    short_names=("vac",),
    validate=validate_attributes_class,
    validate_update=validate_attributes_update,
    columns=(NAME, Column("DriverName", lambda found, now: found.driver_name), AGE),
)


# --- volumeattachments ------------------------------------------------------------------------------------------------


def validate_attachment(found: VolumeAttachment) -> Iterator[FieldError]:
    yield from named("spec.attacher", found.spec.attacher, lambda text: names.dns1123_subdomain(text.lower()))
    if not found.spec.node_name:
        yield required("spec.nodeName")
    source = found.spec.source
    if (source.persistent_volume_name is None) == (source.inline_volume_spec is None):
        why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        yield required("spec.source", why)
    elif source.persistent_volume_name == "":
        yield required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")


def validate_attachment_update(found: VolumeAttachment, old: VolumeAttachment) -> Iterator[FieldError]:
    if found.spec != old.spec:
        yield invalid_value("spec", found.spec, "field is immutable")


VOLUME_ATTACHMENTS = Resource(
    kind=kind_of(VolumeAttachment),
    version_needed=True,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_attachment,
    validate_update=validate_attachment_update,
    subresources=(status("all"),),
    columns=(
        NAME,
        Column("Attacher", lambda found, now: found.spec.attacher, format="name"),
        Column("PV", lambda found, now: found.spec.source.persistent_volume_name or ""),
        Column("Node", lambda found, now: found.spec.node_name),
        Column("Attached", lambda found, now: found.status.attached, type="boolean"),
        AGE,
    ),
)


# --- CSI --------------------------------------------------------------------------------------------------------------


def default_driver(driver: CSIDriver) -> CSIDriver:
    return part(driver, "spec", default_driver_spec)


def default_driver_spec(spec: CSIDriverSpec) -> CSIDriverSpec:
    return filled(
        spec,
        attach_required=True,
        pod_info_on_mount=False,
        storage_capacity=False,
        fs_group_policy="ReadWriteOnceWithFSType",
        requires_republish=False,
        volume_lifecycle_modes=("Persistent",),
        se_linux_mount=False,
    )


def validate_driver(driver: CSIDriver) -> Iterator[FieldError]:
    yield from validate_driver_name(driver.metadata.name or "", "metadata.name")
    seconds = driver.spec.node_allocatable_update_period_seconds
    if seconds is not None and seconds < UPDATE_SECONDS_MIN:
        here = "spec.nodeAllocatableUpdatePeriodSeconds"
        yield invalid_value(here, seconds, f"must be greater than or equal to {UPDATE_SECONDS_MIN} seconds")
    again = repeated(request.audience for request in driver.spec.token_requests or ())
    for index, request in enumerate(driver.spec.token_requests or ()):
        at = f"spec.tokenRequests[{index}]"
        if index in again:
            yield duplicate(f"{at}.audience", request.audience)
        expires = request.expiration_seconds
        if expires is not None and expires < TOKEN_SECONDS_MIN:
            yield invalid_value(f"{at}.expirationSeconds", expires, "may not specify a duration less than 10 minutes")
        if expires is not None and expires > 2**32:
            why = "may not specify a duration larger than 2^32 seconds"
            yield invalid_value(f"{at}.expirationSeconds", expires, why)
    for mode in driver.spec.volume_lifecycle_modes or ():
        if mode not in ("Ephemeral", "Persistent"):
            yield not_supported("spec.volumeLifecycleModes", mode, ("Ephemeral", "Persistent"))
    policies = ("File", "None", "ReadWriteOnceWithFSType")
    if driver.spec.fs_group_policy is not None and driver.spec.fs_group_policy not in policies:
        yield not_supported("spec.fsGroupPolicy", driver.spec.fs_group_policy, policies)


def tokens_cell(driver: CSIDriver, now: float) -> str:
    return ",".join(token.audience for token in driver.spec.token_requests or ()) or UNSET


def validate_driver_update(driver: CSIDriver, old: CSIDriver) -> Iterator[FieldError]:
    yield from validate_driver(driver)
    yield from immutable("spec.attachedRequired", driver.spec.attach_required, old.spec.attach_required)
    modes = driver.spec.volume_lifecycle_modes, old.spec.volume_lifecycle_modes
    yield from immutable("spec.volumeLifecycleModes", *modes)


CSI_DRIVERS = Resource(
    kind=kind_of(CSIDriver),
    version_needed=True,
    default=default_driver,
    validate=validate_driver,
    validate_update=validate_driver_update,
    generation=lambda driver: driver.spec,
    columns=(
        NAME,
        Column("AttachRequired", lambda driver, now: bool(driver.spec.attach_required), type="boolean"),
        Column("PodInfoOnMount", lambda driver, now: bool(driver.spec.pod_info_on_mount), type="boolean"),
        Column("StorageCapacity", lambda driver, now: bool(driver.spec.storage_capacity), type="boolean"),
        Column("TokenRequests", tokens_cell),
        Column("RequiresRepublish", lambda driver, now: bool(driver.spec.requires_republish), type="boolean"),
        Column("Modes", lambda driver, now: ",".join(driver.spec.volume_lifecycle_modes or ()) or UNSET),
        AGE,
    ),
)


def validate_csi_node(node: CSINode) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, driver in enumerate(node.spec.drivers):
        at = f"spec.drivers[{index}]"
        yield from validate_driver_name(driver.name, f"{at}.name")
        if not driver.node_id:
            yield required(f"{at}.nodeID")
        elif len(driver.node_id) > NODE_ID_BYTES_MAX:
            yield invalid_value(f"{at}.nodeID", driver.node_id, f"must be {NODE_ID_BYTES_MAX} characters or less")
        count = driver.allocatable.count if driver.allocatable is not None else None
        yield from not_negative(f"{at}.allocatable.count", count)
        keys = driver.topology_keys or ()
        again = repeated(keys)
        for place, key in enumerate(keys):
            if not key:
                yield required(f"{at}.topologyKeys")
            if place in again:
                yield duplicate(f"{at}.topologyKeys", key)
            for wrong in names.qualified_name(key):
                yield invalid_value(f"{at}.topologyKeys", key, wrong)
        if driver.name in seen:
            yield duplicate(f"{at}.name", driver.name)
        seen.add(driver.name)


def validate_csi_node_update(node: CSINode, old: CSINode) -> Iterator[FieldError]:
    """Drivers come and go; of one that stays, only how many volumes it takes may change."""
    yield from validate_csi_node(node)
    before = {driver.name: driver for driver in old.spec.drivers}
    for driver in node.spec.drivers:
        known = before.get(driver.name)
        if known is not None and changed(driver, allocatable=known.allocatable) != known:
            yield from immutable("CSINodeDriver", driver, known)


CSI_NODES = Resource(
    kind=kind_of(CSINode),
    version_needed=True,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_csi_node,
    validate_update=validate_csi_node_update,
    subresources=(status(),),
    columns=(NAME, Column("Drivers", lambda node, now: len(node.spec.drivers), type="integer"), AGE),
)


def validate_storage_capacity(found: CSIStorageCapacity) -> Iterator[FieldError]:
    yield from named("storageClassName", found.storage_class_name, names.dns1123_subdomain)
    yield from label_selector(found.node_topology, "nodeTopology")
    for field, size in (("capacity", found.capacity), ("maximumVolumeSize", found.maximum_volume_size)):
        if size is not None and quantity.parse(size).nano < 0:
            yield invalid_value(field, quantity.canonical(size), NOT_NEGATIVE)


def validate_storage_capacity_update(found: CSIStorageCapacity, old: CSIStorageCapacity) -> Iterator[FieldError]:
    yield from validate_storage_capacity(found)
    yield from immutable("nodeTopology", found.node_topology, old.node_topology)
    yield from immutable("storageClassName", found.storage_class_name, old.storage_class_name)


CSI_STORAGE_CAPACITIES = Resource(
    kind=kind_of(CSIStorageCapacity),
    version_needed=True,
    validate=validate_storage_capacity,
    validate_update=validate_storage_capacity_update,
    columns=(
        NAME,
        Column("StorageClassName", lambda found, now: found.storage_class_name),
        Column("Capacity", lambda found, now: found.capacity or UNSET),
    ),
)
