"""What a runtime must find again after a restart: a directory for each thing, with its record in `config.json`.

Records are replaced as a whole. A directory goes in one step, by a name with a dot in front, and is emptied after that;
what has no record is what somebody who was killed had half made or half removed, and `sweep` takes it away.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from kybern.linux import mounts

T = TypeVar("T")

RECORD = "config.json"


def save(path: Path, value: object) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(msgspec.json.encode(value))
    os.replace(temporary, path)


def load(path: Path, kind: type[T]) -> T | None:
    """None when it is not there or was not written to its end."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def names(directory: Path) -> Iterator[str]:
    try:
        yield from sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        return


def remove(directory: Path) -> None:
    """With everything in it and mounted beneath it."""
    mounts.unmount_beneath(str(directory))
    going = directory.with_name(f".{directory.name}")
    try:
        directory.rename(going)
    except FileNotFoundError:
        return
    shutil.rmtree(going, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Remove what is there without a record."""
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name.startswith(".") or not (path / RECORD).exists():
            mounts.unmount_beneath(str(path))
            shutil.rmtree(path, ignore_errors=True)
