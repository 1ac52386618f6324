"""Where a container sees the pod's volumes: as folders (`volumeMounts`) or as raw devices (`volumeDevices`)."""

from collections.abc import Collection, Iterator
from typing import Any

from kybern.api.core_v1 import VolumeMount
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_found_value, not_supported, required
from kybern.registry.checks import no_backsteps, relative_path

PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")


def validate_mounts(container: Any, volumes: Collection[str], at: str) -> Iterator[FieldError]:
    devices = container.volume_devices or ()
    device_names = {device.name for device in devices}
    device_paths = {device.device_path for device in devices}
    taken: set[str] = set()
    for index, mount in enumerate(container.volume_mounts or ()):
        here = f"{at}.volumeMounts[{index}]"
        if not mount.name:
            yield required(f"{here}.name")
        if mount.name not in volumes:
            yield not_found_value(f"{here}.name", mount.name)
        if not mount.mount_path:
            yield required(f"{here}.mountPath")
        if mount.mount_path in taken:
            yield invalid_value(f"{here}.mountPath", mount.mount_path, "must be unique")
        taken.add(mount.mount_path)
        if mount.name in device_names:
            yield invalid_value(f"{here}.name", mount.name, "must not already exist in volumeDevices")
        if mount.mount_path in device_paths:
            why = "must not already exist as a path in volumeDevices"
            yield invalid_value(f"{here}.mountPath", mount.mount_path, why)
        yield from validate_mount_details(mount, container, here)
    yield from validate_devices(devices, volumes, taken, at)


def validate_mount_details(mount: VolumeMount, container: Any, at: str) -> Iterator[FieldError]:
    if mount.sub_path:
        yield from relative_path(f"{at}.subPath", mount.sub_path)
    if mount.sub_path_expr:
        if mount.sub_path:
            why = "subPathExpr and subPath are mutually exclusive"
            yield invalid_value(f"{at}.subPathExpr", mount.sub_path_expr, why)
        yield from relative_path(f"{at}.subPathExpr", mount.sub_path_expr)
    if mount.mount_propagation is not None:
        if mount.mount_propagation not in PROPAGATIONS:
            yield not_supported(f"{at}.mountPropagation", mount.mount_propagation, PROPAGATIONS)
        context = container.security_context
        if mount.mount_propagation == "Bidirectional" and not (context is not None and context.privileged):
            why = "Bidirectional mount propagation is available only to privileged containers"
            yield forbidden_field(f"{at}.mountPropagation", why)
    if mount.recursive_read_only is not None:
        yield from validate_recursive(mount, at)


def validate_recursive(mount: VolumeMount, at: str) -> Iterator[FieldError]:
    here, mode = f"{at}.recursiveReadOnly", mount.recursive_read_only
    if mode not in ("Disabled", "Enabled", "IfPossible"):
        yield not_supported(here, mode, ("Disabled", "Enabled", "IfPossible"))
    elif mode != "Disabled":
        if not mount.read_only:
            yield forbidden_field(here, "may only be specified when readOnly is true")
        if mount.mount_propagation not in (None, "None"):
            yield forbidden_field(here, "may only be specified when mountPropagation is None or not specified")


def validate_devices(devices: Any, volumes: Collection[str], mount_paths: set[str], at: str) -> Iterator[FieldError]:
    names_taken: set[str] = set()
    paths_taken: set[str] = set()
    for index, device in enumerate(devices):
        here = f"{at}.volumeDevices[{index}]"
        if not device.name:
            yield required(f"{here}.name")
        elif device.name in names_taken:
            yield invalid_value(f"{here}.name", device.name, "must be unique")
        if device.name and device.name not in volumes:
            yield not_found_value(f"{here}.name", device.name)
        if not device.device_path:
            yield required(f"{here}.devicePath")
        elif device.device_path in paths_taken:
            yield invalid_value(f"{here}.devicePath", device.device_path, "must be unique")
        else:
            yield from no_backsteps(f"{here}.devicePath", device.device_path)
        if device.device_path in mount_paths:
            why = "must not already exist as a path in volumeMounts"
            yield invalid_value(f"{here}.devicePath", device.device_path, why)
        names_taken.add(device.name)
        paths_taken.add(device.device_path)
