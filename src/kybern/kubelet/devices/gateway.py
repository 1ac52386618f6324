"""The gateway: gRPC on one side, lines of JSON on the other. It decides nothing and remembers only its plugins.

    python -m kybern.kubelet.devices.gateway PLUGINS PRIVATE       directories; the agent is on descriptor 0

To the agent: `{"offered": {"resource": ..., "devices": {id: [health, nodes]}}}`, `{"gone": resource}`, and questions
`{"ask": number, "what": "pods"}`. From the agent: `{"allocate": number, "resource": ..., "ids": [...]}`, `{"prefer": ...}`,
`{"drive": number, "what": "prepare", "driver": ..., "claims": [...]}`, `{"sockets": [paths]}` and answers. It ends when
the agent does.
"""

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any

import grpc

from kybern.aio.timeouts import timeout
from kybern.kubelet.devices.drivers import Drivers
from kybern.kubelet.devices.protocol import device_plugin, pod_resources

VERSION = "v1beta1"
SOCKET = "gateway.sock"
CALL_SECONDS = 30.0
LINE_BYTES_MAX = 16 << 20
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")

RESPONSES = {
    "Allocate": "AllocateResponse",
    "PreStartContainer": "PreStartContainerResponse",
    "GetPreferredAllocation": "PreferredAllocationResponse",
}

Json = dict[str, Any]


class Agent:
    """The other end: whose answers are waited for, and whom everything is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.answers: dict[int, asyncio.Future[Json]] = {}
        self.numbers = count(1)

    def tell(self, message: Json) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def ask(self, what: str) -> Json:
        number = next(self.numbers)
        self.answers[number] = asyncio.get_running_loop().create_future()
        self.tell({"ask": number, "what": what})
        try:
            async with timeout(CALL_SECONDS):
                return await self.answers[number]
        finally:
            del self.answers[number]

    async def follow(self, carry_out: Callable[[Json], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            while line := await self.reader.readline():
                message = json.loads(line)
                waiting = self.answers.get(message.get("answer", 0))
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
                elif "answer" not in message:
                    tasks.create_task(carry_out(message))


class Plugins:
    def __init__(self, agent: Agent, directory: str) -> None:
        self.agent, self.directory = agent, directory
        self.channels: dict[str, grpc.aio.Channel] = {}
        """By resource: the one that registered last."""
        self.options: dict[str, Any] = {}
        """By resource: what its plugin wants to be asked besides."""
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def register(self, request: Any, context: Any) -> Any:
        if request.version != VERSION:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"requested API version {request.version!r} is not supported"
            )
        if not NAME.fullmatch(request.resource_name) or "/" in request.endpoint or request.endpoint in ("", ".", ".."):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid name of resource: {request.resource_name}")
        before = self.tasks.pop(request.resource_name, None)
        if before is not None:
            before.cancel()
        channel = grpc.aio.insecure_channel(f"unix:{self.directory}/{request.endpoint}")
        self.channels[request.resource_name] = channel
        self.options[request.resource_name] = request.options
        self.tasks[request.resource_name] = asyncio.create_task(self._follow(request.resource_name, channel))
        return device_plugin("Empty")()

    async def _follow(self, resource: str, channel: grpc.aio.Channel) -> None:
        watch = channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=serialized,
            response_deserializer=device_plugin("ListAndWatchResponse").FromString,
        )
        try:
            async for answer in watch(device_plugin("Empty")()):
                devices = {d.ID: [d.health, sorted({node.ID for node in d.topology.nodes})] for d in answer.devices}
                self.agent.tell({"offered": {"resource": resource, "devices": devices}})
        except grpc.aio.AioRpcError:
            pass  # the plugin is gone, which is all there is to say
        if self.channels.get(resource) is channel:
            del self.channels[resource]
            self.agent.tell({"gone": resource})
        await channel.close()

    async def answer(self, kind: str, message: Json) -> None:
        """`kind`: allocate or prefer."""
        work = self._allocate if kind == "allocate" else self._prefer
        try:
            answer = await work(message)
        except (grpc.aio.AioRpcError, LookupError) as error:
            text = error.details() if isinstance(error, grpc.aio.AioRpcError) else f"no plugin offers {error}"
            answer = {"error": f"rpc error: {text}"}
        self.agent.tell({"answer": message[kind], **answer})

    async def _call(self, resource: str, method: str, request: Any) -> Any:
        made = self.channels[resource].unary_unary(
            f"/v1beta1.DevicePlugin/{method}",
            request_serializer=serialized,
            response_deserializer=device_plugin(RESPONSES[method]).FromString,
        )
        return await made(request, timeout=CALL_SECONDS)

    async def _prefer(self, message: Json) -> Json:
        """Nothing in particular, where the plugin does not care."""
        if not self.options[message["resource"]].get_preferred_allocation_available:
            return {"ids": []}
        request = device_plugin("PreferredAllocationRequest")()
        request.container_requests.add(
            available_deviceIDs=message["available"],
            must_include_deviceIDs=message["must"],
            allocation_size=message["count"],
        )
        (found,) = (await self._call(message["resource"], "GetPreferredAllocation", request)).container_responses
        return {"ids": list(found.deviceIDs)}

    async def _allocate(self, message: Json) -> Json:
        resource, ids = message["resource"], message["ids"]
        request = device_plugin("AllocateRequest")()
        request.container_requests.add(devices_ids=ids)
        (found,) = (await self._call(resource, "Allocate", request)).container_responses
        if self.options[resource].pre_start_required:
            await self._call(resource, "PreStartContainer", device_plugin("PreStartContainerRequest")(devices_ids=ids))
        return {
            "envs": dict(found.envs),
            "annotations": dict(found.annotations),
            "mounts": [[m.container_path, m.host_path, m.read_only] for m in found.mounts],
            "devices": [[d.container_path, d.host_path, d.permissions] for d in found.devices],
            "cdi": [d.name for d in found.cdi_devices],
        }


class PodResources:
    """Who has which devices, for monitors."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def list(self, request: Any, context: Any) -> Any:
        answer = pod_resources("ListPodResourcesResponse")()
        for pod in (await self.agent.ask("pods"))["pods"]:
            _fill(answer.pod_resources.add(), pod)
        return answer

    async def get(self, request: Any, context: Any) -> Any:
        for pod in (await self.agent.ask("pods"))["pods"]:
            if (pod["name"], pod["namespace"]) == (request.pod_name, request.pod_namespace):
                answer = pod_resources("GetPodResourcesResponse")()
                _fill(answer.pod_resources, pod)
                return answer
        named = f"{request.pod_name} in namespace {request.pod_namespace}"
        return await context.abort(grpc.StatusCode.NOT_FOUND, f"pod {named} not found")

    async def allocatable(self, request: Any, context: Any) -> Any:
        found = await self.agent.ask("allocatable")
        answer = pod_resources("AllocatableResourcesResponse")(cpu_ids=found["cpus"])
        _fill_devices(answer.devices, found["devices"])
        _fill_memory(answer.memory, found["memory"])
        return answer


