"""csidrivers, csinodes, csistoragecapacities: what drivers of storage can do, where they run, and how much they have left."""

from collections.abc import Iterator

from kybern.api import names, quantity
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required
from kybern.api.storage_v1 import CSIDriver, CSIDriverSpec, CSINode, CSIStorageCapacity, TokenRequest
from kybern.registry.checks import NOT_NEGATIVE, immutable, label_selector, not_negative, repeated
from kybern.registry.columns import AGE, NAME, NONE, UNSET
from kybern.registry.defaulting import filled, part
from kybern.registry.drivers import validate_driver_name
from kybern.registry.node_labels import selector_warnings
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, status
from kybern.registry.resource import Column, Resource

NODE_ID_BYTES_MAX = 256
UPDATE_SECONDS_MIN = 10
TOKEN_SECONDS_MIN = 600
TOKEN_SECONDS_MAX = 2**32
GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LIFECYCLE_MODES = ("Persistent", "Ephemeral")
TOKENS_IN_ATTRIBUTES = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible "
    "logging of tokens in volume attributes"
)


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
    spec = driver.spec
    if spec.fs_group_policy is not None and spec.fs_group_policy not in GROUP_POLICIES:
        yield not_supported("spec.fsGroupPolicy", spec.fs_group_policy, GROUP_POLICIES)
    yield from validate_token_requests(spec.token_requests or (), "spec.tokenRequests")
    for mode in spec.volume_lifecycle_modes or ():
        if mode not in LIFECYCLE_MODES:
            yield not_supported("spec.volumeLifecycleModes", mode, LIFECYCLE_MODES)
    seconds = spec.node_allocatable_update_period_seconds
    if seconds is not None and seconds < UPDATE_SECONDS_MIN:
        here = "spec.nodeAllocatableUpdatePeriodSeconds"
        yield invalid_value(here, seconds, f"must be greater than or equal to {UPDATE_SECONDS_MIN} seconds")
    in_secrets = spec.service_account_token_in_secrets
    if in_secrets is not None and not spec.token_requests:
        why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        yield invalid_value("spec.serviceAccountTokenInSecrets", in_secrets, why)


def validate_token_requests(requests: tuple[TokenRequest, ...], at: str) -> Iterator[FieldError]:
    again = repeated(request.audience for request in requests)
    for index, request in enumerate(requests):
        here, expires = f"{at}[{index}]", request.expiration_seconds
        if index in again:
            yield duplicate(f"{here}.audience", request.audience)
        elif expires is not None and expires < TOKEN_SECONDS_MIN:
            yield invalid_value(f"{here}.expirationSeconds", expires, "may not specify a duration less than 10 minutes")
        elif expires is not None and expires > TOKEN_SECONDS_MAX:
            why = "may not specify a duration larger than 2^32 seconds"
            yield invalid_value(f"{here}.expirationSeconds", expires, why)


def driver_warnings(driver: CSIDriver, old: CSIDriver | None) -> Iterator[str]:
    """Tokens among the attributes of a volume end up in logs."""
    requests = driver.spec.token_requests
    if not requests or driver.spec.service_account_token_in_secrets is not None:
        return
    if old is None or old.spec.token_requests != requests:
        yield TOKENS_IN_ATTRIBUTES


def tokens_cell(driver: CSIDriver, now: float) -> str:
    requests = driver.spec.token_requests
    return UNSET if requests is None else ",".join(token.audience for token in requests)


def validate_driver_update(driver: CSIDriver, old: CSIDriver) -> Iterator[FieldError]:
    yield from validate_driver(driver)
    yield from immutable("spec.attachedRequired", driver.spec.attach_required, old.spec.attach_required)
    modes = driver.spec.volume_lifecycle_modes, old.spec.volume_lifecycle_modes
    yield from immutable("spec.volumeLifecycleModes", *modes)


