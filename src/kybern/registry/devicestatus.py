"""A claim's status: the devices that were found for it, what their drivers tell of them, and who may use it.

What was found is settled; who uses it comes and goes, and nobody new once the claim is to go.
"""

import ipaddress
import re
from collections.abc import Iterator

from kybern.api import names
from kybern.api.invalid import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)
from kybern.api.resource_v1 import (
    AllocatedDeviceStatus,
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    NetworkDeviceData,
    ResourceClaim,
    ResourceClaimConsumerReference,
)
from kybern.registry.checks import at_most, immutable, repeated, validate_each
from kybern.registry.conditions import validate_conditions
from kybern.registry.devicenames import (
    request_names,
    validate_opaque,
    validate_pool_name,
    validate_raw,
    validate_ref,
    validate_refs,
)
from kybern.registry.devicetaints import validate_binding, validate_tolerations
from kybern.registry.drivers import validate_driver_name
from kybern.registry.podspec.placement import validate_node_selector

RESERVATIONS_MAX = 256
RESULTS_MAX = 32
CONFIGS_MAX = 2 * 32  # the class's and the claim's
DEVICE_CONDITIONS_MAX = 8
ADDRESSES_MAX = 16
INTERFACE_BYTES_MAX = 256
HARDWARE_BYTES_MAX = 128
SOURCES = ("FromClaim", "FromClass")
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NOT_A_UID = (
    "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
)  # fmt: skip

DeviceId = tuple[str, str, str, str]


def validate_status(claim: ResourceClaim, old: ResourceClaim) -> Iterator[FieldError]:
    found, before = claim.status, old.status
    users = found.reserved_for or ()
    if len(users) > RESERVATIONS_MAX:
        yield too_many("status.reservedFor", len(users), RESERVATIONS_MAX)
    else:
        yield from validate_each("status.reservedFor", users, lambda one: one.uid, validate_user)
    allocated = {identity(one) for one in results_of(found.allocation)}
    devices = found.devices or ()
    yield from validate_each(
        "status.devices", devices, identity, lambda one, at: validate_device(one, allocated, at)
    )  # fmt: skip
    if users and found.allocation is None:
        yield forbidden_field("status.reservedFor", "may not be specified when `allocated` is not set")
    elif users and claim.metadata.deletion_timestamp and not set(users) <= set(before.reserved_for or ()):
        why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        yield forbidden_field("status.reservedFor", why)
    if before.allocation is not None and found.allocation is not None:
        yield from immutable("status.allocation", found.allocation, before.allocation)
    elif found.allocation is not None:
        requests = claim.spec.devices.requests if claim.spec.devices is not None else None
        yield from validate_allocation(found.allocation, request_names(requests or ()), "status.allocation")


def results_of(allocation: AllocationResult | None) -> tuple[DeviceRequestAllocationResult, ...]:
    return (allocation.devices.results or ()) if allocation is not None and allocation.devices is not None else ()


def identity(device: DeviceRequestAllocationResult | AllocatedDeviceStatus) -> DeviceId:
    """Which device it is, or which share of one."""
    return device.driver, device.pool, device.device, device.share_id or ""


def validate_user(user: ResourceClaimConsumerReference, at: str) -> Iterator[FieldError]:
    for field, value in (("resource", user.resource), ("name", user.name), ("uid", user.uid)):
        if not value:
            yield required(f"{at}.{field}")


def validate_allocation(found: AllocationResult, requests: set[str], at: str) -> Iterator[FieldError]:
    devices = found.devices or DeviceAllocationResult()
    results, configs = devices.results or (), devices.config or ()
    yield from at_most(f"{at}.devices.results", results, RESULTS_MAX)
    yield from at_most(f"{at}.devices.config", configs, CONFIGS_MAX)
    for index, result in enumerate(results[:RESULTS_MAX]):
        yield from validate_result(result, requests, f"{at}.devices.results[{index}]")
    for index, config in enumerate(configs[:CONFIGS_MAX]):
        yield from validate_config(config, requests, f"{at}.devices.config[{index}]")
    if found.node_selector is not None:
        yield from validate_node_selector(found.node_selector, f"{at}.nodeSelector")


def validate_result(result: DeviceRequestAllocationResult, requests: set[str], at: str) -> Iterator[FieldError]:
    yield from validate_ref(result.request, requests, f"{at}.request")
    yield from validate_name(result, at)
    yield from validate_binding(result.binding_conditions, result.binding_failure_conditions, at)
    yield from validate_tolerations(result.tolerations or (), f"{at}.tolerations")


def validate_name(device: DeviceRequestAllocationResult | AllocatedDeviceStatus, at: str) -> Iterator[FieldError]:
    yield from validate_driver_name(device.driver, f"{at}.driver")
    yield from validate_pool_name(device.pool, f"{at}.pool")
    for wrong in names.dns1123_label(device.device):
        yield invalid_value(f"{at}.device", device.device, wrong)
    if device.share_id is not None and not UID.fullmatch(device.share_id):
        yield invalid_value(f"{at}.shareID", device.share_id, NOT_A_UID)


def validate_config(config: DeviceAllocationConfiguration, requests: set[str], at: str) -> Iterator[FieldError]:
    if not config.source:
        yield required(f"{at}.source")
    elif config.source not in SOURCES:
        yield not_supported(f"{at}.source", config.source, SOURCES)
    yield from validate_refs(config.requests or (), requests, f"{at}.requests")
    yield from validate_opaque(config.opaque, f"{at}.opaque")


def validate_device(device: AllocatedDeviceStatus, allocated: set[DeviceId], at: str) -> Iterator[FieldError]:
    """What a driver tells of a device that the claim has."""
    yield from validate_name(device, at)
    if identity(device) not in allocated:
        named = "/".join(part for part in identity(device) if part)
        yield invalid_value(at, named, "must be an allocated device in the claim")
    conditions = device.conditions or ()
    yield from at_most(f"{at}.conditions", conditions, DEVICE_CONDITIONS_MAX)
    yield from validate_conditions(conditions, f"{at}.conditions")
    if device.data is not None:
        yield from validate_raw(device.data, f"{at}.data")
    if device.network_data is not None:
        yield from validate_network(device.network_data, f"{at}.networkData")


def validate_network(found: NetworkDeviceData, at: str) -> Iterator[FieldError]:
    for field, value, most in (
        ("interfaceName", found.interface_name, INTERFACE_BYTES_MAX),
        ("hardwareAddress", found.hardware_address, HARDWARE_BYTES_MAX),
    ):
        if len((value or "").encode()) > most:
            yield too_long(f"{at}.{field}", value, most)
    addresses = found.ips or ()
    if len(addresses) > ADDRESSES_MAX:
        yield too_many(f"{at}.ips", len(addresses), ADDRESSES_MAX)
        return
    again = repeated(addresses)
    for index, address in enumerate(addresses):
        yield from validate_address(address, f"{at}.ips[{index}]")
        if index in again:
            yield duplicate(f"{at}.ips[{index}]", address)


def validate_address(address: str, at: str) -> Iterator[FieldError]:
    """Of an interface: the address with the length of its network's prefix, `10.9.8.7/24`."""
    try:
        parsed = ipaddress.ip_interface(address) if "/" in address else None
    except ValueError:
        parsed = None
    if parsed is None:
        why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        yield invalid_value(at, address, why)
    elif str(parsed) != address:
        yield invalid_value(at, address, f'must be in canonical form ("{parsed}")')