def _fill(into: Any, pod: Json) -> None:
    into.name, into.namespace = pod["name"], pod["namespace"]
    for found in pod["containers"]:
        container = into.containers.add(name=found["name"], cpu_ids=found["cpus"])
        _fill_devices(container.devices, found["devices"])
        _fill_memory(container.memory, found["memory"])
        for claim in found["claims"]:
            resource = container.dynamic_resources.add(claim_name=claim["name"], claim_namespace=pod["namespace"])
            for driver, pool, device, cdi in claim["devices"]:
                one = resource.claim_resources.add(driver_name=driver, pool_name=pool, device_name=device)
                for name in cdi:
                    one.CDIDevices.add(name=name)


def _fill_devices(into: Any, devices: Json) -> None:
    """By resource: the ids of devices and the NUMA nodes they are near, those of one place together."""
    for resource, groups in devices.items():
        for ids, nodes in groups:
            _fill_nodes(into.add(resource_name=resource, device_ids=ids), nodes)


def _fill_memory(into: Any, blocks: list[Json]) -> None:
    for block in blocks:
        _fill_nodes(into.add(memory_type=block["kind"], size=block["size"]), block["nodes"])


def _fill_nodes(into: Any, nodes: list[int]) -> None:
    for number in nodes:
        into.topology.nodes.add(ID=number)


def serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def handlers(service: str, methods: dict[str, tuple[Any, Any]]) -> Any:
    """`methods`: by name, what answers and the class of its request."""
    found = {
        name: grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=request.FromString, response_serializer=serialized
        )
        for name, (answer, request) in methods.items()
    }
    return grpc.method_handlers_generic_handler(service, found)


async def ask_driver(agent: Agent, drivers: Drivers, message: Json) -> None:
    try:
        answer = await drivers.ask(message["what"], message["driver"], message["claims"])
    except grpc.aio.AioRpcError as error:
        answer = {"error": f"rpc error: {error.details()}"}
    except LookupError as error:
        answer = {"error": str(error.args[0])}
    agent.tell({"answer": message["drive"], **answer})


async def run(directory: str, private: str) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=0), limit=LINE_BYTES_MAX)
    agent = Agent(reader, writer)
    plugins, resources, drivers = Plugins(agent, directory), PodResources(agent), Drivers()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            handlers("v1beta1.Registration", {"Register": (plugins.register, device_plugin("RegisterRequest"))}),
            handlers(
                "v1.PodResourcesLister",
                {
                    "List": (resources.list, pod_resources("ListPodResourcesRequest")),
                    "Get": (resources.get, pod_resources("GetPodResourcesRequest")),
                    "GetAllocatableResources": (resources.allocatable, pod_resources("AllocatableResourcesRequest")),
                },
            ),
        )
    )
    here = os.open(private, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with suppress(FileNotFoundError):
        os.unlink(SOCKET, dir_fd=here)
    server.add_insecure_port(f"unix:/proc/self/fd/{here}/{SOCKET}")  # short, however long the directory's path
    await server.start()
    agent.tell({"ready": True})

    async def carry_out(message: Json) -> None:
        if "sockets" in message:
            await drivers.look(message["sockets"])
        elif kind := next((kind for kind in ("allocate", "prefer") if kind in message), ""):
            await plugins.answer(kind, message)
        else:
            await ask_driver(agent, drivers, message)

    await agent.follow(carry_out)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
