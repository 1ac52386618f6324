"""Mounts, made as descriptors first and attached last, so that no name is looked up twice.

- `clone` (a bind mount) and `filesystem` return a mount that is nowhere yet; `attach` puts it on an open target.
- `bind`, `tmpfs` and `unmount` take plain paths, for places that nobody else can change.
"""

import ctypes
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from kybern.linux import beneath
from kybern.linux.privilege import in_first_user_namespace
from kybern.linux.syscalls import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, call

RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
PRIVATE, SLAVE, SHARED = 1 << 18, 1 << 19, 1 << 20

_NO_SWAP = ("noswap", None)
_OPEN_TREE_CLONE = 1
_IDMAP = 0x0010_0000
_MOVE_MOUNT_EMPTY_PATHS = 0x04 | 0x40
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CREATE = 0, 1, 6
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


class MountPoint(NamedTuple):
    path: str
    fstype: str
    source: str
    options: str
    super_options: str
    """Of the file system, where `options` are those of the mount."""
    shared: bool


def clone(source: int | str, *, recursive: bool = False) -> int:
    """What is at `source` (an open descriptor or a path), as a mount of its own that is attached nowhere."""
    directory, path = (source, "") if isinstance(source, int) else (AT_FDCWD, source)
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return call("open_tree", directory, path, flags, about=str(source))


def filesystem(fstype: str, options: Iterable[tuple[str, str | None]] = (), *, attributes: int = 0) -> int:
    """A new file system, attached nowhere. An option without a value is a flag."""
    context = call("fsopen", fstype, 1, about=fstype)
    try:
        call("fsconfig", context, _FSCONFIG_SET_STRING, b"source", fstype, 0, about=fstype)
        for name, value in options:
            kind = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
            call("fsconfig", context, kind, name, value, 0, about=f"{fstype} option {name}")
        call("fsconfig", context, _FSCONFIG_CREATE, None, None, 0, about=fstype)
        return call("fsmount", context, 1, attributes, about=fstype)
    finally:
        os.close(context)


def change(
    mount: int,
    *,
    add: int = 0,
    clear: int = 0,
    propagation: int = 0,
    recursive: bool = False,
    user_namespace: int = -1,
) -> None:
    """The attributes of an open mount. With an open user namespace, files show with that namespace's ids: what belongs
    to user 0 on the disk belongs to the namespace's user 0."""
    idmap = _IDMAP if user_namespace >= 0 else 0
    attributes = _MountAttributes(add | idmap, clear, propagation, max(user_namespace, 0))
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    call("mount_setattr", mount, "", flags, attributes, ctypes.sizeof(attributes), about="mount attributes")


def attach(mount: int, target: int) -> None:
    """Put an unattached mount on an open target; closes neither."""
    call("move_mount", mount, "", target, "", _MOVE_MOUNT_EMPTY_PATHS, about="attach mount")


def attach_at(mount: int, target: str) -> None:
    """Likewise on a path, and closes the mount."""
    opened = os.open(target, os.O_PATH | os.O_CLOEXEC)
    try:
        attach(mount, opened)
    finally:
        os.close(opened)
        os.close(mount)


def bind(
    source: str | int, target: str, *, readonly: bool = False, recursive: bool = False, propagation: int = PRIVATE
) -> None:
    """Show `source` at `target`, which exists."""
    made = clone(source, recursive=recursive)
    change(made, add=RDONLY if readonly else 0, propagation=propagation, recursive=recursive)
    attach_at(made, target)


def bind_beneath(directory: str, path: str, target: str, *, readonly: bool = False) -> None:
    """Show what `path` names inside `directory` at `target`, which is made as a file or directory like it.

    No link in `path` leads out of `directory`; a missing `path` is made as a directory.
    """
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            source = beneath.open_path(root, path or ".", resolve=beneath.BENEATH)
        except FileNotFoundError:
            source = beneath.make_directories(root, path, 0o750)
    finally:
        os.close(root)
    try:
        if stat.S_ISDIR(os.fstat(source).st_mode):
            os.makedirs(target, 0o750, exist_ok=True)
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640))
        bind(source, target, readonly=readonly, recursive=True)
    finally:
        os.close(source)


