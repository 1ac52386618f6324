"""What a runtime must find again after a restart: small JSON files, each replaced as a whole."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


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
