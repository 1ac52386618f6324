"""A container's file system: an overlay as its root, and everything that is mounted into it.

Sources are opened before anything is isolated, while their names still mean what the node's agent meant. Targets are
found beneath the new root by the kernel (openat2), so no link in an image leads elsewhere, and mounts are put on the
descriptors that were found.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kybern.linux import beneath, mounts
from kybern.linux.privilege import in_first_user_namespace
from kybern.runtime.warden.host_root import WRITABLE_BY_ALL, mount_host_root
from kybern.runtime.warden.owners import Owners, SetupError

Spec = Mapping[str, Any]

ATTRIBUTES = {"ro": mounts.RDONLY, "nosuid": mounts.NOSUID, "nodev": mounts.NODEV, "noexec": mounts.NOEXEC}
PROPAGATION = {
    "private": mounts.PRIVATE,
    "rprivate": mounts.PRIVATE,
    "slave": mounts.SLAVE,
    "rslave": mounts.SLAVE,
    "shared": mounts.SHARED,
    "rshared": mounts.SHARED,
}
NO_DATA = {*ATTRIBUTES, *PROPAGATION, "rw", "bind", "rbind", "rro", "strictatime", "relatime", "suid", "dev", "exec"}
KERNEL_DIRECTORIES = ("/proc", "/sys", "/dev")
"""Must be plain directories of the image: a link there would be the start of many known escapes."""


def open_sources(spec: Spec, owners: Owners) -> dict[int, int]:
    """The bind mounts of the spec, cloned: position in the list to descriptor."""
    found: dict[int, int] = {}
    shared = {point.path for point in mounts.mount_points() if point.shared}
    for position, mount in enumerate(spec["mounts"]):
        options = mount.get("options") or ()
        if mount.get("type") == "bind":
            found[position] = _clone_source(mount["source"], options, shared, owners)
    return found


def open_images(spec: Spec, staging: str, owners: Owners) -> dict[int, int]:
    """The images of the spec that are mounted as volumes, likewise."""
    mounted = enumerate(spec["mounts"])
    return {at: _open_image(mount, staging, owners) for at, mount in mounted if mount.get("type") == "image"}


def _open_image(mount: Spec, staging: str, owners: Owners) -> int:
    """An image as a volume: put together on a directory that only this mount namespace sees, and taken off it again."""
    layers = list(mount["layers"])
    mounts.tmpfs(staging, mode=0o755)
    try:
        if mount.get("hidden"):
            layers.insert(0, hiding_layer(f"{staging}/hidden", mount["hidden"]))
        layers = owners.layers(layers, staging)
        whole = mounts.overlay(layers) if len(layers) > 1 else mounts.clone(layers[0])
        os.mkdir(f"{staging}/whole")
        mounts.attach_at(whole, f"{staging}/whole")
        root = os.open(f"{staging}/whole", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            shown = beneath.open_path(root, mount.get("subPath") or ".", resolve=beneath.BENEATH)
        except OSError as error:
            raise SetupError(f"failed to mount image: subpath {mount.get('subPath')!r}: {error.strerror}") from None
        finally:
            os.close(root)
        made = mounts.clone(shown)
        os.close(shown)
        mounts.change(made, add=_attributes(mount["options"]), propagation=mounts.PRIVATE)
        return made
    finally:
        mounts.unmount_beneath(staging)


def _clone_source(source: str, options: Sequence[str], shared: set[str], owners: Owners) -> int:
    recursive = "rbind" in options
    propagation = next((PROPAGATION[name] for name in options if name in PROPAGATION), mounts.PRIVATE)
    if propagation == mounts.SHARED and not any(_covers(point, source) for point in shared):
        raise SetupError(f"path {source!r} is mounted on a mount that is not shared")
    try:
        made = mounts.clone(source, recursive=recursive)
    except FileNotFoundError:
        raise SetupError(f"error mounting {source!r}: no such file or directory") from None
    owners.show(made, source, recursive=recursive)
    attributes = _attributes(options)
    if propagation != mounts.SHARED:
        mounts.change(made, propagation=propagation, recursive=recursive)
    if attributes:
        mounts.change(made, add=attributes, recursive="rro" in options)
    return made


def _covers(point: str, path: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _attributes(options: Sequence[str]) -> int:
    value = 0
    for name in options:
        value |= ATTRIBUTES.get(name, 0)
    return value


def mount_root(rootfs: Spec, staging: str, owners: Owners) -> list[int]:
    """The overlay, attached to a directory that only this mount namespace sees it on: its root, and further mounts that it
    consists of."""
    if rootfs.get("hidden") and not in_first_user_namespace():
        return mount_host_root(staging, rootfs["hidden"])
    lower, upper, work = list(rootfs["lower"]), rootfs.get("upper", ""), rootfs.get("work", "")
    if owners.mapped or rootfs.get("hidden"):
        mounts.tmpfs(staging, mode=0o755)
    if rootfs.get("hidden"):
        # The lower directory is the machine's own root: other layers on the same file system would lie within it.
        upper, work = f"{staging}/upper", f"{staging}/work"
        os.mkdir(upper, 0o755)
        os.mkdir(work, 0o700)
        lower.insert(0, hiding_layer(f"{staging}/hidden", rootfs["hidden"]))
    owners.take(upper)
    mounts.attach_at(mounts.overlay(owners.layers(lower, staging), upper, work), staging)
    return [os.open(staging, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]


def hiding_layer(directory: str, paths: Sequence[str]) -> str:
    """A layer of opaque directories and empty files: nothing of the layers below shows through them."""
    for path in paths:
        above, _, name = path.strip("/").rpartition("/")
        target = f"{_make_like_below(directory, above)}/{name}"
        if os.path.isdir(path) or not os.path.lexists(path):
            _make_like_below(directory, path.strip("/"))
            os.chmod(target, 0o1777 if path in WRITABLE_BY_ALL else 0o755)
            os.setxattr(target, mounts.opaque_mark(), b"y")
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return directory


def _make_like_below(directory: str, path: str) -> str:
    """The directory `path` in a layer, each part with the looks of the machine's own."""
    target = directory
    for name in path.split("/") if path else ():
        target = f"{target}/{name}"
        if not os.path.isdir(target):
            os.makedirs(target)
            _look_like(target, target.removeprefix(directory))
    return target


