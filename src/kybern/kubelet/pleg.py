"""PLEG: what the runtime holds, kept in memory by its events, and who is to be told when it changes.

- An event names a sandbox or container; only that one is asked for.
- Everything is listed once at the start, again when the events broke off, and now and then. The events are listened to
  before that, so what changes meanwhile is known after all.
- One look at a time: an answer that took longer never replaces a newer one.
- How a container ended is read from its termination message as soon as it has ended, before its files go.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from kybern.aio.clock import Clock
from kybern.kubelet.observed import POD_UID, Observed, by_pod, observed
from kybern.kubelet.termination import with_message
from kybern.runtime.cri import ContainerStatus, Runtime, RuntimeFault, SandboxStatus

RELIST_SECONDS = 60.0
RETRY_SECONDS = 1.0
NOTHING = Observed()

log = logging.getLogger(__name__)


class Pleg:
    def __init__(self, runtime: Runtime, clock: Clock, changed: Callable[[str], None]) -> None:
        """`changed` is called with the uid of a pod of which something changed."""
        self.runtime, self.clock, self.changed = runtime, clock, changed
        self.sandboxes: dict[str, SandboxStatus] = {}
        self.containers: dict[str, ContainerStatus] = {}
        self.pods: dict[str, Observed] = {}
        self.listed = asyncio.Event()
        """What the runtime holds is known."""
        self._one_at_a_time = asyncio.Lock()

    def of(self, uid: str) -> Observed:
        return self.pods.get(uid, NOTHING)

    def every(self) -> Mapping[str, Observed]:
        return self.pods

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._relist_at_times())
            while True:
                try:
                    await self._follow_events()
                except (RuntimeFault, OSError) as error:
                    log.warning("the runtime's events broke off: %s", error)
                await self.clock.sleep(RETRY_SECONDS)

    async def _follow_events(self) -> None:
        told = self.runtime.events()
        await self.relist()
        self.listed.set()
        async for changed in told:
            await self.note(changed)

    async def _relist_at_times(self) -> None:
        while True:
            await self.clock.sleep(RELIST_SECONDS)
            try:
                await self.relist()
            except (RuntimeFault, OSError) as error:
                log.warning("the runtime cannot list: %s", error)

    async def relist(self) -> None:
        """Compare everything with the runtime."""
        async with self._one_at_a_time:
            sandboxes = {sandbox.id: sandbox for sandbox in await self.runtime.list_pod_sandboxes()}
            containers = {container.id: container for container in await self.runtime.list_containers()}
        self.sandboxes = sandboxes
        self.containers = {key: self._kept_or_read(status) for key, status in containers.items()}
        before, self.pods = self.pods, dict(by_pod(self.sandboxes.values(), self.containers.values()))
        for uid in before.keys() | self.pods.keys():
            if before.get(uid) != self.pods.get(uid):
                self.changed(uid)

    def _kept_or_read(self, status: ContainerStatus) -> ContainerStatus:
        known = self.containers.get(status.id)
        return known if known is not None and known.state is status.state else with_message(status)

    async def note(self, changed: str) -> None:
        """Look again at one sandbox or container."""
        async with self._one_at_a_time:
            if changed in self.sandboxes or not await self._note_container(changed):
                await self._note_sandboxes()

    async def note_sandboxes(self) -> None:
        async with self._one_at_a_time:
            await self._note_sandboxes()

    async def _note_container(self, changed: str) -> bool:
        """False where there is none, and was none."""
        try:
            status = with_message(await self.runtime.container_status(changed))
        except RuntimeFault:
            gone = self.containers.pop(changed, None)
            if gone is not None:
                self._settle(gone.labels.get(POD_UID, ""))
            return gone is not None
        self.containers[changed] = status
        self._settle(status.labels.get(POD_UID, ""))
        return True

    async def _note_sandboxes(self) -> None:
        before = self.sandboxes
        self.sandboxes = {sandbox.id: sandbox for sandbox in await self.runtime.list_pod_sandboxes()}
        for key in before.keys() | self.sandboxes.keys():
            old, new = before.get(key), self.sandboxes.get(key)
            found = new or old
            if old != new and found is not None:
                self._settle(found.config.metadata.uid)

    def _settle(self, uid: str) -> None:
        sandboxes = [s for s in self.sandboxes.values() if s.config.metadata.uid == uid]
        containers = [c for c in self.containers.values() if c.labels.get(POD_UID) == uid]
        now = observed(sandboxes, containers)
        if now == self.of(uid):
            return
        if sandboxes or containers:
            self.pods[uid] = now
        else:
            self.pods.pop(uid, None)
        self.changed(uid)

    def forget(self, uid: str) -> None:
        """A pod's sandboxes and containers were removed: do not wait for the news of it."""
        self.sandboxes = {key: s for key, s in self.sandboxes.items() if s.config.metadata.uid != uid}
        self.containers = {key: c for key, c in self.containers.items() if c.labels.get(POD_UID) != uid}
        self.pods.pop(uid, None)
