"""Keeping running containers on the CPUs that are theirs, as others are given some of their own or give them back."""

import asyncio
import logging

from kybern.aio.timeouts import timeout
from kybern.kubelet.observed import POD_UID
from kybern.kubelet.parts import Parts
from kybern.runtime.cri import ContainerState, LinuxResources, RuntimeFault

PERIOD_SECONDS = 10.0

log = logging.getLogger(__name__)


class Cpusets:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.news = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled; at once where no CPU is ever anybody's own."""
        while self.parts.cpus.static:
            self.news.clear()
            await self.settle()
            try:
                async with timeout(PERIOD_SECONDS):
                    await self.news.wait()
            except TimeoutError:
                pass

    async def settle(self) -> None:
        parts = self.parts
        for status in [c for observed in list(parts.pleg.every().values()) for c in observed.containers]:
            wanted = parts.cpus.of(status.labels.get(POD_UID, ""), status.metadata.name)
            now = status.resources.cpuset_cpus if status.resources else ""
            if status.state is not ContainerState.RUNNING or wanted in ("", now):
                continue
            try:
                await parts.runtime.update_container_resources(status.id, LinuxResources(cpuset_cpus=wanted))
                await parts.pleg.note(status.id)
            except RuntimeFault as fault:
                log.warning("container %s could not be moved to CPUs %s: %s", status.metadata.name, wanted, fault)
