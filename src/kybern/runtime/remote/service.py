"""A runtime of ours served as CRI v1: RuntimeService and ImageService over whatever implements `cri.Runtime`.

    Gate("listen", "/run/kybern/cri.sock", clock, serve=CriService(...))

Kubelets before 1.26 may ask for v1alpha2: the same calls and messages under another name.

Each call is a method named as CRI's, from its request to the fields of its answer (figures in `stats_service`, images in
`image_service`). What is wrong is told by gRPC's codes.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from kybern.aio.clock import Clock
from kybern.runtime import cri
from kybern.runtime.cri import ContainerState, Runtime, RuntimeFault
from kybern.runtime.remote import told, values
from kybern.runtime.remote.image_service import ImageCalls
from kybern.runtime.remote.lookups import Lookups
from kybern.runtime.remote.mapping import NANOSECONDS, from_message
from kybern.runtime.remote.messages import classes, message
from kybern.runtime.remote.peer import (
    ALREADY_EXISTS,
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    UNKNOWN,
    RpcError,
)
from kybern.runtime.remote.refusals import refuse
from kybern.runtime.remote.stats_service import StatsCalls
from kybern.runtime.remote.streaming import StreamingServer, TooMany
from kybern.runtime.remote.values import labels_match
from kybern.web.remote_command import Streams

PATH = re.compile(r"/runtime\.(v1|v1alpha2)\.(\w+)/(\w+)")
CODES = {
    "NotFound": NOT_FOUND,
    "InvalidImageName": INVALID_ARGUMENT,
    "Invalid": INVALID_ARGUMENT,
    "AlreadyExists": ALREADY_EXISTS,
    "FailedPrecondition": FAILED_PRECONDITION,
}
CREATED, STARTED, STOPPED, DELETED = range(4)
EVENTS = {ContainerState.CREATED: CREATED, ContainerState.RUNNING: STARTED, ContainerState.EXITED: STOPPED}
LISTED = {
    "StreamPodSandboxes": ("ListPodSandbox", "items", "pod_sandboxes"),
    "StreamContainers": ("ListContainers", "containers", "containers"),
    "StreamContainerStats": ("ListContainerStats", "stats", "container_stats"),
    "StreamPodSandboxStats": ("ListPodSandboxStats", "stats", "pod_sandbox_stats"),
    "StreamImages": ("ListImages", "images", "images"),
}
"""The newer calls that give the same as an older one, in pieces: its name, its list, and how the list is called there."""
PIECE_ITEMS = 500

Fields = Mapping[str, Any]


class CriService:
    def __init__(self, runtime: Runtime, streaming: StreamingServer, images: ImageCalls, clock: Clock) -> None:
        self.runtime, self.streaming, self.clock, self.find = runtime, streaming, clock, Lookups(runtime)
        self.services: Mapping[str, Sequence[object]] = {
            "RuntimeService": (self, StatsCalls(runtime, clock)),
            "ImageService": (images,),
        }

    async def __call__(self, path: str, body: bytes, seconds: float) -> AsyncIterator[bytes]:
        """Answers a call, as `peer.Serve`."""
        if (found := PATH.fullmatch(path)) is None:
            raise RpcError(UNIMPLEMENTED, f"unknown method {path}")
        version, service, method = found.groups()
        try:
            if method == "GetContainerEvents":
                async for changed in self.runtime.events():
                    yield message("ContainerEventResponse", **await self._event(changed)).SerializeToString()
                return
            asked, items, pieces = LISTED.get(method, (method, "", ""))
            answer = self._method(service, asked)
            fields = await answer(classes()[f"{method}Request"].FromString(body))
            if method == "Version":
                fields = {**fields, "runtime_api_version": version}
            for piece in [fields] if not items else pieces_of(fields[items], pieces):
                yield message(f"{method}Response", **piece).SerializeToString()
        except RuntimeFault as fault:
            raise RpcError(CODES.get(fault.reason, UNKNOWN), fault.message) from fault
        except (TimeoutError, OSError, ValueError, DecodeError, TooMany) as error:
            raise RpcError(code_of(error), str(error) or "it took too long") from error

    def _method(self, service: str, method: str) -> Callable[[Any], Awaitable[Fields]]:
        for part in self.services.get(service, ()) if method[:1].isupper() else ():
            found: Callable[[Any], Awaitable[Fields]] | None = getattr(part, method, None)
            if found is not None:
                return found
        raise RpcError(UNIMPLEMENTED, f"unknown method {method} for service runtime.v1.{service}")

    # What it is

    async def Version(self, request: Any) -> Fields:
        name, version = await self.runtime.version()
        return {"version": "0.1.0", "runtime_name": name, "runtime_version": version}

    async def Status(self, request: Any) -> Fields:
        fault = await self.runtime.network_fault()
        network: dict[str, Any] = {"type": "NetworkReady", "status": not fault}
        if fault:
            network |= {"reason": "NetworkPluginNotReady", "message": fault}
        handlers = [
            {
                "name": each.name,
                "features": {
                    "recursive_read_only_mounts": each.recursive_read_only_mounts,
                    "user_namespaces": each.user_namespaces,
                },
            }
            for each in await self.runtime.handlers()
        ]
        return {
            "status": {"conditions": [{"type": "RuntimeReady", "status": True}, network]},
            "runtime_handlers": handlers,
            "features": {"supplemental_groups_policy": True},
        }

    async def RuntimeConfig(self, request: Any) -> Fields:
        return {"linux": {"cgroup_driver": 1}}  # cgroupfs

    async def UpdateRuntimeConfig(self, request: Any) -> Fields:
        """Addresses are the plugins' to give."""
        return {}

    # Sandboxes

    async def RunPodSandbox(self, request: Any) -> Fields:
        config: cri.PodSandboxConfig = from_message(
            values.SANDBOX_CONFIG, request.config, runtime_handler=request.runtime_handler
        )
        if not config.metadata.name or not config.metadata.uid:
            raise RuntimeFault("Invalid", "sandbox config doesn't include metadata")
        if any(each.config.metadata == config.metadata for each in await self.runtime.list_pod_sandboxes()):
            raise RuntimeFault("AlreadyExists", f"sandbox {config.metadata.name!r} of this attempt is there already")
        return {"pod_sandbox_id": await self.runtime.run_pod_sandbox(config)}

    async def StopPodSandbox(self, request: Any) -> Fields:
        if (found := await self.find.sandbox_or_none(request.pod_sandbox_id)) is not None:
            await self.runtime.stop_pod_sandbox(found.id)
        return {}

    async def RemovePodSandbox(self, request: Any) -> Fields:
        if (found := await self.find.sandbox_or_none(request.pod_sandbox_id)) is not None:
            await self.runtime.remove_pod_sandbox(found.id)
        return {}

    async def PodSandboxStatus(self, request: Any) -> Fields:
        found = await self.find.sandbox(request.pod_sandbox_id)
        statuses = [each for each in await self.runtime.list_containers() if each.sandbox_id == found.id]
        return {
            "status": told.sandbox_status(found),
            "containers_statuses": list(map(told.container_status, statuses)),
            "timestamp": round(self.clock.wall() * NANOSECONDS),
        }

    async def ListPodSandbox(self, request: Any) -> Fields:
        wanted = request.filter
        return {
            "items": [
                told.sandbox(each)
                for each in await self.runtime.list_pod_sandboxes()
                if each.id.startswith(wanted.id)
                and (not wanted.HasField("state") or values.SANDBOX_STATE.out(each.state) == wanted.state.state)
                and labels_match(each.config.labels, wanted.label_selector)
            ]
        }

    async def UpdatePodSandboxResources(self, request: Any) -> Fields:
        """The pod's cgroup is its kubelet's."""
        await self.find.sandbox(request.pod_sandbox_id)
        return {}

    # Containers

    async def CreateContainer(self, request: Any) -> Fields:
        values.name_profiles(request.config.linux.security_context)
        config: cri.ContainerConfig = from_message(values.CONTAINER_CONFIG, request.config)
        refuse(config)
        sandbox = await self.find.sandbox(request.pod_sandbox_id)
        if not config.metadata.name:
            raise RuntimeFault("Invalid", "container config doesn't include metadata")
        known = [each.metadata for each in await self.runtime.list_containers() if each.sandbox_id == sandbox.id]
        if config.metadata in known:
            raise RuntimeFault("AlreadyExists", f"container {config.metadata.name!r} of this attempt is there already")
        return {"container_id": await self.runtime.create_container(sandbox.id, config)}

    async def StartContainer(self, request: Any) -> Fields:
        found = await self.find.container(request.container_id)
        if found.state is not ContainerState.CREATED:
            raise RuntimeFault("FailedPrecondition", f"container {found.id!r} is in state {found.state.value}")
        await self.runtime.start_container(found.id)
        return {}

    async def StopContainer(self, request: Any) -> Fields:
        if (found := await self.find.container_or_none(request.container_id)) is not None:
            await self.runtime.stop_container(found.id, request.timeout)
        return {}

    async def RemoveContainer(self, request: Any) -> Fields:
        if (found := await self.find.container_or_none(request.container_id)) is not None:
            await self.runtime.remove_container(found.id)
        return {}

    async def ListContainers(self, request: Any) -> Fields:
        wanted = request.filter
        return {
            "containers": [
                told.container(each)
                for each in await self.runtime.list_containers()
                if each.id.startswith(wanted.id)
                and each.sandbox_id.startswith(wanted.pod_sandbox_id)
                and (not wanted.HasField("state") or values.CONTAINER_STATE.out(each.state) == wanted.state.state)
                and labels_match(each.labels, wanted.label_selector)
            ]
        }

    async def ContainerStatus(self, request: Any) -> Fields:
        return {"status": told.container_status(await self.find.container(request.container_id))}

    async def UpdateContainerResources(self, request: Any) -> Fields:
        found = await self.find.container(request.container_id)
        await self.runtime.update_container_resources(found.id, from_message(values.RESOURCES, request.linux))
        return {}

    async def ReopenContainerLog(self, request: Any) -> Fields:
        await self.runtime.reopen_container_log((await self.find.running(request.container_id)).id)
        return {}

    # Streams

    async def ExecSync(self, request: Any) -> Fields:
        found = await self.find.running(request.container_id)
        result = await self.runtime.exec_sync(found.id, list(request.cmd), request.timeout)
        return {"stdout": result.stdout, "stderr": result.stderr, "exit_code": result.exit_code}

    async def Exec(self, request: Any) -> Fields:
        found = await self.find.running(request.container_id)
        return {"url": self.streaming.exec(found.id, list(request.cmd), streams_of(request))}

    async def Attach(self, request: Any) -> Fields:
        found = await self.find.running(request.container_id)
        return {"url": self.streaming.attach(found.id, streams_of(request))}

    async def PortForward(self, request: Any) -> Fields:
        found = await self.find.sandbox(request.pod_sandbox_id)
        if found.state is not cri.SandboxState.READY:
            raise RuntimeFault("FailedPrecondition", f"sandbox {found.id!r} is not running")
        return {"url": self.streaming.port_forward(found.id, list(request.port))}

    # News

    async def _event(self, changed: str) -> Fields:
        containers = await self.runtime.list_containers()
        status = next((each for each in containers if each.id == changed), None)
        sandbox_id = status.sandbox_id if status else changed
        sandbox = next((each for each in await self.runtime.list_pod_sandboxes() if each.id == sandbox_id), None)
        kind = DELETED
        if status is not None:
            kind = EVENTS.get(status.state, CREATED)
        elif sandbox is not None:
            kind = STARTED if sandbox.state is cri.SandboxState.READY else STOPPED
        fields: dict[str, Any] = {
            "container_id": changed,
            "container_event_type": kind,
            "created_at": round(self.clock.wall() * NANOSECONDS),
            "containers_statuses": [
                told.container_status(each) for each in containers if each.sandbox_id == sandbox_id
            ],
        }
        return fields if sandbox is None else {**fields, "pod_sandbox_status": told.sandbox_status(sandbox)}


def streams_of(request: Any) -> Streams:
    if request.tty and request.stderr:
        raise RuntimeFault("Invalid", "tty and stderr cannot both be true")
    if not (request.stdin or request.stdout or request.stderr):
        raise RuntimeFault("Invalid", "one of stdin, stdout, or stderr must be set")
    return Streams(stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, tty=request.tty)


def pieces_of(items: Sequence[Any], name: str) -> list[Fields]:
    return [{name: items[start : start + PIECE_ITEMS]} for start in range(0, len(items), PIECE_ITEMS)]


def code_of(error: Exception) -> int:
    match error:
        case TimeoutError():
            return DEADLINE_EXCEEDED
        case TooMany():
            return RESOURCE_EXHAUSTED
        case ValueError() | DecodeError():
            return INVALID_ARGUMENT
    return INTERNAL
