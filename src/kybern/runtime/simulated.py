"""A runtime that runs nothing: sandboxes and containers as records that change when their time comes.

It answers every call of the interface, so a kubelet over it behaves as over a real one; a container runs until it is
stopped, or as long as `behave` says. Simulated nodes and tests are made of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from kybern.aio.clock import Clock
from kybern.runtime.cri import (
    AuthConfig,
    ByteReader,
    ByteWriter,
    ContainerConfig,
    ContainerState,
    ContainerStats,
    ContainerStatus,
    ExecIO,
    ExecResult,
    Image,
    LinuxResources,
    PodSandboxConfig,
    RuntimeFault,
    RuntimeHandler,
    SandboxState,
    SandboxStatus,
    updated,
)
from kybern.runtime.news import News

KILLED = 137


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a container does by itself, and how it takes being told to stop."""

    runs_seconds: float | None = None
    exit_code: int = 0
    stops_seconds: float = 0.0
    stop_exit_code: int = 0
    start_fault: str = ""


FOREVER = Behaviour()


class Simulated:
    def __init__(
        self,
        clock: Clock,
        *,
        network: str = "10.244.0",
        behave: Callable[[ContainerConfig], Behaviour] = lambda config: FOREVER,
        execute: Callable[[str, Sequence[str]], ExecResult] | None = None,
        absent: Sequence[str] = (),
        pull_seconds: float = 0.0,
    ) -> None:
        """`absent` images cannot be pulled; all others can, and are not there before."""
        self.clock, self.network, self.behave, self.execute = clock, network, behave, execute
        self.absent, self.pull_seconds = frozenset(absent), pull_seconds
        self.sandboxes: dict[str, SandboxStatus] = {}
        self.containers: dict[str, ContainerStatus] = {}
        self.configs: dict[str, ContainerConfig] = {}
        self.images: dict[str, Image] = {}
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.news = News()
        self.count = 0

    async def version(self) -> tuple[str, str]:
        return "kybern-simulated", "0.1.0"

    async def handlers(self) -> Sequence[RuntimeHandler]:
        return (RuntimeHandler(name=""),)

    async def network_fault(self) -> str:
        return ""

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        made = self._id()
        ips = () if config.namespaces.network.value == "node" else (self._address(),)
        self.sandboxes[made] = SandboxStatus(
            id=made, config=config, state=SandboxState.READY, created_at=self.clock.wall(), ips=ips
        )
        self.news.tell(made)
        return made

    def _id(self) -> str:
        self.count += 1
        return f"{self.count:064x}"

    def _address(self) -> str:
        return f"{self.network}.{self.count % 253 + 2}"

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.state is SandboxState.NOT_READY:
            return
        for container in [c for c in self.containers.values() if c.sandbox_id == sandbox_id]:
            self._end(container.id, KILLED)
        self.sandboxes[sandbox_id] = replace(sandbox, state=SandboxState.NOT_READY, ips=())
        self.news.tell(sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        await self.stop_pod_sandbox(sandbox_id)
        for container in [c for c in self.containers.values() if c.sandbox_id == sandbox_id]:
            await self.remove_container(container.id)
        if self.sandboxes.pop(sandbox_id, None):
            self.news.tell(sandbox_id)

    async def list_pod_sandboxes(self) -> Sequence[SandboxStatus]:
        return tuple(self.sandboxes.values())

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        if sandbox_id not in self.sandboxes:
            raise RuntimeFault("NotFound", f'sandbox "{sandbox_id}" not found')
        made = self._id()
        sandbox = self.sandboxes[sandbox_id]
        self.configs[made] = config
        self.containers[made] = ContainerStatus(
            id=made,
            sandbox_id=sandbox_id,
            metadata=config.metadata,
            labels=config.labels,
            annotations=config.annotations,
            state=ContainerState.CREATED,
            created_at=self.clock.wall(),
            image=config.user_specified_image,
            image_id=config.image,
            log_path=f"{sandbox.config.log_directory}/{config.log_path}",
            resources=config.resources,
        )
        self.news.tell(made)
        return made

    async def start_container(self, container_id: str) -> None:
        container = self._container(container_id)
        behaviour = self.behave(self.configs[container_id])
        if behaviour.start_fault:
            self._put(replace(container, state=ContainerState.RUNNING, started_at=self.clock.wall()))
            self._end(container_id, 128, "StartError", behaviour.start_fault)
            raise RuntimeFault("RunContainerError", behaviour.start_fault)
        self._put(replace(container, state=ContainerState.RUNNING, started_at=self.clock.wall(), pid=1000 + self.count))
        if behaviour.runs_seconds is not None:
            self._end_after(container_id, behaviour.runs_seconds, behaviour.exit_code)

    def _end_after(self, container_id: str, seconds: float, exit_code: int) -> None:
        loop = asyncio.get_running_loop()
        self.timers[container_id] = loop.call_later(seconds, self._end, container_id, exit_code)

    def _end(self, container_id: str, exit_code: int, reason: str = "", message: str = "") -> None:
        container = self.containers.get(container_id)
        if container is None or container.state is not ContainerState.RUNNING:
            return
        timer = self.timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        self._put(
            replace(
                container,
                state=ContainerState.EXITED,
                finished_at=self.clock.wall(),
                exit_code=exit_code,
                reason=reason or ("Completed" if exit_code == 0 else "Error"),
                message=message,
                pid=0,
            )
        )

    def _put(self, container: ContainerStatus) -> None:
        self.containers[container.id] = container
        self.news.tell(container.id)

    def _container(self, container_id: str) -> ContainerStatus:
        if container_id not in self.containers:
            raise RuntimeFault("NotFound", f'container "{container_id}" not found')
        return self.containers[container_id]

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        container = self.containers.get(container_id)
        if container is None or container.state is not ContainerState.RUNNING:
            return
        behaviour = self.behave(self.configs[container_id])
        obeys = behaviour.stops_seconds <= timeout_seconds
        seconds = min(behaviour.stops_seconds, timeout_seconds)
        if seconds:
            await self.clock.sleep(seconds)
        self._end(container_id, behaviour.stop_exit_code if obeys else KILLED)

    async def remove_container(self, container_id: str) -> None:
        if container_id in self.containers:
            self._end(container_id, KILLED)
            del self.containers[container_id]
            self.news.tell(container_id)

    async def list_containers(self) -> Sequence[ContainerStatus]:
        return tuple(self.containers.values())

    async def container_status(self, container_id: str) -> ContainerStatus:
        return self._container(container_id)

    async def update_container_resources(self, container_id: str, resources: LinuxResources) -> None:
        container = self._container(container_id)
        self._put(replace(container, resources=updated(container.resources or LinuxResources(), resources)))

    async def reopen_container_log(self, container_id: str) -> None:
        self._container(container_id)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        self._container(container_id)
        if self.execute is None:
            return ExecResult(stdout=b"", stderr=b"", exit_code=0)
        return self.execute(container_id, command)

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> ExecIO:
        raise RuntimeFault("ExecError", "a simulated container has no processes to talk to")

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> ExecIO:
        raise RuntimeFault("ExecError", "a simulated container has no processes to talk to")

    async def port_forward(self, sandbox_id: str, port: int) -> tuple[ByteReader, ByteWriter]:
        raise ConnectionRefusedError(f"nothing listens on port {port} of a simulated sandbox")

    async def container_stats(self, container_id: str) -> ContainerStats:
        self._container(container_id)
        return ContainerStats(id=container_id, cpu_usage_core_ns=0, memory_working_set_bytes=0, memory_usage_bytes=0)

    async def pull_image(self, image: str, auth: AuthConfig | None = None) -> str:
        await self.clock.sleep(self.pull_seconds)
        if image in self.absent:
            raise RuntimeFault("ErrImagePull", f"{image}: not found")
        self.images[image] = Image(id=f"sha256:{image}", repo_tags=(image,), size_bytes=1000)
        return self.images[image].id

    async def image_status(self, image: str) -> Image | None:
        return self.images.get(image) or next((found for found in self.images.values() if found.id == image), None)

    async def list_images(self) -> Sequence[Image]:
        return tuple(self.images.values())

    async def remove_image(self, image: str) -> None:
        self.images = {name: found for name, found in self.images.items() if image not in (name, found.id)}

    def events(self) -> AsyncIterator[str]:
        return self.news.listen()

    async def close(self) -> None:
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()
