"""hostPath: a path of the machine itself, checked (and made, where asked) by its type."""

import os
import stat
from collections.abc import Callable

from kybern.volumes.payload import VolumeFault

# type -> (what the path must be, how the fault calls it)
CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def prepare(path: str, kind: str) -> None:
    """VolumeFault where the path is not what the pod says it is."""
    if not kind:
        return
    if kind not in CHECKS:
        raise VolumeFault(f"{kind} is an invalid volume type")
    if not os.path.exists(path):
        _create(path, kind)
    matches, named = CHECKS[kind]
    try:
        found = os.stat(path).st_mode
    except OSError:
        found = 0
    if not matches(found):
        raise VolumeFault(f"hostPath type check failed: {path} is not {named}")


def _create(path: str, kind: str) -> None:
    try:
        if kind == "DirectoryOrCreate":
            os.makedirs(path, 0o755, exist_ok=True)
        elif kind == "FileOrCreate":
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    except OSError as error:
        raise VolumeFault(f"cannot create {path}: {error.strerror}") from error
