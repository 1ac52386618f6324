"""Writing a set of files so that whoever reads them sees all of the old or all of the new, never a mixture.

    ..2026_01_31_08_00_00.x7k2m/     the files
    ..data -> ..2026_01_31_08_00_00.x7k2m
    tls.crt -> ..data/tls.crt        what the user sees

Renaming a new `..data` over the old is the one moment of change. Everything is resolved beneath a directory descriptor
and never through a symbolic link that somebody else might have put there.
"""

import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

DATA = "..data"
DATA_NEXT = "..data_tmp"
PATH_LENGTH_MAX = 4096
NAME_LENGTH_MAX = 255
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Projection:
    """One file as it shall be."""

    data: bytes
    mode: int = 0o644
    uid: int | None = None


class PathRefused(ValueError):
    """A path that a volume may not contain."""


def write(directory: str, payload: Mapping[str, Projection], stamp: str, fs_group: int | None = None) -> bool:
    """Make the directory hold exactly the payload; False where it did already. `stamp` names the new generation."""
    for path in payload:
        check_path(path)
    root = os.open(directory, DIRECTORY)
    try:
        current = _current(root)
        if current and _holds(root, current, payload, fs_group):
            return False
        _write_generation(root, f"..{stamp}", payload, fs_group)
        _switch(root, f"..{stamp}")
        _link_names(root, payload)
        _remove_generations(root, except_for=f"..{stamp}")
        return True
    finally:
        os.close(root)


def check_path(path: str) -> None:
    """Relative, beneath, and not a name that this module uses itself."""
    parts = path.split("/")
    if not path or path.startswith("/") or len(path) > PATH_LENGTH_MAX or "\0" in path:
        raise PathRefused(f"invalid path: {path!r} must be a relative path of at most {PATH_LENGTH_MAX} characters")
    if any(part in ("..", ".", "") or len(part.encode()) > NAME_LENGTH_MAX for part in parts):
        raise PathRefused(f"invalid path: {path!r} must not contain '..' or empty names")
    if parts[0].startswith(".."):
        raise PathRefused(f"invalid path: {path!r} must not start with '..'")


def _current(root: int) -> str:
    """The generation in use; empty where there is none."""
    try:
        name = os.readlink(DATA, dir_fd=root)
    except OSError:
        return ""
    return name if name.startswith("..") and "/" not in name and name not in ("..", DATA) else ""


def _holds(root: int, generation: str, payload: Mapping[str, Projection], fs_group: int | None) -> bool:
    try:
        top = os.open(generation, DIRECTORY, dir_fd=root)
    except OSError:
        return False
    try:
        found = _files(top, "")
        linked = {path.split("/")[0] for path in payload} <= set(os.listdir(root))
        same = found.keys() == payload.keys() and all(found[p] == _wanted(payload[p], fs_group) for p in payload)
        return linked and same
    finally:
        os.close(top)


def _wanted(projection: Projection, fs_group: int | None) -> tuple[bytes, int]:
    return projection.data, mode_for_group(projection.mode, fs_group)


def mode_for_group(mode: int, fs_group: int | None) -> int:
    """With a group that owns the volume, the group may read."""
    return mode if fs_group is None else mode | 0o440


def _files(directory: int, prefix: str) -> dict[str, tuple[bytes, int]]:
    found: dict[str, tuple[bytes, int]] = {}
    for name in os.listdir(directory):
        path = prefix + name
        kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISDIR(kind):
            child = os.open(name, DIRECTORY, dir_fd=directory)
            try:
                found |= _files(child, f"{path}/")
            finally:
                os.close(child)
        elif stat.S_ISREG(kind):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            with os.fdopen(file, "rb") as opened:
                found[path] = (opened.read(), stat.S_IMODE(kind))
    return found


def _write_generation(root: int, name: str, payload: Mapping[str, Projection], fs_group: int | None) -> None:
    os.mkdir(name, 0o755, dir_fd=root)
    top = os.open(name, DIRECTORY, dir_fd=root)
    try:
        _own_directory(top, fs_group)
        for path, projection in payload.items():
            _write_file(top, path.split("/"), projection, fs_group)
    finally:
        os.close(top)


def _own_directory(directory: int, fs_group: int | None) -> None:
    """Readable by all whatever the umask, and by its group where it has one."""
    if fs_group is not None:
        os.fchown(directory, -1, fs_group)
        os.fchmod(directory, 0o2775)
    else:
        os.fchmod(directory, 0o755)


def _write_file(top: int, parts: list[str], projection: Projection, fs_group: int | None) -> None:
    directory = os.dup(top)
    try:
        for part in parts[:-1]:
            directory = _descend(directory, part, fs_group)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(parts[-1], flags, 0o600, dir_fd=directory)
        with os.fdopen(file, "wb") as opened:
            opened.write(projection.data)
            opened.flush()
            if projection.uid is not None or fs_group is not None:
                owner = -1 if projection.uid is None else projection.uid
                os.fchown(file, owner, -1 if fs_group is None else fs_group)
            os.fchmod(file, mode_for_group(projection.mode, fs_group))
    finally:
        os.close(directory)


def _descend(directory: int, name: str, fs_group: int | None) -> int:
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=directory)
        child = os.open(name, DIRECTORY, dir_fd=directory)
    finally:
        os.close(directory)
    _own_directory(child, fs_group)
    return child


def _switch(root: int, generation: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(DATA_NEXT, dir_fd=root)
    os.symlink(generation, DATA_NEXT, dir_fd=root)
    os.rename(DATA_NEXT, DATA, src_dir_fd=root, dst_dir_fd=root)


def _link_names(root: int, payload: Mapping[str, Projection]) -> None:
    wanted = {path.split("/")[0] for path in payload}
    present = {name for name in os.listdir(root) if not name.startswith("..")}
    for name in present - wanted:
        with suppress(OSError):  # only links are ours; whatever else is there is not
            os.unlink(name, dir_fd=root)
    for name in wanted - present:
        os.symlink(f"{DATA}/{name}", name, dir_fd=root)


def _remove_generations(root: int, except_for: str) -> None:
    """The one before, and what a crash left."""
    for name in os.listdir(root):
        if name.startswith("..") and name not in (except_for, DATA, DATA_NEXT):
            shutil.rmtree(name, ignore_errors=True, dir_fd=root)
