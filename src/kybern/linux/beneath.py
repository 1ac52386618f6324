"""Paths that come from others, resolved so that they cannot lead out of a directory (openat2).

String checks lose against symbolic links that change meanwhile; the kernel resolves each component itself.

- `IN_ROOT`: the directory is `/` for absolute paths, links and `..`, as inside a container.
- `BENEATH`: a path or link that would leave is refused.
Neither follows links such as `/proc/self/fd/N`, which jump anywhere.
"""

import ctypes
import os
import stat

from kybern.linux.syscalls import call

RESOLVE_NO_MAGICLINKS = 0x02
IN_ROOT = 0x10 | RESOLVE_NO_MAGICLINKS
BENEATH = 0x08 | RESOLVE_NO_MAGICLINKS
NO_SYMLINKS = 0x04

LINKS_MAX = 255  # components of a path that are made; deeper is an attack


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
    """`mkdir -p` inside `root`; a descriptor of the last directory. Links are followed, but never out of `root`."""
    try:
        return open_at(root, path or ".", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    names = [name for name in path.split("/") if name not in ("", ".")]
    if len(names) > LINKS_MAX or ".." in names:
        raise OSError(40, "path is too deep or goes upwards", path)
    here = os.dup(root)
    try:
        for depth, name in enumerate(names, 1):
            here = _enter(root, here, "/".join(names[:depth]), name, mode)
        return here
    except BaseException:
        os.close(here)
        raise


def _enter(root: int, here: int, whole: str, name: str, mode: int) -> int:
    """The directory `name` in `here`, made where it is missing; closes `here`."""
    try:
        found = open_at(root, whole, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        _refuse_dangling(here, name)
        try:
            os.mkdir(name, mode, dir_fd=here)
        except FileExistsError:
            pass  # someone was faster; opening it decides
        found = open_at(here, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=BENEATH)
    os.close(here)
    return found


def _refuse_dangling(here: int, name: str) -> None:
    try:
        kind = os.lstat(name, dir_fd=here).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(kind):
        raise OSError(20, "symbolic link leads nowhere", name)


def make_like(root: int, path: str, *, directory: bool) -> int:
    """A mount target at `path` inside `root`, made as a directory or an empty file; a descriptor that names it."""
    if directory:
        return make_directories(root, path)
    parent, _, name = path.strip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(21, "is a directory", path)
    try:
        return open_path(root, path)
    except FileNotFoundError:
        pass
    above = make_directories(root, parent)
    try:
        os.close(open_at(above, name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, mode=0o644, resolve=BENEATH))
        return open_at(above, name, os.O_PATH | os.O_NOFOLLOW, resolve=BENEATH)
    finally:
        os.close(above)


def read_text(root: int, path: str, bytes_max: int) -> str:
    """A regular file inside `root`, as far as `bytes_max`; never a device or a pipe."""
    opened = open_at(root, path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(22, "not a regular file", path)
        return os.read(opened, bytes_max).decode("utf-8", "replace")
    finally:
        os.close(opened)
