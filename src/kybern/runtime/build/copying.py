"""COPY and ADD, in a process of its own with a mount namespace of its own: what it mounts goes when it ends.

    python -I -S -c PROGRAM  < order (JSON)      prints {"digest": ...}, {} or {"error": ...}

The target is the overlay of the stage's layers, with the new layer's directory on top: a path is resolved as the image's
own links say, and only what is new lands in the new layer.
"""

import contextlib
import json
import os
import posixpath
import resource
import stat
import sys
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from kybern.linux import beneath, mounts, namespaces
from kybern.runtime.build.ignore import Ignore
from kybern.runtime.build.sources import Found, NotThere, digest, find, read_link, walk
from kybern.runtime.images.bounded_tar import Refused, entries, open_tar
from kybern.runtime.images.unpack import Layer, decompressed, is_carried
from kybern.runtime.warden.filesystem import hiding_layer
from kybern.runtime.warden.identity import resolve_user
from kybern.runtime.warden.owners import SetupError

Order = Mapping[str, Any]

PIECE = 1 << 20
UNPACKED_BYTES_MAX = 64 << 30
DIRECTORY_MODE, INLINE_MODE = 0o755, 0o644
MODE_MASK = 0o7777
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ": "xz"}


class Target:
    """Where files go: beneath an open root, with one owner for all of them where one was asked for."""

    def __init__(self, root: int, owner: tuple[int, int], mode: int | None) -> None:
        self.root, self.owner, self.mode = root, owner, mode

    def directory(self, path: str) -> int:
        """Made where it is missing, each new part with the owner of what is copied."""
        clean = posixpath.normpath("/" + path).lstrip("/")
        try:
            return beneath.open_at(self.root, clean or ".", os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            pass
        parts = clean.split("/")
        for depth in range(1, len(parts) + 1):
            part = "/".join(parts[:depth])
            try:
                os.close(beneath.open_at(self.root, part, os.O_PATH | os.O_DIRECTORY))
            except FileNotFoundError:
                made = beneath.make_directories(self.root, part)
                os.chmod(f"/proc/self/fd/{made}", DIRECTORY_MODE)
                os.chown(f"/proc/self/fd/{made}", *self.owner)
                os.close(made)
        return beneath.open_at(self.root, clean, os.O_PATH | os.O_DIRECTORY)

    def is_directory(self, path: str) -> bool:
        clean = posixpath.normpath("/" + path).lstrip("/")
        try:
            os.close(beneath.open_at(self.root, clean or ".", os.O_PATH | os.O_DIRECTORY))
        except OSError:
            return False
        return True

    def finish(self, parent: int, name: str, mode: int, times: tuple[int, int] | None) -> None:
        os.chown(name, *self.owner, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(name, (self.mode if self.mode is not None else mode) & MODE_MASK, dir_fd=parent)
        if times is not None:
            os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


def copy(order: Order, source: int, target: Target) -> None:
    destination = order["destination"]
    ignore = Ignore("\n".join((order.get("ignore", ""), *order.get("exclude", ()))))
    wanted = [found for pattern in order["patterns"] for found in find(source, pattern, ignore)]
    if not wanted and not order.get("inline"):
        os.close(target.directory(destination))  # WORKDIR
    into = destination.endswith("/") or target.is_directory(destination)
    if len(wanted) + len(order.get("inline", ())) > 1 and not into:
        raise SetupError(
            "when more than one source file is copied, the destination must be a directory and end with a /"
        )
    for found in wanted:
        if order.get("parents"):
            above = posixpath.dirname(found.path) if not stat.S_ISDIR(found.about.st_mode) else found.path
            copy_one(source, found, target, f"{destination.rstrip('/')}/{above}/", True, order, ignore)
        else:
            copy_one(source, found, target, destination, into, order, ignore)
    for name, content in order.get("inline", ()):
        parent, last = place(target, destination, into, name)
        write_file(parent, last, iter((content.encode(),)))
        target.finish(parent, last, INLINE_MODE, None)
        os.close(parent)


def copy_one(
    source: int, found: Found, target: Target, destination: str, into: bool, order: Order, ignore: Ignore
) -> None:
    if stat.S_ISDIR(found.about.st_mode):
        if target.is_directory(destination) or not exists(target, destination):
            copy_directory(source, found.path, target, destination, ignore)
            return
        raise SetupError(f"cannot copy to non-directory: {destination}")
    opened = beneath.open_at(source, found.path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(opened, "rb") as content:
        if order.get("unpack") and unpack_archive(content, target, destination):
            return
        parent, name = place(target, destination, into, posixpath.basename(found.path))
        copy_file(opened, parent, name)
        target.finish(parent, name, found.about.st_mode, (found.about.st_atime_ns, found.about.st_mtime_ns))
        os.close(parent)


def exists(target: Target, path: str) -> bool:
    try:
        os.close(beneath.open_path(target.root, posixpath.normpath("/" + path).lstrip("/") or "."))
    except FileNotFoundError:
        return False
    return True


def place(target: Target, destination: str, into: bool, name: str) -> tuple[int, str]:
    """(open directory, name in it) for one file."""
    if into:
        return target.directory(destination), name
    above, _, last = posixpath.normpath("/" + destination).rpartition("/")
    return target.directory(above), last


def copy_directory(source: int, path: str, target: Target, destination: str, ignore: Ignore) -> None:
    """What lies in it, not itself, as Docker does."""
    os.close(target.directory(destination))
    late: list[tuple[str, os.stat_result]] = []
    for below, about in walk(source, path, ignore):
        above, _, name = below.rpartition("/")
        parent = target.directory(f"{destination}/{above}")
        try:
            copy_entry(source, f"{path}/{below}".lstrip("/"), about, target, parent, name)
        finally:
            os.close(parent)
        if stat.S_ISDIR(about.st_mode):
            late.append((below, about))
    for below, about in reversed(late):  # every file made in a directory changes its time
        above, _, name = below.rpartition("/")
        parent = target.directory(f"{destination}/{above}")
        os.utime(name, ns=(about.st_atime_ns, about.st_mtime_ns), dir_fd=parent, follow_symlinks=False)
        os.close(parent)


def copy_entry(source: int, path: str, about: os.stat_result, target: Target, parent: int, name: str) -> None:
    kind = stat.S_IFMT(about.st_mode)
    times = (about.st_atime_ns, about.st_mtime_ns)
    if kind == stat.S_IFDIR:
        make_directory(parent, name)
        mode = about.st_mode if target.mode is None else target.mode | 0o111
        os.chown(name, *target.owner, dir_fd=parent, follow_symlinks=False)
        os.chmod(name, mode & MODE_MASK, dir_fd=parent)
        return
    make_room(parent, name)
    if kind == stat.S_IFREG:
        opened = beneath.open_at(source, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            copy_file(opened, parent, name)
        finally:
            os.close(opened)
    elif kind == stat.S_IFLNK:
        os.symlink(read_link(source, path), name, dir_fd=parent)
    elif kind == stat.S_IFIFO:
        os.mkfifo(name, dir_fd=parent)
    else:
        return  # sockets and devices are no files of an image
    target.finish(parent, name, about.st_mode, times)


def make_directory(parent: int, name: str) -> None:
    try:
        os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            raise SetupError(f"cannot copy to non-directory: {name}") from None


def make_room(parent: int, name: str) -> None:
    try:
        there = os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(there.st_mode):
        raise SetupError(f"cannot replace to directory {name} with file")
    os.unlink(name, dir_fd=parent)


def copy_file(opened: int, parent: int, name: str) -> None:
    make_room(parent, name)
    write_file(parent, name, iter(lambda: os.read(opened, PIECE), b""))
    for attribute in filter(is_carried, os.listxattr(opened)):
        os.setxattr(f"/proc/self/fd/{parent}/{name}", attribute, os.getxattr(opened, attribute))


def write_file(parent: int, name: str, pieces: Iterator[bytes]) -> None:
    make_room(parent, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb", 0) as made:
        for piece in pieces:
            made.write(piece)


def unpack_archive(content: Any, target: Target, destination: str) -> bool:
    """ADD unpacks a local archive; whether it was one, which its first header says."""
    begin = content.read(8)
    content.seek(0)
    compression = next((kind for magic, kind in COMPRESSIONS.items() if begin.startswith(magic)), "")
    by_tarfile = compression if compression in ("bz2", "xz") else ""
    try:
        tar = open_tar(content if by_tarfile else decompressed(content, compression), by_tarfile)
        is_one = tar.firstmember is not None  # type: ignore[attr-defined]  # zeros are an empty archive, or a disk
    except (tarfile.ReadError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        is_one = False
    if not is_one:
        content.seek(0)
        return False
    directory = target.directory(destination)
    with tar, Layer(f"/proc/self/fd/{directory}", [], UNPACKED_BYTES_MAX) as layer:
        for entry in entries(tar):
            layer.add(tar, entry)
        layer.set_directory_times()
    os.close(directory)
    return True


@contextlib.contextmanager
def source_root(order: Order, staging: str) -> Iterator[int]:
    """A directory of the machine, or the layers of a stage or image, read-only."""
    path = order["source"].get("directory", "")
    layers = list(order["source"].get("layers", ()))
    if order["source"].get("hidden"):
        mounts.tmpfs(staging, mode=0o700)
        layers.insert(0, hiding_layer(f"{staging}/hidden", order["source"]["hidden"]))
        os.mkdir(f"{staging}/root")
        staging = f"{staging}/root"
    if len(layers) > 1:
        mounts.attach_at(mounts.overlay(layers), staging)
        path = staging
    opened = os.open(path or (layers[0] if layers else staging), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield opened
    finally:
        os.close(opened)


def target_of(order: Order, staging: str) -> Target:
    layer = order["target"]
    lower = layer["layers"] or [layer["empty"]]
    mounts.attach_at(mounts.overlay(lower, layer["upper"], layer["work"]), staging)
    root = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Target(root, owner_of(root, order.get("owner", "")), order.get("mode"))


def owner_of(root: int, text: str) -> tuple[int, int]:
    """A number alone is user and group (Docker's reference of COPY --chown)."""
    if not text:
        return 0, 0
    user = resolve_user(root, {"username": text if ":" in text or not text.isdigit() else f"{text}:{text}"})
    return user.uid, user.gid


def act(order: Order) -> dict[str, str]:
    namespaces.unshare(namespaces.NEWNS)
    mounts.set_propagation("/", mounts.PRIVATE)
    with source_root(order, f"{order['staging']}/source") as source:
        if order["operation"] == "digest":
            ignore = Ignore("\n".join((order.get("ignore", ""), *order.get("exclude", ()))))
            return {"digest": digest(source, order["patterns"], ignore)}
        copy(order, source, target_of(order, f"{order['staging']}/target"))
    return {}


def main(arguments: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0)
    try:
        answer = act(json.load(sys.stdin))
    except (NotThere, SetupError, Refused, tarfile.TarError, EOFError) as error:
        answer = {"error": str(error)}
    except OSError as error:
        answer = {"error": f"{error.strerror or error}: {str(error.filename or '')[:200]}"}
    print(json.dumps(answer))
