"""The native runtime: CRI carried out by the warden, with nothing else installed.

This process decides and prepares (what the spec says, which layers, which namespaces); the warden forks and watches.
Everything is on disk or in the kernel, so `NativeRuntime` may be closed and opened again at any time: containers run on.

    async with NativeRuntime(data_dir, run_dir, images=store, network=network) as runtime: ...
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kybern.aio.clock import Clock, SystemClock
from kybern.aio.ids import Ids
from kybern.linux import capabilities, cgroup_detect, processes
from kybern.linux.privilege import in_first_user_namespace
from kybern.runtime import cdi, disk
from kybern.runtime import spec as oci
from kybern.runtime.containers import ContainerRecord, ContainerRecords, stats_of, with_resources
from kybern.runtime.cri import (
    AuthConfig,
    ByteReader,
    ByteWriter,
    ContainerConfig,
    ContainerStats,
    ContainerStatus,
    ExecIO,
    ExecResult,
    IdMapping,
    Image,
    LinuxResources,
    NamespaceMode,
    PodNetwork,
    PodSandboxConfig,
    RuntimeFault,
    RuntimeHandler,
    SandboxStatus,
)
from kybern.runtime.disk_usage import DiskUsage
from kybern.runtime.execution import Executions
from kybern.runtime.handlers import available, forget, handler_of
from kybern.runtime.images.store import ImageStore
from kybern.runtime.machine import DEFAULT_SIGNAL, refuse_apparmor
from kybern.runtime.news import News
from kybern.runtime.placement import Placement
from kybern.runtime.sandboxes import NoNetwork, Sandboxes, SandboxRecord
from kybern.runtime.stopping import Stopping
from kybern.runtime.warden_client import Event, WardenClient, WardenError

VERSION = ("kybern", "0.1.0")


class NativeRuntime:
    def __init__(
        self,
        data_dir: Path,
        run_dir: Path,
        *,
        images: ImageStore,
        network: PodNetwork | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        """The warden is expected on `warden_socket(run_dir)`, with `containers_dir(data_dir)` as its state."""
        self.images, self.clock, self.ids = images, clock or SystemClock(), ids or Ids()
        self.run_dir = run_dir
        self.sandboxes = Sandboxes(data_dir, run_dir, network or NoNetwork())
        self.records = ContainerRecords(data_dir)
        self.sandboxes.pin_owned = self._pin_owned
        images.in_use = lambda: {record.image_id for record in self.records.by_id.values()}
        self.warden = WardenClient(
            warden_socket(run_dir),
            on_event=self._event,
            on_connect=self._refresh,
            on_lost=lambda: self.executions.warden_lost(),
        )
        self.executions = Executions(self.warden)
        self.cgroups = cgroup_detect.detect()
        self.placement = Placement(self.sandboxes, self.records, images, frozenset(capabilities.bounding()))
        self.disk = DiskUsage()
        self.stopping = Stopping(self.records, self._call)
        self.private: set[str] = set()
        """Sandboxes that are this process' own business; nobody is told of them. After a restart they are orphans."""
        self.news = News()
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Find everything again. Returns when the warden answers."""
        self.sandboxes.load()
        self.records.load()
        self.task = asyncio.get_running_loop().create_task(self.warden.run())
        await self.warden.connected.wait()
        disk.sweep(self.records.directory)  # the warden has heard by now all that an earlier agent asked of it
        for record in self.sandboxes.half_made():
            await self.stop_pod_sandbox(record.id)

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def version(self) -> tuple[str, str]:
        return VERSION

    async def handlers(self) -> Sequence[RuntimeHandler]:
        """What of mounts and ids the OCI runtimes can do is not asked of them."""
        own = RuntimeHandler(name="", recursive_read_only_mounts=True, user_namespaces=in_first_user_namespace())
        return (own, *(RuntimeHandler(name=name) for name in available()))

    async def network_fault(self) -> str:
        return self.sandboxes.network.fault()

    # News from the warden

    async def _refresh(self) -> None:
        answer, _ = await self.warden.call("list")
        for identifier, state in answer["containers"].items():
            self._learn(identifier, state)

    def _event(self, event: Event) -> None:
        if event["event"] == "state":
            self._learn(event["container"], event["state"])
        elif event["event"] == "exec":
            self.executions.ended(event["exec"], event["code"])

    def _learn(self, identifier: str, state: Mapping[str, Any]) -> None:
        if self.records.states.get(identifier) == state:
            return
        self.records.states[identifier] = state
        self.stopping.changed(identifier)
        if state.get("status") == "exited":
            self.executions.container_ended(identifier, state.get("exit_code", 0))
        self._tell(identifier)

    def _tell(self, identifier: str) -> None:
        if identifier in self.private or self._sandbox_of(identifier) in self.private:
            return
        self.news.tell(identifier)

    def _sandbox_of(self, container_id: str) -> str:
        record = self.records.by_id.get(container_id)
        return record.sandbox_id if record is not None else ""

    def events(self) -> AsyncIterator[str]:
        return self.news.listen()

    # Sandboxes

    async def run_pod_sandbox(self, config: PodSandboxConfig, *, private: bool = False) -> str:
        handler_of(config.runtime_handler, self.run_dir)
        identifier = self._new_id()
        if private:
            self.private.add(identifier)
        record = SandboxRecord(id=identifier, config=config, created_at=self.clock.wall())
        if config.namespaces.pid == NamespaceMode.POD:
            answer, _ = await self._call("CreatePodSandboxError", "hold")
            record = replace(record, holder_pid=answer["pid"], holder_ticks=processes.start_ticks(answer["pid"]))
        await self.sandboxes.create(record)
        if record.holder_pid:
            self.warden.tell("keep", pid=record.holder_pid)
        self._tell(identifier)
        return identifier

    async def _pin_owned(self, paths: Mapping[str, str], mapping: IdMapping) -> None:
        """By the warden, since only a process of one thread may enter a new user namespace."""
        if not in_first_user_namespace():
            raise RuntimeFault(
                "CreatePodSandboxError", "there are no ids for a user namespace: this node is in one itself"
            )
        await self._call(
            "CreatePodSandboxError", "pin", paths=dict(paths), host_id=mapping.host_id, length=mapping.length
        )

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        record = self.sandboxes.by_id.get(sandbox_id)
        if record is None:
            return
        await asyncio.gather(*(self.stop_container(each.id, 0) for each in self.records.of_sandbox(sandbox_id)))
        if record.holder_pid and processes.start_ticks(record.holder_pid) == record.holder_ticks:
            os.kill(record.holder_pid, signal.SIGKILL)
        await self.sandboxes.stop(sandbox_id)
        self._tell(sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        await self.stop_pod_sandbox(sandbox_id)
        for record in self.records.of_sandbox(sandbox_id):
            await self.remove_container(record.id)
        await self.sandboxes.remove(sandbox_id)
        self._tell(sandbox_id)
        self.private.discard(sandbox_id)

    async def list_pod_sandboxes(self) -> Sequence[SandboxStatus]:
        return [status for status in self.sandboxes.statuses() if status.id not in self.private]

    # Containers

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        sandbox = self.sandboxes.get(sandbox_id)
        if not sandbox.ready:
            raise RuntimeFault("CreateContainerError", f"sandbox {sandbox_id!r} is not running")
        image = self.images.get(config.image)
        if image is None:
            raise RuntimeFault("CreateContainerError", f"image {config.image!r} not found")
        refuse_apparmor(config)
        config = cdi.with_devices(config)
        config = replace(config, stop_signal=config.stop_signal or image.defaults.stop_signal or DEFAULT_SIGNAL)
        identifier = self._new_id()
        spec = oci.container_spec(config, image.defaults, self.placement.of(identifier, sandbox, config, image))
        if handler := handler_of(sandbox.config.runtime_handler, self.run_dir):
            spec["handler"] = {**handler, "id": identifier}
        log_path = f"{sandbox.config.log_directory}/{config.log_path}" if config.log_path else ""
        self.records.make_writable_layer(identifier)
        record = ContainerRecord(
            id=identifier,
            sandbox_id=sandbox_id,
            config=config,
            image_id=image.id,
            created_at=self.clock.wall(),
            log_path=log_path,
            spec=spec,
        )
        self.records.save(record)
        self._tell(identifier)
        return identifier

    async def start_container(self, container_id: str) -> None:
        record = self.records.get(container_id)
        image = self.images.get(record.image_id)
        if image is None:
            raise RuntimeFault("RunContainerError", f"image {record.image_id!r} is gone")
        path = self.records.path(container_id)
        rootfs: dict[str, Any] = {"lower": list(image.layers), "upper": f"{path}/upper", "work": f"{path}/work"}
        if image.hidden:
            rootfs["hidden"] = list(image.hidden)
        self._check_mounts(record)
        await self._call(
            "RunContainerError",
            "start",
            container=container_id,
            spec=record.spec,
            rootfs=rootfs,
            staging=f"{path}/rootfs",
            log=record.log_path,
            stdin=record.config.stdin,
            limits=oci.limits(record.config.resources),
        )

    def _check_mounts(self, record: ContainerRecord) -> None:
        """A directory that a volume was to be is made where CRI says so: a host path that does not exist."""
        for mount in record.config.mounts:
            if mount.host_path and not os.path.lexists(mount.host_path):
                os.makedirs(mount.host_path, 0o755, exist_ok=True)

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        await self.stopping.stop(container_id, timeout_seconds)

    async def remove_container(self, container_id: str) -> None:
        if container_id not in self.records.by_id:
            return
        await self.stop_container(container_id, 0)
        spec = self.records.get(container_id).spec
        group = spec["linux"]["cgroupsPath"]
        await self._call("RemoveContainerError", "forget", container=container_id, cgroup=group)
        if handler := spec.get("handler"):
            await asyncio.to_thread(forget, handler)
        self.stopping.forget(container_id)
        await asyncio.to_thread(self.records.forget, container_id)
        self._tell(container_id)

    async def list_containers(self) -> Sequence[ContainerStatus]:
        told = [record.id for record in self.records.by_id.values() if record.sandbox_id not in self.private]
        return [self.records.status(identifier) for identifier in told]

    async def container_status(self, container_id: str) -> ContainerStatus:
        return self.records.status(container_id)

    async def update_container_resources(self, container_id: str, resources: LinuxResources) -> None:
        record = with_resources(self.records.get(container_id), resources)
        await self._call("UpdateError", "limit", container=container_id, limits=oci.limits(resources))
        self.records.save(record)

    async def reopen_container_log(self, container_id: str) -> None:
        await self._call("NotFound", "reopen", container=container_id)

    async def container_stats(self, container_id: str) -> ContainerStats:
        path = self.records.get(container_id).spec["linux"]["cgroupsPath"]
        try:
            usage = self.cgroups.usage(path)
        except OSError as error:
            raise RuntimeFault("NotFound", f"container {container_id!r} is not running") from error
        return stats_of(container_id, usage, await self.disk.of(f"{self.records.path(container_id)}/upper"))

    # Streams

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        self._running(container_id)
        return await self.executions.run(self.records.get(container_id), command, timeout_seconds)

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> ExecIO:
        self._running(container_id)
        return await self.executions.start(self.records.get(container_id), command, stdin=stdin, tty=tty)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> ExecIO:
        self._running(container_id)
        return await self.executions.attach(self.records.get(container_id), stdin=stdin)

    async def port_forward(self, sandbox_id: str, port: int) -> tuple[ByteReader, ByteWriter]:
        return await self.sandboxes.connect(sandbox_id, port)

    def _running(self, container_id: str) -> None:
        self.records.get(container_id)
        if not self.records.running(container_id):
            raise RuntimeFault("ExecError", f"container {container_id!r} is not running")

    # Images

    async def pull_image(self, image: str, auth: AuthConfig | None = None) -> str:
        return await self.images.pull(image, auth)

    async def image_status(self, image: str) -> Image | None:
        return self.images.status(image)

    async def list_images(self) -> Sequence[Image]:
        return self.images.list()

    async def remove_image(self, image: str) -> None:
        await self.images.remove(image)

    async def _call(self, reason: str, op: str, **fields: Any) -> tuple[Event, list[int]]:
        try:
            return await self.warden.call(op, **fields)
        except WardenError as error:
            raise RuntimeFault(reason, str(error)) from None
        except ConnectionError as error:
            raise RuntimeFault(reason, f"the runtime is not available: {error}") from None

    def _new_id(self) -> str:
        return f"{self.ids.rng.getrandbits(256):064x}"


def warden_socket(run_dir: Path) -> str:
    return str(run_dir / "warden.sock")


def containers_dir(data_dir: Path) -> str:
    return str(data_dir / "containers")