def _look_like(made: str, original: str) -> None:
    """A directory on top decides what the merged one looks like."""
    try:
        about = os.stat(original)
    except FileNotFoundError:
        return
    os.chown(made, about.st_uid, about.st_gid)
    os.chmod(made, stat.S_IMODE(about.st_mode))


def mount_all(spec: Spec, root: int, sources: Mapping[int, int]) -> None:
    """In the order of the spec, so that later ones may lie in earlier ones."""
    for position, mount in enumerate(spec["mounts"]):
        destination, options = mount["destination"], mount.get("options") or ()
        made = sources.get(position)
        if made is None:
            made = _filesystem(mount["type"], options)
        try:
            target = _target(root, destination, made)
            mounts.attach(made, target)
            os.close(target)
        except OSError as error:
            raise SetupError(
                f"error mounting {mount.get('source')!r} to rootfs at {destination!r}: {error.strerror}"
            ) from error
        os.close(made)


def _filesystem(fstype: str, options: Sequence[str]) -> int:
    data: list[tuple[str, str | None]] = []
    for option in options:
        if option not in NO_DATA:
            name, separator, value = option.partition("=")
            data.append((name, value if separator else None))
    return mounts.filesystem(fstype, data, attributes=_attributes(options))


def _target(root: int, destination: str, made: int) -> int:
    """Where a mount goes. `destination` is resolved as the container would, but cannot leave it."""
    directory = stat.S_ISDIR(os.stat(f"/proc/self/fd/{made}").st_mode)
    if destination in KERNEL_DIRECTORIES:
        return _plain_directory(root, destination)
    return beneath.make_like(root, destination, directory=directory)


def _plain_directory(root: int, path: str) -> int:
    name = path.strip("/")
    try:
        return beneath.open_at(root, name, os.O_PATH | os.O_DIRECTORY, resolve=beneath.IN_ROOT | beneath.NO_SYMLINKS)
    except FileNotFoundError:
        return beneath.make_directories(root, name)
    except OSError:
        raise SetupError(f"{path} must be mounted on an ordinary directory") from None


def hide_paths(spec: Spec, root: int, null: int) -> None:
    """Masked paths show nothing; read-only ones cannot be written. `null` is the host's /dev/null."""
    for path in spec["linux"].get("readonlyPaths") or ():
        for found in _existing(root, path):
            made = mounts.clone(found, recursive=True)
            mounts.change(made, add=mounts.RDONLY | mounts.NOSUID | mounts.NODEV | mounts.NOEXEC, recursive=True)
            mounts.attach(made, found)
            os.close(made)
    for path in spec["linux"].get("maskedPaths") or ():
        for found in _existing(root, path):
            if stat.S_ISDIR(os.stat(f"/proc/self/fd/{found}").st_mode):
                made = mounts.filesystem("tmpfs", [("size", "0"), ("nr_inodes", "2")], attributes=mounts.RDONLY)
            else:
                made = mounts.clone(null)
            mounts.attach(made, found)
            os.close(made)


def _existing(root: int, path: str) -> Iterator[int]:
    try:
        found = beneath.open_path(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return
    yield found
    os.close(found)


def mount_cgroups(root: int, views: Sequence[tuple[str, str]]) -> None:
    """What the container may see of its own limits, read-only."""
    try:
        where = beneath.open_at(root, "sys/fs/cgroup", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    if len(views) != 1 or views[0][0]:
        made = mounts.filesystem("tmpfs", [("mode", "755")], attributes=mounts.NOSUID | mounts.NODEV | mounts.NOEXEC)
        mounts.attach(made, where)
        os.close(where)
        where = beneath.open_at(root, "sys/fs/cgroup", os.O_PATH | os.O_DIRECTORY)
    for name, directory in views:
        target = beneath.make_directories(where, name)
        made = mounts.clone(directory)
        mounts.change(made, add=mounts.RDONLY | mounts.NOSUID | mounts.NODEV | mounts.NOEXEC)
        mounts.attach(made, target)
        os.close(made)
        os.close(target)
    os.close(where)


def make_readonly(parts: Sequence[int]) -> None:
    """Only the mounts of the root itself: volumes stay as they are."""
    for part in parts:
        mounts.change(part, add=mounts.RDONLY)
