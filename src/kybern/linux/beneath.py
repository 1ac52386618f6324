"""Paths that come from others, resolved so that they cannot lead out of a directory (openat2).

String checks lose against symbolic links that change meanwhile; the kernel resolves each component itself.

- `IN_ROOT`: the directory is `/` for absolute paths, links and `..`, as inside a container.
- `BENEATH`: a path or link that would leave is refused.
Neither follows links such as `/proc/self/fd/N`, which jump anywhere.
"""

import ctypes
import errno
import os
import posixpath
import stat

from kybern.linux.syscalls import call

RESOLVE_NO_MAGICLINKS = 0x02
IN_ROOT = 0x10 | RESOLVE_NO_MAGICLINKS
BENEATH = 0x08 | RESOLVE_NO_MAGICLINKS
NO_SYMLINKS = 0x04

COMPONENTS_MAX = 255  # of a path that is made; deeper is an attack
LINKS_MAX = 40  # as the kernel's own limit


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_at(directory: int, path: str, flags: int, *, mode: int = 0, resolve: int = IN_ROOT) -> int:
    """A file descriptor (close-on-exec) of `path` inside the open directory."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode if flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY) else 0, resolve)
    return call("openat2", directory, path, how, ctypes.sizeof(how), about=path)


def open_path(directory: int, path: str, *, resolve: int = IN_ROOT) -> int:
    """A descriptor that only names the file (O_PATH)."""
    return open_at(directory, path, os.O_PATH, resolve=resolve)


def make_directories(root: int, path: str, mode: int = 0o755) -> int:
    """`mkdir -p` inside `root`; a descriptor of the last directory. Links are followed, but never out of `root`.

    A link that leads nowhere is followed too, and what it names is made.
    """
    return _make_directories(root, path, mode, LINKS_MAX)


def _make_directories(root: int, path: str, mode: int, links_left: int) -> int:
    try:
        return open_at(root, path or ".", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    names = [name for name in path.split("/") if name not in ("", ".")]
    if len(names) > COMPONENTS_MAX or ".." in names:
        raise OSError(errno.ELOOP, "path is too deep or goes upwards", path)
    for depth in range(1, len(names) + 1):
        whole = "/".join(names[:depth])
        try:
            os.close(open_at(root, whole, os.O_PATH | os.O_DIRECTORY))
        except FileNotFoundError:
            above, _, name = whole.rpartition("/")
            led = _make_one(root, above, name, mode)
            if led:
                return _make_directories(root, "/".join([led, *names[depth:]]), mode, _one_less(links_left, path))
    return open_at(root, "/".join(names), os.O_PATH | os.O_DIRECTORY)


def _make_one(root: int, above: str, name: str, mode: int) -> str:
    """Make one directory; where a link is in its place, say where that leads instead."""
    parent = open_at(root, above or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        led = _link_at(parent, above, name)
        if not led:
            os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        led = ""  # someone was faster; opening it decides
    finally:
        os.close(parent)
    return led


def _link_at(parent: int, above: str, name: str) -> str:
    """Where the symbolic link `name` leads, as a path inside the root; empty when there is none."""
    try:
        target = os.readlink(name, dir_fd=parent)
    except OSError:
        return ""
    joined = target if target.startswith("/") else f"{above}/{target}"
    return posixpath.normpath("/" + joined).lstrip("/")


def _one_less(links_left: int, path: str) -> int:
    if links_left <= 0:
        raise OSError(errno.ELOOP, "too many levels of symbolic links", path)
    return links_left - 1


def make_like(root: int, path: str, *, directory: bool) -> int:
    """A mount target at `path` inside `root`, made as a directory or an empty file; a descriptor that names it."""
    return make_directories(root, path) if directory else _make_file(root, path, LINKS_MAX)


def _make_file(root: int, path: str, links_left: int) -> int:
    above, _, name = path.strip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.EISDIR, "is a directory", path)
    try:
        return open_path(root, path)
    except FileNotFoundError:
        pass
    parent = make_directories(root, above)
    try:
        led = _link_at(parent, above, name)
        if led:
            return _make_file(root, led, _one_less(links_left, path))
        os.close(open_at(parent, name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, mode=0o644, resolve=BENEATH))
        return open_at(parent, name, os.O_PATH | os.O_NOFOLLOW, resolve=BENEATH)
    finally:
        os.close(parent)


def read_text(root: int, path: str, bytes_max: int) -> str:
    """A regular file inside `root`, as far as `bytes_max`; never a device or a pipe."""
    opened = open_at(root, path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(22, "not a regular file", path)
        return os.read(opened, bytes_max).decode("utf-8", "replace")
    finally:
        os.close(opened)
