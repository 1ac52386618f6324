"""Device nodes and links in a container's /dev, which is a fresh tmpfs: made, or where only the machine's root may make them,
the machine's own shown.
"""

import os
import stat
from collections.abc import Mapping
from itertools import chain
from typing import Any

from kybern.linux import beneath, mounts
from kybern.linux.privilege import in_first_user_namespace
from kybern.runtime.warden.owners import Owners, SetupError

Spec = Mapping[str, Any]

KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
                "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}  # fmt: skip


def make_devices(spec: Spec, root: int, owners: Owners) -> None:
    if any(mount.get("type") == "bind" and mount["destination"].rstrip("/") == "/dev" for mount in spec["mounts"]):
        return  # as runc: it is somebody's volume, the machine's own /dev most of the time
    dev = beneath.open_at(root, "dev", os.O_PATH | os.O_DIRECTORY, resolve=beneath.IN_ROOT | beneath.NO_SYMLINKS)
    try:
        for name, leads_to in DEVICE_LINKS.items():
            os.symlink(leads_to, name, dir_fd=dev)
        for device in spec["linux"].get("devices") or ():
            _make_device(dev, device, owners)
    finally:
        os.close(dev)


def _make_device(dev: int, device: Spec, owners: Owners) -> None:
    path = device["path"]
    if not path.startswith("/dev/"):
        raise SetupError(f"device {path!r} is not below /dev")
    parent, _, name = path.removeprefix("/dev/").rpartition("/")
    if name in ("", ".", ".."):
        raise SetupError(f"device {path!r} has no name")
    directory = beneath.make_directories(dev, parent)
    try:
        if in_first_user_namespace():
            _make_node(directory, name, device, owners)
        else:
            _show_device(directory, name, device)
    finally:
        os.close(directory)


def _make_node(directory: int, name: str, device: Spec, owners: Owners) -> None:
    mode = device.get("fileMode", 0o666)
    os.mknod(name, KINDS[device["type"]] | mode, _number(device), dir_fd=directory)
    uid, gid = owners.host_id + device.get("uid", 0), owners.host_id + device.get("gid", 0)
    os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)


def _show_device(directory: int, name: str, device: Spec) -> None:
    """The machine's own node, where we may not make any."""
    target = beneath.make_like(directory, name, directory=False)
    made = mounts.clone(_machine_device(device))
    mounts.attach(made, target)
    os.close(made)
    os.close(target)


def _machine_device(device: Spec) -> str:
    everywhere = (f"{directory}/{name}" for directory, _, names in os.walk("/dev") for name in names)
    for path in chain((device["path"],), everywhere):
        try:
            about = os.stat(path, follow_symlinks=False)
        except OSError:
            continue
        if stat.S_IFMT(about.st_mode) == KINDS[device["type"]] and about.st_rdev == _number(device):
            return str(path)
    raise SetupError(f"device {device['path']!r} is not there, and only the machine's root may make it")


def _number(device: Spec) -> int:
    return os.makedev(device.get("major", 0), device.get("minor", 0))
