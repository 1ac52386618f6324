"""The directory that a subPath names, made where it is missing: with the mode and group of its volume, inside of it."""

import os
import stat
from contextlib import suppress

from kybern.linux import beneath


def make_sub_path(volume: str, path: str) -> None:
    """Nothing where it is there already, as file or directory. OSError where it would lead out of the volume."""
    root = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        missing = _missing(root, path)
        if not missing:
            return
        found = os.stat(volume)
        os.close(beneath.make_directories(root, path))
        for made in missing:
            _take_after(root, made, found)
    finally:
        os.close(root)


def _missing(root: int, path: str) -> list[str]:
    """The leading parts of the path that are not there yet."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    parts = ["/".join(names[: depth + 1]) for depth in range(len(names))]
    for depth, part in enumerate(parts):
        try:
            os.close(beneath.open_path(root, part, resolve=beneath.BENEATH))
        except FileNotFoundError:
            return parts[depth:]
    return []


def _take_after(root: int, path: str, volume: os.stat_result) -> None:
    """What the umask took away is given back, so that whoever may use the volume may use this."""
    directory = beneath.open_at(root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=beneath.BENEATH)
    try:
        with suppress(PermissionError):
            os.fchown(directory, -1, volume.st_gid)
        os.fchmod(directory, stat.S_IMODE(volume.st_mode))
    finally:
        os.close(directory)
