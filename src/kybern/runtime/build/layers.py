"""What a step changed, as a layer: the upper directory of an overlay becomes an archive (OCI image spec, layer.md).

    python -I -S -c PROGRAM <upper> <target> <lower>...  < paths to leave out (JSON)
    prints {"diff_id": ..., "digest": ..., "size": ...}, {"empty": true} or {"error": ...}

Entries are in order of their names and nothing of the moment goes in, so equal changes make equal layers.
"""

import gzip
import hashlib
import json
import os
import posixpath
import stat
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from kybern.linux import beneath, mounts
from kybern.runtime.images.unpack import MODE_MASK, OPAQUE, WHITEOUT, XATTR, is_carried

LEVEL = 3  # of gzip: half as large as nothing, four times as fast as the default


class Writable(Protocol):
    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...


class Hashed:
    """Bytes on their way to a file."""

    def __init__(self, inner: Writable) -> None:
        self.inner, self.hash, self.size = inner, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self.inner.write(data)

    def flush(self) -> None:
        self.inner.flush()

    def digest(self) -> str:
        return f"sha256:{self.hash.hexdigest()}"


def remove_traces(upper: int, paths: Sequence[str], lower: Sequence[int]) -> None:
    """The empty files and directories that were made only to mount something on them, and the directories around them
    that are in the layer only because of that."""
    for path in sorted((posixpath.normpath(f"/{path}").lstrip("/") for path in paths), key=len, reverse=True):
        if not _looks(lower, path) and _remove(
            upper, path, lambda about: not about.st_size or stat.S_ISDIR(about.st_mode)
        ):
            while path := posixpath.dirname(path):
                below = _looks(lower, path)
                if below is None or not _remove(upper, path, lambda about, below=below: _look(about) == below):  # type: ignore[misc]
                    break


def _remove(upper: int, path: str, may: Callable[[os.stat_result], bool]) -> bool:
    """A file or an empty directory; False when it is not there, or the step put something in it."""
    above, _, name = path.rpartition("/")
    try:
        parent = beneath.open_at(upper, above or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        about = os.lstat(name, dir_fd=parent)
        if not may(about) or not (stat.S_ISDIR(about.st_mode) or stat.S_ISREG(about.st_mode)):
            return False
        (os.rmdir if stat.S_ISDIR(about.st_mode) else os.unlink)(name, dir_fd=parent)
    except OSError:
        return False
    finally:
        os.close(parent)
    return True


def _looks(layers: Sequence[int], path: str) -> tuple[int, int, int] | None:
    """Mode and owner in the topmost layer that has it."""
    for layer in layers:
        try:
            opened = beneath.open_path(layer, path)
        except OSError:
            continue
        try:
            return _look(os.fstat(opened))
        finally:
            os.close(opened)
    return None


def _look(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_mode, about.st_uid, about.st_gid


def changes(upper: str) -> Iterator[tuple[str, os.stat_result]]:
    """(path, what it is) of everything in the layer, a directory before what lies in it."""
    for name in sorted(os.listdir(upper)):
        yield from _below(upper, name)


def _below(upper: str, path: str) -> Iterator[tuple[str, os.stat_result]]:
    about = os.lstat(f"{upper}/{path}")
    yield path, about
    if stat.S_ISDIR(about.st_mode):
        for name in sorted(os.listdir(f"{upper}/{path}")):
            yield from _below(upper, f"{path}/{name}")


def write_archive(upper: str, out: Any) -> None:
    linked: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for path, about in changes(upper):
            if stat.S_ISCHR(about.st_mode) and about.st_rdev == 0:
                above, _, name = path.rpartition("/")
                tar.addfile(tarfile.TarInfo(f"{above}/{WHITEOUT}{name}".lstrip("/")))
                continue
            if stat.S_ISSOCK(about.st_mode):
                continue
            entry = described(upper, path, about, linked)
            if entry.isreg():
                with open(f"{upper}/{path}", "rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)
            if stat.S_ISDIR(about.st_mode) and opaque(f"{upper}/{path}"):
                tar.addfile(tarfile.TarInfo(f"{path}/{OPAQUE}"))


def described(upper: str, path: str, about: os.stat_result, linked: dict[tuple[int, int], str]) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.uid, entry.gid = about.st_mode & MODE_MASK, about.st_uid, about.st_gid
    entry.mtime = int(about.st_mtime)
    kind = stat.S_IFMT(about.st_mode)
    if kind == stat.S_IFDIR:
        entry.type = tarfile.DIRTYPE
    elif kind == stat.S_IFLNK:
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(f"{upper}/{path}")
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        entry.type = tarfile.CHRTYPE if kind == stat.S_IFCHR else tarfile.BLKTYPE
        entry.devmajor, entry.devminor = os.major(about.st_rdev), os.minor(about.st_rdev)
    elif kind == stat.S_IFIFO:
        entry.type = tarfile.FIFOTYPE
    elif (first := linked.setdefault((about.st_dev, about.st_ino), path)) != path:
        entry.type, entry.linkname = tarfile.LNKTYPE, first
    else:
        entry.size = about.st_size
    entry.pax_headers = {f"{XATTR}{name}": value for name, value in attributes(f"{upper}/{path}")}
    return entry


def attributes(path: str) -> Iterator[tuple[str, str]]:
    """What a layer carries: file capabilities and what is the user's, never the overlay's own marks."""
    for name in os.listxattr(path, follow_symlinks=False):
        if is_carried(name):
            yield name, os.getxattr(path, name, follow_symlinks=False).decode("utf-8", "surrogateescape")


def opaque(path: str) -> bool:
    try:
        return os.getxattr(path, mounts.opaque_mark()) == b"y"
    except OSError:
        return False


def pack(upper: str, target: str) -> dict[str, Any]:
    with open(target, "wb") as opened:
        compressed = Hashed(opened)
        with gzip.GzipFile("", "wb", LEVEL, compressed, 0) as packed:
            plain = Hashed(packed)
            write_archive(upper, plain)
        opened.flush()
    return {"diff_id": plain.digest(), "digest": compressed.digest(), "size": compressed.size}


def main(arguments: list[str]) -> None:
    upper, target, *lower = arguments
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        remove_traces(os.open(upper, flags), json.load(sys.stdin), [os.open(path, flags) for path in lower])
        answer = pack(upper, target) if os.listdir(upper) else {"empty": True}
    except (OSError, tarfile.TarError, ValueError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
