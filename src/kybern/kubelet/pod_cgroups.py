"""Pod cgroups on a real machine: one around the containers of each pod, with the limits of the pod as a whole."""

import asyncio

from kybern.linux.cgroups import Cgroups, Limits
from kybern.runtime.cri import LinuxResources


class KernelCgroups:
    def __init__(self, cgroups: Cgroups) -> None:
        self.cgroups, self.unified = cgroups, cgroups.unified

    def ensure(self, path: str, resources: LinuxResources) -> None:
        self.cgroups.create(path)
        self.cgroups.limit(
            path,
            Limits(
                cpu_period=resources.cpu_period,
                cpu_quota=resources.cpu_quota,
                cpu_shares=resources.cpu_shares,
                memory_limit_bytes=resources.memory_limit_bytes,
                pids_limit=resources.pids_limit,
                hugepage_limits=resources.hugepage_limits,
                unified=resources.unified,
            ),
        )

    def freeze(self, path: str, *, on: bool) -> None:
        self.cgroups.freeze(path, on)

    def working_set_bytes(self, path: str) -> int:
        return self.cgroups.usage(path).working_set_bytes

    async def remove(self, path: str) -> None:
        """Beside everything else: a group stays busy for a moment after its last process ended."""
        await asyncio.to_thread(self.cgroups.remove, path)
