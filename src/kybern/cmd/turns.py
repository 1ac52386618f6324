"""One command at a time changes which clusters this machine has, and what they are like.

Two `kybern up` at once would otherwise choose the same addresses, or start the same cluster twice. The kernel gives a turn
back when its process ends, however it ends (flock(2)).
"""

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self


class Turn:
    """`with Turn(run_root):` waits for those that came before. A child has it too, and it ends when both have closed it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_others(root)
        self.descriptor = os.open(root / "turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """For this process; again does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def refuse_others(directory: Path) -> None:
    """In /tmp anybody may have made it first, and would then be master of what is in it."""
    about = directory.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "belongs to somebody else", str(directory))
