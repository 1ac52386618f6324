"""Stopping: preStop, the stop signal, the grace period, and only then the kill.

All preStop hooks run at once. App containers end together; sidecars outlive them and end in reverse order, as long as
the grace period lasts; the sandbox goes last. Between its signal and the kill a container has two seconds at least.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import Pod
from kybern.kubelet.containers import AnyContainer, field_path, find
from kybern.kubelet.hooks import HookFailed, run_hook
from kybern.kubelet.observed import Observed, ip_of
from kybern.kubelet.parts import Parts
from kybern.kubelet.plan import KillContainer
from kybern.kubelet.restarts import is_sidecar
from kybern.kubelet.sandbox_config import grace_of
from kybern.runtime.cri import ContainerState, ContainerStatus, SandboxState

GRACE_SECONDS_MIN = 2.0  # what a container gets to end, even where nothing was asked for or hooks used everything up

log = logging.getLogger(__name__)


class Stopping:
    """For one pod: it remembers which preStop hooks have run."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._hooked: set[str] = set()

    async def kill(self, pod: Pod, observed: Observed, action: KillContainer) -> None:
        """End one container of a pod that goes on."""
        status = next((known for known in observed.containers if known.id == action.id), None)
        if status is None:
            return
        container = find(pod, action.name)
        grace = float(grace_of(pod))
        probe = getattr(container, f"{action.cause}_probe", None) if action.cause in ("liveness", "startup") else None
        if probe is not None and probe.termination_grace_period_seconds is not None:
            grace = float(probe.termination_grace_period_seconds)
        if action.cause == "all":
            container = None  # as upstream: its preStop hook is not run
        await self._stop(status, await self._announce(pod, observed, container, status, grace, action.message))

    async def stop_pod(self, pod: Pod, observed: Observed, grace: float) -> None:
        """End everything. Idempotent; cancelled and called again when the grace period shrinks."""
        ended = {status.id: asyncio.Event() for status in observed.running}
        before = turns(pod, observed.running)

        async def stop(status: ContainerStatus) -> None:
            name = status.metadata.name
            left = await self._announce(pod, observed, find(pod, name), status, grace, f"Stopping container {name}")
            left = await self._in_turn([ended[identifier] for identifier in before[status.id]], left)
            await self._stop(status, left)
            ended[status.id].set()

        async with asyncio.TaskGroup() as tasks:
            for status in observed.running:
                tasks.create_task(stop(status))
        for sandbox in observed.sandboxes:
            if sandbox.state is SandboxState.READY:
                await self.parts.runtime.stop_pod_sandbox(sandbox.id)
        await self.parts.pleg.note_sandboxes()

    async def _in_turn(self, awaited: Sequence[asyncio.Event], grace: float) -> float:
        """What is left of the grace period when those who end earlier have ended, or have had their time."""
        began_at = self.parts.clock.monotonic()
        try:
            async with timeout(max(grace, 0.0)):
                for ended in awaited:
                    await ended.wait()
        except TimeoutError:
            pass
        return grace - (self.parts.clock.monotonic() - began_at)

    async def _stop(self, status: ContainerStatus, grace: float) -> None:
        await self.parts.runtime.stop_container(status.id, max(grace, GRACE_SECONDS_MIN))
        await self.parts.pleg.note(status.id)

    async def _announce(
        self,
        pod: Pod,
        observed: Observed,
        container: AnyContainer | None,
        status: ContainerStatus,
        grace: float,
        message: str,
    ) -> float:
        """What is left of the grace period when everybody knows, the container too."""
        if status.state is not ContainerState.RUNNING or status.id in self._hooked:
            return grace
        self._hooked.add(status.id)
        where = field_path(pod, status.metadata.name)
        self.parts.recorder.event(pod, "Normal", "Killing", message, field_path=where)
        if container is None or grace <= 0:
            return grace
        began_at = self.parts.clock.monotonic()
        try:
            async with timeout(grace):
                await self._pre_stop(pod, observed, container, status)
        except TimeoutError:
            pass  # the grace period is over, and that is all there is to it
        return grace - (self.parts.clock.monotonic() - began_at)

    async def _pre_stop(self, pod: Pod, observed: Observed, container: AnyContainer, status: ContainerStatus) -> None:
        parts = self.parts
        hook = container.lifecycle.pre_stop if container.lifecycle else None
        if hook is None:
            return
        ip, reachable = ip_of(pod, observed, parts.config.node_ips), parts.node.pods_reachable
        try:
            await run_hook(hook, parts.runtime, parts.clock, container, status.id, ip, reachable=reachable)
        except HookFailed as failed:  # what it said may be secret
            log.info("preStop hook of %s in pod %s: %s", container.name, pod.metadata.name, failed)
            where = field_path(pod, container.name)
            parts.recorder.event(pod, "Warning", "FailedPreStopHook", "PreStopHook failed", field_path=where)


def turns(pod: Pod, running: Sequence[ContainerStatus]) -> Mapping[str, Sequence[str]]:
    """By a container's id: those that end before it. A sidecar outlives the app containers and later sidecars."""
    sidecars = [container.name for container in pod.spec.init_containers or () if is_sidecar(container)]
    places = {status.id: _place(status.metadata.name, sidecars) for status in running}
    return {
        identifier: [other for other, theirs in places.items() if place >= 0 and (theirs < 0 or theirs > place)]
        for identifier, place in places.items()
    }


def _place(name: str, sidecars: Sequence[str]) -> int:
    return sidecars.index(name) if name in sidecars else -1
