"""Both gateways and gRPC between them: a simulated runtime served as CRI, and driven by the client of CRI."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.runtime.cri import (
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    PodSandboxConfig,
    RuntimeFault,
    SandboxMetadata,
)
from kybern.runtime.remote.gate import Gate
from kybern.runtime.remote.image_service import ImageCalls
from kybern.runtime.remote.runtime import RemoteRuntime
from kybern.runtime.remote.service import CriService
from kybern.runtime.remote.streaming import StreamingServer
from kybern.runtime.simulated import Simulated

POD = PodSandboxConfig(metadata=SandboxMetadata(name="web", namespace="default", uid="u"), log_directory="/logs")


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[RemoteRuntime]:
    clock, inner = SystemClock(), Simulated(SystemClock(), absent=("registry.test/none",))
    streaming = StreamingServer(inner, clock, Ids(1))
    service = CriService(inner, streaming, ImageCalls(inner, tmp_path, clock), clock)
    gate = Gate("listen", f"{tmp_path}/cri.sock", clock, service)
    serving = asyncio.get_running_loop().create_task(gate.run())
    made = RemoteRuntime(f"unix://{tmp_path}/cri.sock", tmp_path / "state", owner="t", clock=clock)
    async with asyncio.timeout(30):
        await made.open()
    yield made
    await made.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_pod_is_run_through_both_and_its_events_come_back(runtime: RemoteRuntime, tmp_path: Path) -> None:
    assert oct(os.stat(f"{tmp_path}/cri.sock").st_mode & 0o777) == "0o600"
    assert await runtime.version() == ("kybern-simulated", "0.1.0")
    image = await runtime.pull_image("busybox")
    with pytest.raises(RuntimeFault, match=r"code = Unknown desc = registry.test/none: not found") as refused:
        await runtime.pull_image("registry.test/none")
    assert refused.value.reason == "ErrImagePull"
    sandbox = await runtime.run_pod_sandbox(POD)
    config = ContainerConfig(metadata=ContainerMetadata(name="c"), image=image, log_path="c/0.log")
    events = runtime.events()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    container = await runtime.create_container(sandbox, config)
    await runtime.start_container(container)
    async with asyncio.timeout(10):
        told = await waiting
        while told != container:
            told = await anext(events)
    status = await runtime.container_status(container)
    assert (status.state, status.sandbox_id, status.log_path) == (ContainerState.RUNNING, sandbox, "/logs/c/0.log")
    await runtime.remove_pod_sandbox(sandbox)
    assert (list(await runtime.list_containers()), list(await runtime.list_pod_sandboxes())) == ([], [])
    await events.aclose()


async def test_the_image_that_every_sandbox_needs_is_never_collected(runtime: RemoteRuntime) -> None:
    runtime.sandbox_image = "pause:1"
    for name in ("pause:1", "busybox"):
        await runtime.pull_image(name)
    assert {each.repo_tags[0]: each.pinned for each in await runtime.list_images()} == {
        "pause:1": True,
        "busybox": False,
    }


async def test_a_gateway_that_is_killed_is_started_again(runtime: RemoteRuntime) -> None:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as opened:
        children = [int(pid) for pid in opened.read().split()]
    gateways = [pid for pid in children if b"\0dial\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(gateways) == 1
    os.kill(gateways[0], signal.SIGKILL)
    async with asyncio.timeout(20):
        while True:
            try:
                assert await runtime.version() == ("kybern-simulated", "0.1.0")
                return
            except RuntimeFault as fault:
                assert "connection was lost" in fault.message
