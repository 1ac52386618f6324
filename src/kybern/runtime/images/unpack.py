"""One layer's archive into a directory, in a process of its own: a stranger's archive against a fresh interpreter.

`tarfile` only reads headers. Every path is resolved beneath the target by the kernel, what exists is replaced rather
than written through, and there are limits on entries and bytes. Whiteouts become what overlayfs knows for them.

    python -I -S -c PROGRAM <compression> <target> <parent>...   < blob     prints {"diff_id": ..., "size": ...}
"""

import gzip
import hashlib
import json
import os
import posixpath
import resource
import shutil
import stat
import sys
import tarfile
from typing import IO, Any, Self

from kybern.linux import beneath, mounts
from kybern.runtime.images.bounded_tar import Refused, entries, open_tar

ENTRIES_MAX = 1_000_000
BYTES_MAX = 64 << 30
SMALL_BYTES = 512 << 20
RATIO_MAX = 100  # of what is over SMALL_BYTES: real layers shrink 2 to 20 times, bombs 1000 times
MEMORY_BYTES_MAX = 1 << 30
PIECE = 1 << 18
ZSTD_WINDOW_LOG_MAX = 27
ID_MAX = 2**32 - 2
WHITEOUT, OPAQUE, AUFS = ".wh.", ".wh..wh..opq", ".wh..wh."
XATTR = "SCHILY.xattr."
MODE_MASK = 0o7777


class Measured:
    """The decompressed stream, hashed and counted as it is read."""

    def __init__(self, inner: IO[bytes], compressed_bytes: int) -> None:
        self.inner = inner
        self.hash = hashlib.sha256()
        self.size = 0
        self.size_max = min(BYTES_MAX, max(SMALL_BYTES, RATIO_MAX * compressed_bytes))

    def read(self, size: int = PIECE) -> bytes:
        data = self.inner.read(size)
        self.hash.update(data)
        self.size += len(data)
        if self.size > self.size_max:
            raise Refused(f"layer is larger than {self.size_max} bytes unpacked")
        return data


