"""Where cgroups may not be written: nothing is limited, measured or frozen, and processes end by other means.

A container's processes end with the first of its PID namespace, and a node's with that of its own.
"""

import errno
from collections.abc import Sequence

from kybern.linux.cgroups import DeviceRule, Limits, Usage


class Absent:
    unified = False

    def create(self, path: str) -> None:
        return

    def limit(self, path: str, limits: Limits) -> None:
        return

    def allow_devices(self, path: str, rules: Sequence[DeviceRule]) -> None:
        """Who may not write cgroups may not make device nodes either."""

    def entrance(self, path: str) -> list[int]:
        return []

    def pids(self, path: str) -> list[int]:
        return []

    def usage(self, path: str) -> Usage:
        return Usage()

    def oom_kills(self, path: str) -> int:
        return 0

    def kill(self, path: str) -> None:
        return

    def freeze(self, path: str, on: bool) -> None:
        if on:
            raise OSError(errno.EOPNOTSUPP, "nothing can be frozen without cgroups", path)

    def remove(self, path: str, wait_seconds: float = 0.0) -> None:
        return

    def remove_empty(self, path: str) -> None:
        raise OSError(errno.ENOENT, "there are no cgroups", path)

    def views(self, path: str) -> Sequence[tuple[str, str]]:
        return ()
