"""What COPY and ADD take: files beneath a root, found by patterns, less what is ignored; and a digest of what they hold.

Nothing leads out of the root: links in the path of a source are followed inside it, links that lie in a copied directory
stay links. Runs in the process that copies (see `copying`); only the standard library is imported.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kybern.linux import beneath
from kybern.runtime.build.ignore import Ignore, compiled

PIECE = 1 << 20
ENTRIES_MAX = 1_000_000
WILD = frozenset("*?[\\")


class NotThere(Exception):
    """A source that the context or stage does not have."""


class Found(NamedTuple):
    path: str
    """Below the root, without a leading slash; empty for the root itself."""
    about: os.stat_result


def find(root: int, pattern: str, ignore: Ignore) -> list[Found]:
    """The sources that a pattern names, sorted."""
    clean = posixpath.normpath("/" + pattern).lstrip("/")
    if not WILD & set(clean):
        names = [clean]
    else:
        names = [""]
        for part in clean.split("/"):
            names = [each for name in names for each in _children(root, name, part)]
    found = [
        Found(name, about)
        for name in sorted(names)
        if (about := _stat(root, name)) and _wanted(root, name, about, ignore)
    ]
    if not found:
        raise NotThere(f'"/{clean}": not found')
    return found


def _wanted(root: int, name: str, about: os.stat_result, ignore: Ignore) -> bool:
    """An ignored directory may still hold what an exception takes back in."""
    if not name or not ignore.leaves_out(name):
        return True
    return ignore.exceptions and stat.S_ISDIR(about.st_mode) and any(True for _ in walk(root, name, ignore))


def _stat(root: int, name: str) -> os.stat_result | None:
    try:
        opened = beneath.open_path(root, name or ".")
    except OSError:
        return None
    try:
        return os.fstat(opened)
    finally:
        os.close(opened)


def _children(root: int, name: str, part: str) -> list[str]:
    if not WILD & set(part):
        return [f"{name}/{part}".lstrip("/")]
    pattern = compiled(part)
    try:
        opened = beneath.open_at(root, name or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return [f"{name}/{each}".lstrip("/") for each in os.listdir(opened) if pattern.fullmatch(each)]
    finally:
        os.close(opened)


def walk(root: int, source: str, ignore: Ignore) -> Iterator[tuple[str, os.stat_result]]:
    """(path below the source, what it is) of everything in a directory, a directory before what lies in it.

    An ignored directory is there only for the sake of something in it that is not.
    """
    top = beneath.open_at(root, source or ".", os.O_RDONLY | os.O_DIRECTORY)
    waiting: list[tuple[str, os.stat_result]] = []
    try:
        for count, (below, about) in enumerate(_walk(top, "", _Prune(source, ignore))):
            if count > ENTRIES_MAX:
                raise NotThere(f'"/{source}": has more than {ENTRIES_MAX} entries')
            if ignore.leaves_out(f"{source}/{below}".lstrip("/")):
                waiting.append((below, about))
                continue
            yield from (each for each in waiting if below.startswith(f"{each[0]}/"))
            waiting.clear()
            yield below, about
    finally:
        os.close(top)


class _Prune(NamedTuple):
    source: str
    ignore: Ignore

    def __call__(self, below: str, about: os.stat_result) -> bool:
        """What is not even looked into."""
        looked_into = stat.S_ISDIR(about.st_mode) and self.ignore.exceptions
        return not looked_into and self.ignore.leaves_out(f"{self.source}/{below}".lstrip("/"))


def _walk(directory: int, below: str, prune: _Prune) -> Iterator[tuple[str, os.stat_result]]:
    for name in sorted(os.listdir(directory)):
        about = os.lstat(name, dir_fd=directory)
        path = f"{below}/{name}".lstrip("/")
        if prune(path, about):
            continue
        yield path, about
        if stat.S_ISDIR(about.st_mode):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            opened = beneath.open_at(directory, name, flags, resolve=beneath.BENEATH)
            try:
                yield from _walk(opened, path, prune)
            finally:
                os.close(opened)


def digest(root: int, patterns: Sequence[str], ignore: Ignore) -> str:
    """Of names, kinds, modes and contents; owners and times do not count, as in Docker."""
    whole = hashlib.sha256()
    for pattern in patterns:
        for source in find(root, pattern, ignore):
            _note(whole, root, source.path, "", source.about)
            if stat.S_ISDIR(source.about.st_mode):
                for below, about in walk(root, source.path, ignore):
                    _note(whole, root, source.path, below, about)
    return whole.hexdigest()


def _note(whole: "hashlib._Hash", root: int, source: str, below: str, about: os.stat_result) -> None:
    name = below or posixpath.basename(source)
    whole.update(f"{len(name)}:{name}:{about.st_mode:o}:".encode("utf-8", "surrogateescape"))
    path = f"{source}/{below}".strip("/")
    if stat.S_ISLNK(about.st_mode):
        whole.update(read_link(root, path).encode("utf-8", "surrogateescape") + b"\0")
    elif stat.S_ISREG(about.st_mode):
        whole.update(f"{about.st_size}:".encode())
        opened = beneath.open_at(root, path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(opened, "rb", 0) as content:
            while piece := content.read(PIECE):
                whole.update(piece)


def read_link(root: int, path: str) -> str:
    above, _, name = path.rpartition("/")
    parent = beneath.open_at(root, above or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        return os.readlink(name, dir_fd=parent)
    finally:
        os.close(parent)
