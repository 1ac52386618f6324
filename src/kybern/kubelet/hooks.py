"""Lifecycle hooks: postStart and preStop handlers, run in a container or against it."""

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Container, EphemeralContainer, LifecycleHandler
from kybern.kubelet.probes.network import HttpFault, http_get
from kybern.kubelet.probes.targets import http_target
from kybern.runtime.cri import Runtime, RuntimeFault

HTTP_SECONDS = 30.0
FOREVER_SECONDS = 86_400.0  # an exec hook has no limit of its own; who waits for it has


class HookFailed(Exception):
    """The message is what the event says."""


async def run_hook(
    handler: LifecycleHandler,
    runtime: Runtime,
    clock: Clock,
    container: Container | EphemeralContainer,
    container_id: str,
    pod_ip: str,
    *,
    reachable: bool,
) -> None:
    """`reachable`: False on a simulated node, where an HTTP hook would go to somebody else's address."""
    if handler.exec:
        await _run_command(handler.exec.command or (), runtime, container_id)
    elif handler.sleep:
        await clock.sleep(handler.sleep.seconds)
    elif handler.http_get and reachable:
        try:
            target = http_target(handler.http_get, container, pod_ip)
            await http_get(target, HTTP_SECONDS)
        except (HttpFault, ValueError) as error:
            raise HookFailed(str(error)) from error


async def _run_command(command: tuple[str, ...], runtime: Runtime, container_id: str) -> None:
    try:
        result = await runtime.exec_sync(container_id, command, FOREVER_SECONDS)
    except (RuntimeFault, TimeoutError) as error:
        raise HookFailed(f'rpc error: command "{" ".join(command)}" failed: {error}') from error
    if result.exit_code != 0:
        output = (result.stdout + result.stderr).decode(errors="replace")
        named = " ".join(command)
        raise HookFailed(f"Exec lifecycle hook ([{named}]) failed - error: exited with {result.exit_code}: {output}")
