"""Writing a pod's status: only what changed, only the latest, one write at a time.

What is wanted may change faster than it can be written; whatever lies between is never sent. A phase, and whether the pod
is ready, are told at once; other news waits a moment for more, so that a pod that starts fast is written once, as running.
Conditions that others own are theirs: they are neither written nor noticed. What others made of ours stays for a moment, as
upstream's, and is then put right: a node that was thought to be lost finds its pods marked as not ready.
"""

import asyncio
import logging

from msgspec.structs import replace

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import Pod, PodCondition, PodStatus
from kybern.api.errors import ApiError, Conflict, Invalid, NotFound
from kybern.client import Client
from kybern.kubelet.conditions import OWNED
from kybern.kubelet.phase import TERMINAL
from kybern.kubelet.status import status_patch

BACKOFF = Backoff(first_seconds=0.2, max_seconds=10.0)
GATHERING_SECONDS = 0.1  # about what a pod takes to start
RESTORING_SECONDS = 10.0
RESTORED = ("conditions", "container_statuses", "init_container_statuses", "ephemeral_container_statuses")

log = logging.getLogger(__name__)


class StatusWriter:
    def __init__(self, client: Client, clock: Clock, pod: Pod) -> None:
        self.client, self.clock, self.pod = client, clock, pod
        self.written: PodStatus = pod.status
        self.wanted: PodStatus = pod.status
        self.gone = False
        """The API has no such pod any more."""
        self.absent = False
        """It has none yet: a static pod without its mirror."""
        self._change = asyncio.Event()
        self._urgent = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._overwritten = asyncio.Event()

    def want(self, status: PodStatus) -> None:
        if status != self.wanted:
            self.wanted = status
            self._settled.clear()
            self._change.set()
            if matters(status) != matters(self.written):
                self._urgent.set()

    def rebase(self, pod: Pod) -> None:
        """The pod changed in the API: others may have written conditions of their own."""
        self.pod = pod
        theirs = tuple(known for known in pod.status.conditions or () if known.type not in OWNED)
        self.written = _with_conditions(self.written, theirs)
        self.wanted = _with_conditions(self.wanted, theirs)
        if self._as_seen() != self.written:
            self._overwritten.set()

    def _as_seen(self) -> PodStatus:
        """What was written, as it is in the API by now. A pod that others have ended stays ended."""
        if self.pod.status.phase in TERMINAL:
            return self.written
        return replace(self.written, **{name: getattr(self.pod.status, name) for name in RESTORED})

    def attach(self, mirror: Pod) -> None:
        """From now on the status goes to this pod of the API."""
        if self.absent or mirror.metadata.uid != self.pod.metadata.uid:
            self.absent, self.written = False, mirror.status
            self._change.set()
        self.rebase(mirror)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._restore())
            await self._write_changes()

    async def _restore(self) -> None:
        while True:
            await self._overwritten.wait()
            await self.clock.sleep(RESTORING_SECONDS)  # by then the news of our own writes has come too
            self._overwritten.clear()
            await self._settled.wait()
            if status_patch("", self._as_seen(), self.written) is not None:
                self.written = self._as_seen()
                self._settled.clear()
                self._change.set()

    async def _write_changes(self) -> None:
        while True:
            await self._change.wait()
            await self._gather()
            self._change.clear()
            self._urgent.clear()
            await self._write()
            if not self._change.is_set():
                self._settled.set()

    async def _gather(self) -> None:
        try:
            async with timeout(GATHERING_SECONDS):
                await self._urgent.wait()
        except TimeoutError:
            pass

    async def flush(self) -> None:
        """What is wanted has been written, or cannot be."""
        self._urgent.set()
        await self._settled.wait()

    async def _write(self) -> None:
        failures = 0
        while not self.gone and not self.absent:
            wanted = self.wanted
            meta = self.pod.metadata
            patch = status_patch(meta.uid or "", self.written, wanted)
            if patch is None:
                return
            try:
                await self.client.patch(
                    Pod, meta.name or "", meta.namespace or "", patch, how="strategic", subresource="status"
                )
                self.written = wanted
            except (NotFound, Conflict):
                self.gone = await self._is_gone()
            except Invalid as error:
                log.error("the status of pod %s/%s was refused: %s", meta.namespace, meta.name, error.message)
                return
            except ApiError as error:
                failures += 1
                log.info("the status of pod %s/%s could not be written: %s", meta.namespace, meta.name, error.message)
                await self.clock.sleep(BACKOFF.delay(failures))

    async def _is_gone(self) -> bool:
        """Whether there is no such pod, or only a namesake. A conflict may also be just a busy moment."""
        meta = self.pod.metadata
        try:
            found = await self.client.get(Pod, meta.name or "", meta.namespace or "")
        except NotFound:
            return True
        except ApiError:
            await self.clock.sleep(BACKOFF.delay(1))
            return False
        if found.metadata.uid != meta.uid:
            return True
        await self.clock.sleep(BACKOFF.delay(1))
        return False


def matters(status: PodStatus) -> tuple[str | None, bool]:
    """What others act on: the phase, and whether the pod is ready."""
    ready = any(known.type == "Ready" and known.status == "True" for known in status.conditions or ())
    return status.phase, ready


def _with_conditions(status: PodStatus, theirs: tuple[PodCondition, ...]) -> PodStatus:
    ours = tuple(known for known in status.conditions or () if known.type in OWNED)
    return replace(status, conditions=(*ours, *theirs) or None)
