"""Stopping: preStop, the stop signal, the grace period, and only then the kill.

App containers end together; sidecars outlive them and end in reverse order; the sandbox goes last.
"""

import asyncio
from collections.abc import Sequence

from kybern.api.core_v1 import Pod
from kybern.kubelet.containers import AnyContainer, field_path, find
from kybern.kubelet.hooks import HookFailed, run_hook
from kybern.kubelet.observed import Observed, ip_of
from kybern.kubelet.parts import Parts
from kybern.kubelet.plan import KillContainer
from kybern.kubelet.restarts import is_sidecar
from kybern.kubelet.sandbox_config import grace_of
from kybern.runtime.cri import ContainerState, ContainerStatus, SandboxState

GRACE_SECONDS_MIN = 2.0  # what a container gets to end even where its preStop hook used everything up


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
        await self._stop(pod, container, status, grace, action.message, self._ip(pod, observed))

    async def stop_pod(self, pod: Pod, observed: Observed, grace: float) -> None:
        """End everything. Idempotent; cancelled and called again when the grace period shrinks."""
        ends_at = self.parts.clock.monotonic() + grace
        apps, sidecars = _in_order(pod, observed.running)
        await self._stop_together(pod, observed, apps, ends_at)
        for status in sidecars:
            await self._stop_together(pod, observed, [status], ends_at)
        for sandbox in observed.sandboxes:
            if sandbox.state is SandboxState.READY:
                await self.parts.runtime.stop_pod_sandbox(sandbox.id)
        await self.parts.pleg.note_sandboxes()

    def _ip(self, pod: Pod, observed: Observed) -> str:
        return ip_of(pod, observed, self.parts.config.node_ips)

    async def _stop_together(
        self, pod: Pod, observed: Observed, statuses: Sequence[ContainerStatus], ends_at: float
    ) -> None:
        grace = max(ends_at - self.parts.clock.monotonic(), 0.0)
        async with asyncio.TaskGroup() as tasks:
            for status in statuses:
                container = find(pod, status.metadata.name)
                message = f"Stopping container {status.metadata.name}"
                tasks.create_task(self._stop(pod, container, status, grace, message, self._ip(pod, observed)))

    async def _stop(
        self,
        pod: Pod,
        container: AnyContainer | None,
        status: ContainerStatus,
        grace: float,
        message: str,
        pod_ip: str,
    ) -> None:
        where = field_path(pod, status.metadata.name)
        if status.state is ContainerState.RUNNING:
            if status.id not in self._hooked:
                self.parts.recorder.event(pod, "Normal", "Killing", message, field_path=where)
            grace = await self._pre_stop(pod, container, status, grace, pod_ip)
        await self.parts.runtime.stop_container(status.id, grace)
        await self.parts.pleg.note(status.id)

    async def _pre_stop(
        self, pod: Pod, container: AnyContainer | None, status: ContainerStatus, grace: float, pod_ip: str
    ) -> float:
        """What is left of the grace period."""
        hook = container.lifecycle.pre_stop if container is not None and container.lifecycle else None
        first = status.id not in self._hooked
        self._hooked.add(status.id)
        if hook is None or container is None or grace <= 0 or not first:
            return grace
        parts = self.parts
        began_at = parts.clock.monotonic()
        try:
            async with asyncio.timeout(grace):
                await run_hook(
                    hook, parts.runtime, parts.clock, container, status.id, pod_ip, reachable=parts.node.pods_reachable
                )
        except TimeoutError:
            pass  # the grace period is over, and that is all there is to it
        except HookFailed as failed:
            where = field_path(pod, container.name)
            parts.recorder.event(pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {failed}", field_path=where)
        return max(grace - (parts.clock.monotonic() - began_at), GRACE_SECONDS_MIN)


def _in_order(pod: Pod, running: Sequence[ContainerStatus]) -> tuple[list[ContainerStatus], list[ContainerStatus]]:
    """What ends first, and the sidecars in the order they end in."""
    names = [container.name for container in pod.spec.init_containers or () if is_sidecar(container)]
    sidecars = [status for status in running if status.metadata.name in names]
    sidecars.sort(key=lambda status: -names.index(status.metadata.name))
    return [status for status in running if status.metadata.name not in names], sidecars