def tmpfs(target: str, size_bytes: int = 0, mode: int = 0o755, *, swapped: bool = True) -> None:
    """A file system in memory; at most half of the machine's memory where `size_bytes` is 0 (the kernel's rule). Not
    `swapped`: what it holds is never written to swap, where the kernel can do that."""
    options: list[tuple[str, str | None]] = [("mode", f"{mode:o}")]
    if size_bytes:
        options.append(("size", str(size_bytes)))
    if not swapped and may_stay_in_memory():
        options.append(_NO_SWAP)
    attach_at(filesystem("tmpfs", options, attributes=NOSUID | NODEV), target)


@cache
def may_stay_in_memory() -> bool:
    """Linux 6.4 and later, and not in a user namespace."""
    try:
        os.close(filesystem("tmpfs", [_NO_SWAP]))
    except OSError:
        return False
    return True


def hugetlbfs(target: str, page_bytes: int) -> None:
    attach_at(filesystem("hugetlbfs", [("pagesize", str(page_bytes))], attributes=NOSUID | NODEV), target)


def unmount(target: str) -> None:
    """Detach the mount at `target` now; it ends when its last user does. Nothing when there is none."""
    try:
        call("umount2", target, _MNT_DETACH | _UMOUNT_NOFOLLOW, about=target)
    except OSError as error:
        if error.errno not in (2, 22):  # ENOENT, EINVAL: not there, not a mount point
            raise


def set_propagation(path: str, propagation: int) -> None:
    """For `path` and everything below it."""
    call("mount", None, path, None, propagation | 0x4000, None, about=path)


def pivot_root(new_root: int) -> None:
    """Make the open directory this process' root, and detach the old one."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(new_root)
        call("pivot_root", ".", ".", about="pivot_root")
        os.fchdir(old)
        set_propagation(".", SLAVE)
        call("umount2", ".", _MNT_DETACH, about="old root")
        os.chdir("/")
    finally:
        os.close(old)


def mount_points(table: str = "/proc/self/mountinfo") -> Iterator[MountPoint]:
    with open(table, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.rstrip("\n").partition(" - ")
            fields, (fstype, source, super_options) = before.split(" "), after.split(" ", 2)
            shared = any(field.startswith("shared:") for field in fields[6:])
            yield MountPoint(_unescaped(fields[4]), fstype, _unescaped(source), fields[5], super_options, shared)


def unmount_beneath(directory: str) -> None:
    """Every mount in a directory or at it, the innermost first."""
    inside = [p.path for p in mount_points() if p.path == directory or p.path.startswith(f"{directory}/")]
    for path in reversed(inside):
        unmount(path)


def overlay_options(lower: Iterable[str], upper: str = "", work: str = "") -> list[tuple[str, str | None]]:
    """Options of an overlay, the topmost lower directory first."""
    options: list[tuple[str, str | None]] = [("lowerdir+", path) for path in lower]
    if upper:
        options += [("upperdir", upper), ("workdir", work)]
    return options


def overlay(lower: list[str], upper: str = "", work: str = "") -> int:
    """An overlay attached nowhere. Kernels before 6.5 take the lower directories only as one escaped string."""
    marks: list[tuple[str, str | None]] = [] if in_first_user_namespace() else [("userxattr", None)]
    try:
        return filesystem("overlay", overlay_options(lower, upper, work) + marks)
    except OSError as error:
        if error.errno != 22:
            raise
    joined = ":".join(path.replace("\\", "\\\\").replace(":", "\\:") for path in lower)
    options: list[tuple[str, str | None]] = [("lowerdir", joined)]
    return filesystem("overlay", options + overlay_options((), upper, work) + marks)


def opaque_mark() -> str:
    """The extended attribute of a directory through which nothing of the layers below shows; `trusted` ones are the
    machine's root's alone."""
    return "trusted.overlay.opaque" if in_first_user_namespace() else "user.overlay.opaque"


def _unescaped(text: str) -> str:
    for code, plain in _ESCAPES.items():
        text = text.replace(code, plain)
    return text


_ESCAPES: Mapping[str, str] = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}
