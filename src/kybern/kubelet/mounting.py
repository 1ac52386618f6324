"""The volumes of one pod as its worker sees them: set up before anything starts, refreshed while it runs.

What changes in the API reaches the pod's files when `refreshing` has its turn; labels and annotations at once, because the
pod itself brings the news of them.
"""

import asyncio

from kybern.api.core_v1 import Pod
from kybern.api.errors import ApiError
from kybern.kubelet.observed import Observed, ips_of
from kybern.kubelet.parts import Parts
from kybern.volumes.downward import Facts
from kybern.volumes.payload import VolumeFault


def facts_of(parts: Parts, pod: Pod, observed: Observed) -> Facts:
    """What the downward API may tell."""
    config = parts.config
    return Facts(
        pod_ips=ips_of(pod, observed, config.node_ips),
        host_ips=config.node_ips,
        node_name=config.node_name,
        allocatable=parts.node.allocatable,
    )


class Mounting:
    def __init__(self, parts: Parts, pod: Pod) -> None:
        self.parts, self.pod = parts, pod
        self.ready = False
        self.ended = False
        self._news = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def update(self, pod: Pod) -> None:
        """The pod changed in the API."""
        old, self.pod = self.pod.metadata, pod
        if (old.labels, old.annotations) != (pod.metadata.labels, pod.metadata.annotations):
            self.look_again()

    async def prepare(self, observed: Observed, not_before: float) -> None:
        """VolumeFault where it cannot be done now."""
        if not self.ready:
            await self.parts.volumes.set_up(self.pod, facts_of(self.parts, self.pod, observed), not_before)
            self.ready = True

    def look_again(self) -> None:
        """At what the API has, where anything of it can change."""
        if self.parts.volumes.is_refreshed(self.pod):
            self._news.set()

    async def keep_fresh(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            observed = self.parts.pleg.of(self.pod.metadata.uid or "")
            if self.ready or observed.running:
                await self._refresh(observed)

    async def tear_down(self) -> None:
        """After this nothing is made again."""
        async with self._one_at_a_time:
            self.ended = True
            await self.parts.volumes.tear_down(self.pod.metadata.uid or "")

    async def _refresh(self, observed: Observed) -> None:
        try:
            async with self._one_at_a_time:
                if not self.ended:
                    await self.parts.volumes.refresh(self.pod, facts_of(self.parts, self.pod, observed))
        except (VolumeFault, ApiError, OSError) as fault:
            self.parts.recorder.event(self.pod, "Warning", "FailedMount", str(fault))