class Layer:
    def __init__(self, target: str, parents: list[str], size_max: int) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.root = os.open(target, flags)
        self.parents = [os.open(path, flags) for path in parents]
        self.size_max = size_max
        self.written = 0
        self.times: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for descriptor in (self.root, *self.parents):
            os.close(descriptor)

    def add(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        path = posixpath.normpath("/" + entry.name).lstrip("/")
        if not path:
            if not entry.isdir():
                raise Refused("the root is not a directory")
            self._attributes_of_directory("", entry)
            return
        above, _, name = path.rpartition("/")
        parent = self._parent(above)
        try:
            if name.startswith(WHITEOUT):
                self._whiteout(parent, name)
            else:
                self._make(tar, entry, path, parent, name)
        finally:
            os.close(parent)

    def _parent(self, path: str) -> int:
        """The directory, made where the archive does not name it, with the looks it has in the layers below."""
        try:
            return beneath.open_at(self.root, path or ".", os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            pass
        made = beneath.make_directories(self.root, path)
        names = path.split("/")
        for depth in range(len(names), 0, -1):
            self._look_like_below("/".join(names[:depth]))
        return made

    def _look_like_below(self, path: str) -> None:
        for lower in self.parents:
            try:
                found = beneath.open_at(lower, path, os.O_PATH | os.O_DIRECTORY)
            except OSError:
                continue
            about = os.fstat(found)
            os.close(found)
            opened = beneath.open_at(self.root, path, os.O_RDONLY | os.O_DIRECTORY)
            os.fchown(opened, about.st_uid, about.st_gid)
            os.fchmod(opened, stat.S_IMODE(about.st_mode))
            os.close(opened)
            return

    def _whiteout(self, parent: int, name: str) -> None:
        if name == OPAQUE:
            os.setxattr(f"/proc/self/fd/{parent}", mounts.opaque_mark(), b"y")
            return
        if name.startswith(AUFS):
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise Refused(f"invalid whiteout name {name!r}")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            pass  # this layer brings it again

    def _make(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, path: str, parent: int, name: str) -> None:
        self._make_room(parent, name, directory=entry.isdir())
        if entry.isdir():
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError:
                pass
            self._attributes_of_directory(path, entry)
            return
        if entry.islnk():
            self._hard_link(entry, parent, name)
            return
        if entry.issym():
            os.symlink(entry.linkname, name, dir_fd=parent)
            os.chown(name, *owner(entry), dir_fd=parent, follow_symlinks=False)
        elif entry.isfile():
            self._file(tar, entry, parent, name)
        elif entry.ischr() or entry.isblk() or entry.isfifo():
            self._device(entry, parent, name)
        else:
            raise Refused(f"entry {entry.name[:200]!r} has an unknown type")
        os.utime(name, ns=(times(entry), times(entry)), dir_fd=parent, follow_symlinks=False)

    def _make_room(self, parent: int, name: str, *, directory: bool) -> None:
        try:
            there = os.lstat(name, dir_fd=parent).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(there):
            os.unlink(name, dir_fd=parent)
        elif not directory:
            shutil.rmtree(name, dir_fd=parent)

    def _hard_link(self, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        """To what the archive itself brought; a link as last component is linked, not followed."""
        target = posixpath.normpath("/" + entry.linkname).lstrip("/")
        above, _, last = target.rpartition("/")
        where = beneath.open_at(self.root, above or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(last, name, src_dir_fd=where, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(where)

    def _file(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        content = tar.extractfile(entry)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb", 0) as opened:
            while content is not None and (piece := content.read(PIECE)):
                self.written += len(piece)
                if self.written > self.size_max:  # a sparse file is longer than what the archive has of it
                    raise Refused(f"layer is larger than {self.size_max} bytes unpacked")
                opened.write(piece)
            os.fchown(descriptor, *owner(entry))
            os.fchmod(descriptor, entry.mode & MODE_MASK)
            for key, value in extended(entry):
                os.setxattr(descriptor, key, value)

    def _device(self, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        kind = stat.S_IFIFO if entry.isfifo() else stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
        number = 0 if entry.isfifo() else os.makedev(entry.devmajor & 0xFFF, entry.devminor & 0xFFFFF)
        if kind == stat.S_IFCHR and number == 0:
            raise Refused("a character device 0:0 is overlayfs' own mark")
        os.mknod(name, kind | entry.mode & MODE_MASK, number, dir_fd=parent)
        os.chown(name, *owner(entry), dir_fd=parent, follow_symlinks=False)

    def _attributes_of_directory(self, path: str, entry: tarfile.TarInfo) -> None:
        opened = beneath.open_at(self.root, path or ".", os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if path else 0))
        try:
            os.fchown(opened, *owner(entry))
            os.fchmod(opened, entry.mode & MODE_MASK)
            for key, value in extended(entry):
                os.setxattr(opened, key, value)
        finally:
            os.close(opened)
        self.times.append((path, times(entry)))

    def set_directory_times(self) -> None:
        """Last, since every entry made in a directory changes it."""
        for path, moment in reversed(self.times):
            try:
                opened = beneath.open_at(self.root, path or ".", os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue  # replaced by something else meanwhile
            os.utime(opened, ns=(moment, moment))
            os.close(opened)


def owner(entry: tarfile.TarInfo) -> tuple[int, int]:
    if not (0 <= entry.uid <= ID_MAX and 0 <= entry.gid <= ID_MAX):
        raise Refused(f"entry {entry.name[:200]!r} has an owner that is out of range")
    return entry.uid, entry.gid


def times(entry: tarfile.TarInfo) -> int:
    try:
        return min(max(int(entry.mtime), 0), 2**33) * 1_000_000_000
    except (OverflowError, ValueError):
        return 0


def extended(entry: tarfile.TarInfo) -> list[tuple[str, bytes]]:
    named = ((key.removeprefix(XATTR), value) for key, value in entry.pax_headers.items() if key.startswith(XATTR))
    return [(name, value.encode("utf-8", "surrogateescape")) for name, value in named if is_carried(name)]


def is_carried(attribute: str) -> bool:
    """File capabilities and what is the user's; never what steers overlayfs or a security module."""
    return attribute == "security.capability" or (
        attribute.startswith("user.") and not attribute.startswith("user.overlay.")
    )


def decompressed(blob: IO[bytes], compression: str) -> IO[bytes]:
    """By what the bytes are, where the archive did not say."""
    if compression == "gzip":
        return gzip.GzipFile(fileobj=blob)  # type: ignore[return-value]
    if compression == "zstd":
        try:
            from compression import zstd  # type: ignore[import-not-found]
        except ImportError:
            from backports import zstd
        options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}
        return zstd.ZstdFile(blob, options=options)  # type: ignore[no-any-return]
    return blob


def unpack(blob: IO[bytes], compression: str, target: str, parents: list[str]) -> dict[str, Any]:
    measured = Measured(decompressed(blob, compression), os.fstat(blob.fileno()).st_size)
    with Layer(target, parents, measured.size_max) as layer, open_tar(measured) as tar:  # type: ignore[arg-type]
        for count, entry in enumerate(entries(tar), 1):
            if count > ENTRIES_MAX:
                raise Refused(f"layer has more than {ENTRIES_MAX} entries")
            layer.add(tar, entry)
        layer.set_directory_times()
    while measured.read():
        pass  # the digest is that of the whole stream
    return {"diff_id": f"sha256:{measured.hash.hexdigest()}", "size": layer.written}


def main(arguments: list[str]) -> None:
    compression, target, *parents = arguments
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0)
    try:
        answer = unpack(sys.stdin.buffer, compression, target, parents)
    except (Refused, tarfile.TarError, EOFError, ValueError, RecursionError, MemoryError) as error:
        answer = {"error": str(error) or type(error).__name__}
    except OSError as error:
        answer = {"error": f"{error.strerror or error}: {str(error.filename or '')[:200]}"}
    except Exception as error:  # noqa: BLE001 - a decompressor's own errors; the parent only needs to know why
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
