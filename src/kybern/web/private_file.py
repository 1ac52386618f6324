"""Files that hold secrets: for their owner only, whole or not there at all, on disk once written."""

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Readable by the owner only, on disk when this returns, and whole or not there at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