def flag_column(title: str, name: str) -> Column:
    field = f"{title[0].lower()}{title[1:]}"
    return Column(
        title,
        lambda driver, now: bool(getattr(driver.spec, name)),
        type="boolean",
        of=f"storage_v1.CSIDriverSpec.{field}",
    )


CSI_DRIVERS = Resource(
    kind=kind_of(CSIDriver),
    version_needed=True,
    default=default_driver,
    validate=validate_driver,
    validate_update=validate_driver_update,
    warnings=driver_warnings,
    generation=lambda driver: driver.spec,
    columns=(
        NAME,
        flag_column("AttachRequired", "attach_required"),
        flag_column("PodInfoOnMount", "pod_info_on_mount"),
        flag_column("StorageCapacity", "storage_capacity"),
        Column("TokenRequests", tokens_cell, of="storage_v1.CSIDriverSpec.tokenRequests"),
        flag_column("RequiresRepublish", "requires_republish"),
        Column(
            "Modes",
            lambda driver, now: ",".join(driver.spec.volume_lifecycle_modes or ()) or NONE,
            of="storage_v1.CSIDriverSpec.volumeLifecycleModes",
        ),
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
        if driver.name in seen:
            yield duplicate(f"{at}.name", driver.name)
        seen.add(driver.name)
        keys = driver.topology_keys or ()
        again = repeated(keys)
        for place, key in enumerate(keys):
            if not key:
                yield required(at)
            if place in again:
                yield duplicate(at, key)
            for wrong in names.qualified_name(key):
                yield invalid_value(at, key, wrong)


def validate_csi_node_update(node: CSINode, old: CSINode) -> Iterator[FieldError]:
    """Drivers come and go; of one that stays, only how many volumes it takes may change."""
    yield from validate_csi_node(node)
    before = {driver.name: driver for driver in old.spec.drivers}
    for driver in node.spec.drivers:
        known = before.get(driver.name)
        if known is not None:
            yield from immutable("spec.drivers", changed(driver, allocatable=None), changed(known, allocatable=None))


CSI_NODES = Resource(
    kind=kind_of(CSINode),
    version_needed=True,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_csi_node,
    validate_update=validate_csi_node_update,
    subresources=(status(),),
    columns=(
        NAME,
        Column(
            "Drivers",
            lambda node, now: len(node.spec.drivers),
            type="integer",
            description="Drivers indicates the number of CSI drivers registered on the node",
        ),
        AGE,
    ),
)


def validate_storage_capacity(found: CSIStorageCapacity) -> Iterator[FieldError]:
    yield from label_selector(found.node_topology, "nodeTopology")
    for wrong in names.dns1123_subdomain(found.storage_class_name):
        yield invalid_value("storageClassName", found.storage_class_name, wrong)
    if found.capacity is not None and quantity.parse(found.capacity).nano < 0:
        yield invalid_value("capacity", quantity.canonical(found.capacity), NOT_NEGATIVE)


def validate_storage_capacity_update(found: CSIStorageCapacity, old: CSIStorageCapacity) -> Iterator[FieldError]:
    yield from validate_storage_capacity(found)
    yield from immutable("nodeTopology", found.node_topology, old.node_topology)
    yield from immutable("storageClassName", found.storage_class_name, old.storage_class_name)


CSI_STORAGE_CAPACITIES = Resource(
    kind=kind_of(CSIStorageCapacity),
    version_needed=True,
    validate=validate_storage_capacity,
    validate_update=validate_storage_capacity_update,
    warnings=lambda found, old: selector_warnings(found.node_topology, "nodeTopology"),
    columns=(
        NAME,
        Column(
            "StorageClassName",
            lambda found, now: found.storage_class_name,
            of="storage_v1.CSIStorageCapacity.storageClassName",
        ),
        Column("Capacity", lambda found, now: found.capacity or UNSET, of="storage_v1.CSIStorageCapacity.capacity"),
    ),
)
