"""RUN: the step's command in a container of the node's own runtime, its output passed on line by line.

The container has the stage's layers below a writable one, which afterwards is the step's layer. It is a container like any
pod's (namespaces, capabilities, seccomp), in a sandbox that no kubelet is told of.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kybern.runtime.cri import (
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    Mount,
    NamespaceMode,
    NamespaceOptions,
    PodSandboxConfig,
    SandboxMetadata,
)
from kybern.runtime.images.image import ReadyImage
from kybern.runtime.native import NativeRuntime

NAME = "image-build"
LOG_SECONDS = 0.05  # how often the log is looked at while a step runs
NETWORKS = {"default": NamespaceMode.POD, "host": NamespaceMode.NODE, "none": NamespaceMode.CONTAINER}


Output = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Command:
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...] = ()
    network: str = "default"


@dataclass(frozen=True, slots=True)
class Ran:
    exit_code: int
    message: str
    upper: Path
    """The directory of what it changed; it goes when the `with` that gave it ends."""
    mounted: tuple[str, ...]
    """Where something was mounted, whose empty places are no change."""


@contextlib.asynccontextmanager
async def run(
    runtime: NativeRuntime, image: ReadyImage, command: Command, cgroup: str, logs: Path, output: Output
) -> AsyncIterator[Ran]:
    """The command, run to its end."""
    sandbox_config = PodSandboxConfig(
        metadata=SandboxMetadata(name=NAME, namespace="", uid=f"{NAME}-{runtime.ids.uid()}"),
        hostname=NAME,
        log_directory=str(logs),
        cgroup_parent=cgroup,
        namespaces=NamespaceOptions(network=NETWORKS[command.network]),
    )
    with runtime.images.held(image):
        sandbox = await runtime.run_pod_sandbox(sandbox_config, private=True)
        try:
            config = ContainerConfig(
                metadata=ContainerMetadata(name="run"),
                image=image.id,
                command=command.arguments,
                envs=command.environment,
                mounts=command.mounts,
                log_path="run.log",
            )
            container = await runtime.create_container(sandbox, config)
            await runtime.start_container(container)
            await _follow(runtime, container, logs / "run.log", output)
            status = await runtime.container_status(container)
            record = runtime.records.get(container)
            yield Ran(
                status.exit_code,
                status.message,
                runtime.records.path(container) / "upper",
                tuple(mount["destination"] for mount in record.spec["mounts"]),
            )
        finally:
            await runtime.remove_pod_sandbox(sandbox)


async def _follow(runtime: NativeRuntime, container: str, path: Path, output: Output) -> None:
    reader = LogReader(path)
    while (await runtime.container_status(container)).state == ContainerState.RUNNING:
        for line in reader.read():
            await output(line)
        await asyncio.sleep(LOG_SECONDS)
    for line in reader.read():
        await output(line)


class LogReader:
    """The lines of a log in CRI's format, as it grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.at, self.rest, self.part = path, 0, b"", ""

    def read(self) -> Sequence[str]:
        try:
            with self.path.open("rb") as opened:
                opened.seek(self.at)
                data = opened.read()
        except FileNotFoundError:
            return ()
        self.at += len(data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        found = []
        for line in lines:
            _, _, kind, text = line.split(b" ", 3)
            self.part += text.decode("utf-8", "replace")
            if kind == b"F":
                found.append(self.part)
                self.part = ""
        return found
