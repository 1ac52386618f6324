"""One check: run what a probe asks for, and say how it came out, in upstream's words."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from kybern.aio import timeouts
from kybern.api.core_v1 import Container, EphemeralContainer, Probe
from kybern.kubelet.probes.grpc import GrpcFault, health
from kybern.kubelet.probes.network import HttpFault, http_get, tcp_connect
from kybern.kubelet.probes.targets import http_target, tcp_target
from kybern.runtime.cri import Runtime, RuntimeFault

OUTPUT_BYTES_MAX = 10 * 1024
SERVICE_LENGTH_MAX = 100


class Outcome(Enum):
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Checked:
    outcome: Outcome
    output: str = ""


Check = Callable[[Probe, Runtime, Container | EphemeralContainer, str, str], Awaitable[Checked]]


async def check(
    probe: Probe, runtime: Runtime, container: Container | EphemeralContainer, container_id: str, pod_ip: str
) -> Checked:
    timeout = float(probe.timeout_seconds or 1)
    try:
        if probe.exec:
            return await _exec(probe.exec.command or (), runtime, container_id, timeout)
        if probe.http_get:
            return await _http(probe, container, pod_ip, timeout)
        if probe.tcp_socket:
            host, port = tcp_target(probe.tcp_socket, container, pod_ip)
            refused = await tcp_connect(host, port, timeout)
            return Checked(Outcome.FAILURE, refused) if refused else Checked(Outcome.SUCCESS)
        if probe.grpc:
            return await _grpc(probe.grpc.port, (probe.grpc.service or "")[:SERVICE_LENGTH_MAX], pod_ip, timeout)
    except ValueError as error:
        return Checked(Outcome.UNKNOWN, str(error))
    return Checked(Outcome.UNKNOWN, "missing probe handler")


async def check_simulated(
    probe: Probe, runtime: Runtime, container: Container | EphemeralContainer, container_id: str, pod_ip: str
) -> Checked:
    """On a simulated node: a pod's address there is nobody's, and must never be spoken to, for on the machine's own
    network it may be somebody's. What would go over the network is well."""
    if probe.exec:
        return await check(probe, runtime, container, container_id, pod_ip)
    return Checked(Outcome.SUCCESS)


async def _exec(command: tuple[str, ...], runtime: Runtime, container_id: str, timeout: float) -> Checked:
    try:
        result = await runtime.exec_sync(container_id, command, timeout)
    except TimeoutError:
        return Checked(Outcome.FAILURE, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
    except (RuntimeFault, OSError) as fault:
        return Checked(Outcome.UNKNOWN, str(fault))
    output = (result.stdout + result.stderr)[:OUTPUT_BYTES_MAX].decode(errors="replace")
    return Checked(Outcome.SUCCESS if result.exit_code == 0 else Outcome.FAILURE, output)


async def _http(probe: Probe, container: Container | EphemeralContainer, pod_ip: str, timeout: float) -> Checked:
    assert probe.http_get is not None
    target = http_target(probe.http_get, container, pod_ip)
    try:
        answer = await http_get(target, timeout)
    except HttpFault as fault:
        return Checked(Outcome.FAILURE, str(fault))
    if 300 <= answer.status < 400:
        return Checked(Outcome.WARNING, f"Probe terminated redirects, Response body: {answer.body}")
    if 200 <= answer.status < 300:
        return Checked(Outcome.SUCCESS, answer.body)
    return Checked(Outcome.FAILURE, f"HTTP probe failed with statuscode: {answer.status}")


async def _grpc(port: int, service: str, pod_ip: str, timeout: float) -> Checked:
    try:
        async with timeouts.timeout(timeout):
            status = await health(pod_ip, port, service)
    except (TimeoutError, OSError):
        return Checked(Outcome.FAILURE, f'timeout: failed to connect service "{pod_ip}:{port}" within {timeout:g}s')
    except GrpcFault as fault:
        return Checked(Outcome.FAILURE, f"error: {fault}")
    if status == "SERVING":
        return Checked(Outcome.SUCCESS, "service healthy")
    return Checked(Outcome.FAILURE, f'service unhealthy (responded with "{status}")')
