"""`kybern.local/host`: the machine's own root file system as an image, offline and at once.

Its one layer is `/` itself, of which only programs and public settings show: whoever may start a pod is not thereby
somebody who may read this machine's homes, data and keys. What is not shown is empty there: directories that do not
hold programs, and what of `/` and `/etc` not every user of the machine may read.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from kybern.runtime.images.image import ReadyImage
from kybern.runtime.spec import DEFAULT_PATH, ImageDefaults

NAME = "kybern.local/host"
ID = "sha256:" + "0" * 56 + "686f7374"  # not a digest of anything: nothing that is pulled can have it
SHOWN = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc"})
TAKEN_APART = frozenset({"var"})
"""Shown with empty directories: programs expect those, /var/tmp above all."""


def is_host(name: str) -> bool:
    return name in (NAME, f"{NAME}:latest", ID)


def host_image(also_hidden: tuple[Path, ...]) -> ReadyImage:
    defaults = ImageDefaults(cmd=("/bin/sh",), env=(f"PATH={DEFAULT_PATH}",))
    hidden = (*hidden_in("/"), *(os.path.realpath(path) for path in also_hidden))
    return ReadyImage(id=ID, layers=("/",), defaults=defaults, hidden=hidden)


def hidden_in(root: str) -> Iterator[str]:
    """The directories and files of a machine that its image shows empty."""
    for entry in os.scandir(root):
        if entry.is_dir(follow_symlinks=False) and entry.name in TAKEN_APART:
            yield from (below.path for below in os.scandir(entry.path) if below.is_dir(follow_symlinks=False))
        elif (entry.is_dir(follow_symlinks=False) and entry.name not in SHOWN) or is_private(entry):
            yield entry.path
        elif entry.name == "etc":
            yield from private_in(entry.path)


def private_in(directory: str) -> Iterator[str]:
    for entry in os.scandir(directory):
        if is_private(entry):
            yield entry.path
        elif entry.is_dir(follow_symlinks=False):
            yield from private_in(entry.path)


def is_private(entry: os.DirEntry[str]) -> bool:
    """A file or directory that not everybody may read; links have no rights of their own."""
    mode = entry.stat(follow_symlinks=False).st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return not stat.S_ISLNK(mode) and mode & wanted != wanted
