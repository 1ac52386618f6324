"""CRI's figures: what containers use, one by one and by sandbox."""

import asyncio
from collections.abc import Mapping
from typing import Any

from kybern.aio.clock import Clock
from kybern.runtime import cri
from kybern.runtime.cri import ContainerState, Runtime
from kybern.runtime.remote import told
from kybern.runtime.remote.lookups import Lookups
from kybern.runtime.remote.values import labels_match

Fields = Mapping[str, Any]


class StatsCalls:
    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self.runtime, self.clock, self.find = runtime, clock, Lookups(runtime)

    async def ContainerStats(self, request: Any) -> Fields:
        found = await self.find.container(request.container_id)
        return {"stats": told.container_stats(found, await self.runtime.container_stats(found.id), self.clock.wall())}

    async def ListContainerStats(self, request: Any) -> Fields:
        wanted = request.filter
        measured = [
            each
            for each in await self._measured()
            if each[0].id.startswith(wanted.id)
            and each[0].sandbox_id.startswith(wanted.pod_sandbox_id)
            and labels_match(each[0].labels, wanted.label_selector)
        ]
        return {"stats": [told.container_stats(*each, self.clock.wall()) for each in measured]}

    async def PodSandboxStats(self, request: Any) -> Fields:
        found = await self.find.sandbox(request.pod_sandbox_id)
        measured = [each for each in await self._measured() if each[0].sandbox_id == found.id]
        return {"stats": told.sandbox_stats(found, measured, self.clock.wall())}

    async def ListPodSandboxStats(self, request: Any) -> Fields:
        wanted, measured = request.filter, await self._measured()
        return {
            "stats": [
                told.sandbox_stats(each, [m for m in measured if m[0].sandbox_id == each.id], self.clock.wall())
                for each in await self.runtime.list_pod_sandboxes()
                if each.id.startswith(wanted.id) and labels_match(each.config.labels, wanted.label_selector)
            ]
        }

    async def _measured(self) -> list[tuple[cri.ContainerStatus, cri.ContainerStats]]:
        """The running containers; one that ends meanwhile is left out."""
        running = [each for each in await self.runtime.list_containers() if each.state is ContainerState.RUNNING]
        found = await asyncio.gather(
            *(self.runtime.container_stats(each.id) for each in running), return_exceptions=True
        )
        return [
            (status, stats)
            for status, stats in zip(running, found, strict=True)
            if isinstance(stats, cri.ContainerStats)
        ]
