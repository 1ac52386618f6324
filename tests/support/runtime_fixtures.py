"""One pod and containers of it, from the test's own registry's busybox."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image_registry import image_registry
from oci_images import busybox
from warden_process import Node, native, node

from kybern.linux import cgroup_detect
from kybern.runtime.cleanup import remove_group
from kybern.runtime.cri import (
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    ContainerStatus,
    PodSandboxConfig,
    SandboxMetadata,
)
from kybern.runtime.native import NativeRuntime

WAIT_SECONDS = 20.0


@dataclass
class Pod:
    """What a test works with; `run` starts a container of busybox."""

    node: Node
    runtime: NativeRuntime
    image: str
    sandbox: str
    base: Path
    count: int = 0

    async def create(self, *command: str, **fields: Any) -> str:
        self.count += 1
        metadata = ContainerMetadata(name=f"c{self.count}")
        log_path = f"c{self.count}/0.log"
        config = ContainerConfig(metadata=metadata, image=self.image, command=command, log_path=log_path, **fields)
        return await self.runtime.create_container(self.sandbox, config)

    async def run(self, *command: str, **fields: Any) -> str:
        identifier = await self.create(*command, **fields)
        await self.runtime.start_container(identifier)
        return identifier

    async def finish(self, *command: str, **fields: Any) -> tuple[ContainerStatus, list[str]]:
        """Runs it to its end: how it ended, and the lines it wrote."""
        identifier = await self.run(*command, **fields)
        await self.until(identifier, lambda status: status.state == ContainerState.EXITED)
        return await self.runtime.container_status(identifier), self.lines(identifier)

    async def shell(self, script: str, **fields: Any) -> list[str]:
        """The lines that a script writes in a container of its own."""
        return (await self.finish("sh", "-c", script, **fields))[1]

    async def until(self, identifier: str, holds: Callable[[ContainerStatus], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            events = self.runtime.events()
            waiting = asyncio.ensure_future(anext(events))
            try:
                while not holds(await self.runtime.container_status(identifier)):
                    await asyncio.wait([waiting], timeout=0.1)
                    if waiting.done():
                        waiting = asyncio.ensure_future(anext(events))
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await events.aclose()  # type: ignore[attr-defined]

    def log(self, identifier: str) -> str:
        return Path(self.runtime.records.get(identifier).log_path).read_text()

    def lines(self, identifier: str) -> list[str]:
        return [line.split(" ", 3)[3] for line in self.log(identifier).splitlines()]


def cgroup_of(base: Path) -> str:
    return f"/kybern-test/{base.name}"


@asynccontextmanager
async def pod(base: Path, *, changes: str = "", **fields: Any) -> AsyncIterator[Pod]:
    async with image_registry() as registry, node(base, changes) as made:
        registry.add("test/busybox", busybox())
        try:
            async with native(made) as runtime:
                image = await runtime.pull_image(f"{registry.address}/test/busybox")
                config = PodSandboxConfig(
                    metadata=SandboxMetadata(name="pod", namespace="default", uid="u"),
                    hostname="pod-1",
                    log_directory=str(base / "logs"),
                    cgroup_parent=cgroup_of(base),
                    **fields,
                )
                yield Pod(made, runtime, image, await runtime.run_pod_sandbox(config), base)
        finally:
            remove_group(cgroup_detect.detect(), cgroup_of(base))
