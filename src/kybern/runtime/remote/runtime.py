"""A runtime of somebody else's, driven over CRI v1: containerd, CRI-O, or kybern's own served by `kybern cri`.

    runtime = RemoteRuntime("unix:///run/containerd/containerd.sock", state, owner="kybern", clock=clock)
    await runtime.open()

- What is made carries its owner's label, and nothing else is seen: a machine's runtime may have others' containers.
- What a container is, the runtime knows; kept here are only the sandboxes' configurations, and what was asked for.
- A runtime that tells no events is listed once a second.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from kybern.aio.clock import Clock
from kybern.runtime import cdi
from kybern.runtime.cri import (
    AuthConfig,
    ByteReader,
    ByteWriter,
    ContainerConfig,
    ContainerStats,
    ContainerStatus,
    ExecIO,
    ExecResult,
    Image,
    LinuxResources,
    NamespaceMode,
    PodSandboxConfig,
    RuntimeFault,
    RuntimeHandler,
    SandboxMetadata,
    SandboxState,
    SandboxStatus,
    updated,
)
from kybern.runtime.images.reference import parse
from kybern.runtime.machine import refuse_apparmor
from kybern.runtime.remote import values
from kybern.runtime.remote.calls import CALL_SECONDS, Calls
from kybern.runtime.remote.events import Events
from kybern.runtime.remote.gate import Gate
from kybern.runtime.remote.known import KnownSandboxes
from kybern.runtime.remote.local_images import LocalImages
from kybern.runtime.remote.mapping import NANOSECONDS, from_message, to_fields
from kybern.runtime.remote.messages import IMAGES
from kybern.runtime.remote.streams import remote_io, remote_port

OWNER = "kybern.io/owner"
DRIVERS = ("systemd", "cgroupfs")  # by their number in CRI
EXEC_MORE_SECONDS = 5.0  # the runtime ends a process that takes too long; this is for one that does not
RETRY_SECONDS = 0.2


class Guard(Protocol):
    """What pods need besides a link, before their first packet."""

    async def admit(self, sandbox_id: str, config: PodSandboxConfig, ips: tuple[str, ...]) -> None: ...

    def dismiss(self, sandbox_id: str) -> None: ...


class RemoteRuntime:
    def __init__(
        self,
        target: str,
        state: Path,
        *,
        owner: str,
        clock: Clock,
        images: LocalImages | None = None,
        guard: Guard | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """`guard` where the runtime's network is somebody else's: else our own calls it."""
        self.owner, self.clock, self.images, self.guard = owner, clock, images, guard
        self.gate = Gate("dial", target, clock)
        self.calls = Calls(self.gate, call_seconds)
        self.known = KnownSandboxes(state / "sandboxes")
        self.events_seen = Events(self.gate, clock, self._states)
        self.ips: dict[str, tuple[str, ...]] = {}
        self.statuses: dict[str, ContainerStatus] = {}
        self.asked: dict[str, LinuxResources] = {}
        """What containers were given, for runtimes that do not tell."""
        self.image_ids: dict[str, str] = {}
        self.sandbox_image = ""
        """Every pod needs it, and no pod names it: it is never collected."""
        self.task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Only to ask it something."""
        self.task = asyncio.get_running_loop().create_task(self.gate.run())
        try:
            yield
        finally:
            await self.close()

    async def open(self) -> None:
        """Returns when the runtime answers."""
        self.known.load()
        self.task = asyncio.get_running_loop().create_task(self.gate.run())
        while True:
            try:
                found = await self.list_pod_sandboxes()
                self.sandbox_image = str((await self._settings()).get("sandboxImage", ""))
                break
            except RuntimeFault:
                await self.clock.sleep(RETRY_SECONDS)
        self.known.keep_only(each.config.metadata for each in found)

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def version(self) -> tuple[str, str]:
        found = await self.calls.call("Version", version="v1")
        return found.runtime_name, found.runtime_version

    async def handlers(self) -> Sequence[RuntimeHandler]:
        """Those of a runtime that does not tell are the default one."""
        told = (await self.calls.call("Status")).runtime_handlers
        return [
            RuntimeHandler(
                name=found.name,
                recursive_read_only_mounts=found.features.recursive_read_only_mounts,
                user_namespaces=found.features.user_namespaces,
            )
            for found in told
        ] or [RuntimeHandler(name="")]

    async def network_fault(self) -> str:
        conditions = {each.type: each for each in (await self.calls.call("Status")).status.conditions}
        ready = conditions.get("RuntimeReady")
        if ready is None or not ready.status:
            raise RuntimeFault(
                "RuntimeNotReady", ready.message if ready else "the runtime does not say that it is ready"
            )
        network = conditions.get("NetworkReady")
        if network is None or network.status:
            return ""
        return f"NetworkReady=false reason:{network.reason} message:{network.message}"

    async def info(self) -> Mapping[str, str]:
        """What the runtime says of itself, as JSON by topic."""
        found: Mapping[str, str] = (await self.calls.call("Status", verbose=True)).info
        return found

    async def _settings(self) -> Mapping[str, Any]:
        """As containerd tells them; of others nothing is known."""
        try:
            found = json.loads((await self.info()).get("config", "{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    async def cgroup_driver(self) -> str:
        """`systemd` or `cgroupfs`; as containerd before 2.0 is configured, which has no call for it."""
        try:
            return DRIVERS[(await self.calls.call("RuntimeConfig")).linux.cgroup_driver]
        except RuntimeFault as fault:
            if fault.reason != "Unimplemented":
                raise
        settings = (await self._settings()).get("containerd") or {}
        chosen = (settings.get("runtimes") or {}).get(settings.get("defaultRuntimeName"), {})
        return DRIVERS[0 if (chosen.get("options") or {}).get("SystemdCgroup") else 1]

    def events(self) -> AsyncIterator[str]:
        return self.events_seen.follow()

    async def _states(self) -> Mapping[str, int]:
        """How everything is, in numbers of CRI's."""
        sandboxes, containers = await self._sandboxes(), await self._containers()
        return {each.id: each.state for each in (*sandboxes, *containers)}

    # Sandboxes

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        config = replace(config, labels={**config.labels, OWNER: self.owner})
        self.known.add(config)
        answer = await self.calls.call(
            "RunPodSandbox",
            reason="CreatePodSandboxError",
            seconds=2 * self.calls.seconds,  # as upstream
            config=to_fields(values.SANDBOX_CONFIG, config),
            runtime_handler=config.runtime_handler,
        )
        identifier: str = answer.pod_sandbox_id
        if self.guard is not None:
            await self.guard.admit(identifier, config, await self._ips(identifier, config))
        self.events_seen.tell(identifier)
        return identifier

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        await self.calls.unless_gone("StopPodSandbox", pod_sandbox_id=sandbox_id)
        if self.guard is not None:
            self.guard.dismiss(sandbox_id)
        self.ips.pop(sandbox_id, None)
        self.events_seen.tell(sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        found = next((each for each in await self._sandboxes() if each.id == sandbox_id), None)
        await self.stop_pod_sandbox(sandbox_id)
        await self.calls.unless_gone("RemovePodSandbox", pod_sandbox_id=sandbox_id)
        if found is not None:
            self.known.forget(metadata_of(found))
        self.events_seen.tell(sandbox_id)

    async def list_pod_sandboxes(self) -> Sequence[SandboxStatus]:
        found = await self._sandboxes()
        self.ips = {key: ips for key, ips in self.ips.items() if any(each.id == key for each in found)}
        return [await self._sandbox_status(each) for each in found]

    async def _sandboxes(self) -> Sequence[Any]:
        mine = {"label_selector": {OWNER: self.owner}}
        found: Sequence[Any] = (await self.calls.call("ListPodSandbox", filter=mine)).items
        return found

    async def _sandbox_status(self, found: Any) -> SandboxStatus:
        state = values.SANDBOX_STATE.back(found.state)
        config = self.known.get(metadata_of(found))
        if config is None:  # nobody knows how it was meant: it is replaced
            config, state = PodSandboxConfig(metadata=metadata_of(found)), SandboxState.NOT_READY
        ips = await self._ips(found.id, config) if state is SandboxState.READY else ()
        labels = {name: value for name, value in found.labels.items() if name != OWNER}
        return SandboxStatus(
            id=found.id,
            config=replace(config, labels=labels, annotations=dict(found.annotations)),
            state=state,
            created_at=found.created_at / NANOSECONDS,
            ips=ips,
        )

    async def _ips(self, sandbox_id: str, config: PodSandboxConfig) -> tuple[str, ...]:
        if config.namespaces.network is NamespaceMode.NODE:
            return ()
        if sandbox_id not in self.ips:
            network = (await self.calls.call("PodSandboxStatus", pod_sandbox_id=sandbox_id)).status.network
            found = (network.ip, *(each.ip for each in network.additional_ips))
            self.ips[sandbox_id] = tuple(filter(None, found))
        return self.ips[sandbox_id]

    async def _config(self, sandbox_id: str) -> PodSandboxConfig:
        answer = await self.calls.call("PodSandboxStatus", reason="CreateContainerError", pod_sandbox_id=sandbox_id)
        config = self.known.get(metadata_of(answer.status))
        if config is None:
            raise RuntimeFault("NotFound", f"sandbox {sandbox_id!r} is not known here")
        return config

    # Containers

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        sandbox = await self._config(sandbox_id)
        refuse_apparmor(config)
        config = replace(cdi.with_devices(config), cdi_devices=())
        if self.images is not None:
            config = self.images.with_machine(config)
        fields = to_fields(values.CONTAINER_CONFIG, replace(config, labels={**config.labels, OWNER: self.owner}))
        if (mapping := sandbox.namespaces.user_namespace) is not None:
            ids = values.id_mappings(mapping)
            fields["mounts"] = [{**mount, "uidMappings": ids, "gidMappings": ids} for mount in fields["mounts"]]
        answer = await self.calls.call(
            "CreateContainer",
            reason="CreateContainerError",
            pod_sandbox_id=sandbox_id,
            config=fields,
            sandbox_config=to_fields(values.SANDBOX_CONFIG, sandbox),
        )
        identifier: str = answer.container_id
        self.asked[identifier] = config.resources
        self.events_seen.tell(identifier)
        return identifier

    async def start_container(self, container_id: str) -> None:
        try:
            await self.calls.call("StartContainer", reason="RunContainerError", container_id=container_id)
        finally:
            self.events_seen.tell(container_id)

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        seconds = math.ceil(timeout_seconds)
        more: dict[str, Any] = {"seconds": self.calls.seconds + seconds, "reason": "KillContainerError"}
        await self.calls.unless_gone("StopContainer", container_id=container_id, timeout=seconds, **more)
        self.events_seen.tell(container_id)

    async def remove_container(self, container_id: str) -> None:
        await self.stop_container(container_id, 0)
        await self.calls.unless_gone("RemoveContainer", container_id=container_id)
        self.statuses.pop(container_id, None)
        self.asked.pop(container_id, None)
        self.events_seen.tell(container_id)

    async def list_containers(self) -> Sequence[ContainerStatus]:
        found = await self._containers()
        self.statuses = {each.id: await self._status_now(each) for each in found}
        self.asked = {key: value for key, value in self.asked.items() if key in self.statuses}
        self.image_ids = {}
        return list(self.statuses.values())

    async def _containers(self, **more: str) -> Sequence[Any]:
        mine = {"label_selector": {OWNER: self.owner}, **more}
        found: Sequence[Any] = (await self.calls.call("ListContainers", filter=mine)).containers
        return found

    async def _status_now(self, found: Any) -> ContainerStatus:
        known = self.statuses.get(found.id)
        if known is not None and known.state is values.CONTAINER_STATE.back(found.state):
            return known
        return await self._status(found.id, found.pod_sandbox_id)

    async def container_status(self, container_id: str) -> ContainerStatus:
        known = self.statuses.get(container_id)
        sandbox_id = known.sandbox_id if known else ""
        if not sandbox_id:
            found = await self._containers(id=container_id)
            if not found:
                raise RuntimeFault("NotFound", f"container {container_id!r} not found")
            sandbox_id = found[0].pod_sandbox_id
        self.statuses[container_id] = await self._status(container_id, sandbox_id)
        return self.statuses[container_id]

    async def _status(self, container_id: str, sandbox_id: str) -> ContainerStatus:
        found = (await self.calls.call("ContainerStatus", container_id=container_id)).status
        status: ContainerStatus = from_message(values.CONTAINER_STATUS, found, sandbox_id=sandbox_id)
        return replace(
            status,
            # containerd notes the start once it is back from it: later than the end of who was quick
            finished_at=max(status.started_at, status.finished_at) if status.finished_at else 0.0,
            labels={name: value for name, value in status.labels.items() if name != OWNER},
            image_id=status.image_id or await self._image_id(found.image_ref),
            resources=status.resources or self.asked.get(container_id),
        )

    async def _image_id(self, reference: str) -> str:
        """Runtimes before CRI said it name an image by its digest."""
        if reference not in self.image_ids:
            image = await self.image_status(reference)
            self.image_ids[reference] = image.id if image else reference
        return self.image_ids[reference]

    async def update_container_resources(self, container_id: str, resources: LinuxResources) -> None:
        fields = to_fields(values.RESOURCES, resources)
        await self.calls.call("UpdateContainerResources", reason="UpdateError", container_id=container_id, linux=fields)
        self.asked[container_id] = updated(self.asked.get(container_id, LinuxResources()), resources)
        self.events_seen.tell(container_id)

    async def reopen_container_log(self, container_id: str) -> None:
        await self.calls.call("ReopenContainerLog", container_id=container_id)

    async def container_stats(self, container_id: str) -> ContainerStats:
        answer = await self.calls.call("ContainerStats", container_id=container_id)
        if not answer.stats.HasField("cpu"):
            raise RuntimeFault("NotFound", f"container {container_id!r} is not running")
        stats: ContainerStats = from_message(values.STATS, answer.stats)
        return stats

    # Streams

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        seconds = math.ceil(timeout_seconds)
        limit = seconds + EXEC_MORE_SECONDS if seconds else 0.0
        found = await self.calls.call(
            "ExecSync", reason="ExecError", seconds=limit, container_id=container_id, cmd=list(command), timeout=seconds
        )
        return ExecResult(stdout=found.stdout, stderr=found.stderr, exit_code=found.exit_code)

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> ExecIO:
        wanted: dict[str, Any] = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
        answer = await self.calls.call(
            "Exec", reason="ExecError", container_id=container_id, cmd=list(command), **wanted
        )
        return await remote_io(answer.url, stdin=stdin, tty=tty)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> ExecIO:
        wanted: dict[str, Any] = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
        answer = await self.calls.call("Attach", reason="ExecError", container_id=container_id, **wanted)
        return await remote_io(answer.url, stdin=stdin, tty=tty)

    async def port_forward(self, sandbox_id: str, port: int) -> tuple[ByteReader, ByteWriter]:
        answer = await self.calls.call("PortForward", reason="ExecError", pod_sandbox_id=sandbox_id, port=[port])
        made = await remote_port(answer.url, port)
        return made, made

    # Images

    async def pull_image(self, image: str, auth: AuthConfig | None = None) -> str:
        parse(image)
        if (ours := self.images and self.images.reference(image)) and self.images is not None:
            image, auth = ours, self.images.auth
        more = {} if auth is None else {"auth": to_fields(values.AUTH, auth)}
        answer = await self.calls.call(
            "PullImage", IMAGES, reason="ErrImagePull", seconds=0.0, image={"image": image}, **more
        )
        identifier: str = answer.image_ref
        return identifier

    async def image_status(self, image: str) -> Image | None:
        wanted = (self.images and self.images.reference(image)) or image
        answer = await self.calls.call("ImageStatus", IMAGES, image={"image": wanted})
        return from_message(values.IMAGE, answer.image) if answer.HasField("image") else None

    async def list_images(self) -> Sequence[Image]:
        found = [from_message(values.IMAGE, each) for each in (await self.calls.call("ListImages", IMAGES)).images]
        return [replace(each, pinned=each.pinned or self.sandbox_image in each.repo_tags) for each in found]

    async def remove_image(self, image: str) -> None:
        await self.calls.unless_gone("RemoveImage", IMAGES, image={"image": image})


def metadata_of(found: Any) -> SandboxMetadata:
    metadata: SandboxMetadata = from_message(values.SANDBOX_METADATA, found.metadata)
    return metadata
