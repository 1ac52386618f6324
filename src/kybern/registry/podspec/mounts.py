"""Where a container sees the pod's volumes: as folders (`volumeMounts`) or as raw devices (`volumeDevices`)."""

from collections.abc import Iterator
from typing import Any

from kybern.api.core_v1 import VolumeDevice, VolumeMount
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_found_value, not_supported, required
from kybern.registry.checks import relative_path
from kybern.registry.podspec.volumes import Volumes

PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
NOT_A_DEVICE = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"


def validate_mounts(container: Any, volumes: Volumes, at: str) -> Iterator[FieldError]:
    mounts, devices = container.volume_mounts or (), container.volume_devices or ()
    device_names = {device.name for device in devices}
    device_paths = {device.device_path for device in devices}
    taken: set[str] = set()
    for index, mount in enumerate(mounts):
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
        if mount.sub_path_expr and mount.sub_path:
            why = "subPathExpr and subPath are mutually exclusive"
            yield invalid_value(f"{here}.subPathExpr", mount.sub_path_expr, why)
        yield from validate_mount_details(mount, container, f"{at}.volumeMounts")
    yield from validate_devices(devices, volumes, mounts, at)


def validate_mount_details(mount: VolumeMount, container: Any, at: str) -> Iterator[FieldError]:
    """`at` is the list: upstream does not say which mount it is here."""
    yield from relative_path(f"{at}.subPath", mount.sub_path or "")
    yield from relative_path(f"{at}.subPathExpr", mount.sub_path_expr or "")
    if mount.mount_propagation is not None:
        if mount.mount_propagation not in PROPAGATIONS:
            yield not_supported(f"{at}.mountPropagation", mount.mount_propagation, PROPAGATIONS)
        context = container.security_context
        if mount.mount_propagation == "Bidirectional" and not (context is not None and context.privileged):
            why = "Bidirectional mount propagation is available only to privileged containers"
            yield forbidden_field(f"{at}.mountPropagation", why)
    if mount.recursive_read_only is not None:
        yield from validate_recursive(mount, f"{at}.recursiveReadOnly")


def validate_recursive(mount: VolumeMount, at: str) -> Iterator[FieldError]:
    mode = mount.recursive_read_only
    if mode not in ("Disabled", "Enabled", "IfPossible"):
        yield not_supported(at, mode, ("Disabled", "Enabled", "IfPossible"))
    elif mode != "Disabled":
        if not mount.read_only:
            yield forbidden_field(at, "may only be specified when readOnly is true")
        if mount.mount_propagation not in (None, "None"):
            yield forbidden_field(at, "may only be specified when mountPropagation is None or not specified")


def validate_devices(
    devices: tuple[VolumeDevice, ...], volumes: Volumes, mounts: tuple[VolumeMount, ...], at: str
) -> Iterator[FieldError]:
    names_taken: set[str] = set()
    paths_taken: set[str] = set()
    mounted = {mount.name: mount.mount_path for mount in mounts}
    for index, device in enumerate(devices):
        here = f"{at}.volumeDevices[{index}]"
        yield from validate_device_name(device.name, volumes, names_taken, f"{here}.name")
        path = device.device_path
        if not path:
            yield required(f"{here}.devicePath")
        if path in paths_taken:
            yield invalid_value(f"{here}.devicePath", path, "must be unique")
        if ".." in path.split("/"):
            yield invalid_value(f"{here}.devicePath", path, "can not contain backsteps ('..')")
        else:
            paths_taken.add(path)
        if device.name in mounted:
            yield invalid_value(f"{here}.name", device.name, "must not already exist in volumeMounts")
        if path in mounted.values():
            yield invalid_value(f"{here}.devicePath", path, "must not already exist as a path in volumeMounts")


def validate_device_name(name: str, volumes: Volumes, taken: set[str], at: str) -> Iterator[FieldError]:
    volume = volumes.get(name)
    if not name:
        yield required(at)
    if name in taken:
        yield invalid_value(at, name, "must be unique")
    if volume is None:
        yield not_found_value(at, name)
    elif volume.persistent_volume_claim is None and volume.ephemeral is None:
        yield invalid_value(at, name, NOT_A_DEVICE)
    if name:
        taken.add(name)
