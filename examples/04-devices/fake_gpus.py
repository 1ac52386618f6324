"""A device plugin that offers GPUs which are none, to try out how a cluster hands devices out.

    .venv/bin/python examples/04-devices/fake_gpus.py --count 4 --directory /var/lib/kybern/plugins/device-plugins

It is a device plugin like any other: it serves `DevicePlugin` on a socket of its own, and tells the kubelet where. It
says that they are near NUMA node 0, and would rather give the ones with the highest numbers.
SIGUSR1 makes its last GPU ill, and well again. It registers anew when the kubelet's socket is made anew.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc

from kybern.kubelet.devices.gateway import handlers, serialized
from kybern.kubelet.devices.protocol import device_plugin

RESOURCE = "example.com/gpu"
SOCKET = "fake-gpus.sock"
LOOK_SECONDS = 0.5
OPTIONS = device_plugin("DevicePluginOptions")(pre_start_required=True, get_preferred_allocation_available=True)


class FakeGpus:
    def __init__(self, count: int) -> None:
        self.health = {f"gpu-{number}": "Healthy" for number in range(count)}
        self.changed = asyncio.Event()

    def fall_ill_or_recover(self) -> None:
        last = next(reversed(self.health))
        self.health[last] = "Unhealthy" if self.health[last] == "Healthy" else "Healthy"
        self.changed.set()

    async def options(self, request: Any, context: Any) -> Any:
        return OPTIONS

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        while True:
            self.changed.clear()
            answer = device_plugin("ListAndWatchResponse")()
            for identifier, health in self.health.items():
                answer.devices.add(ID=identifier, health=health).topology.nodes.add(ID=0)
            yield answer
            await self.changed.wait()

    async def allocate(self, request: Any, context: Any) -> Any:
        answer = device_plugin("AllocateResponse")()
        for asked in request.container_requests:
            given = answer.container_responses.add()
            given.envs["FAKE_GPUS"] = ",".join(asked.devices_ids)
            for number, _ in enumerate(asked.devices_ids):
                given.devices.add(container_path=f"/dev/fake-gpu{number}", host_path="/dev/zero", permissions="rw")
        return answer

    async def prefer(self, request: Any, context: Any) -> Any:
        answer = device_plugin("PreferredAllocationResponse")()
        for asked in request.container_requests:
            given = list(asked.must_include_deviceIDs)
            others = sorted(set(asked.available_deviceIDs) - set(given), reverse=True)
            answer.container_responses.add(deviceIDs=[*given, *others][: asked.allocation_size])
        return answer

    async def prepare(self, request: Any, context: Any) -> Any:
        return device_plugin("PreStartContainerResponse")()


async def serve(gpus: FakeGpus, path: str) -> grpc.aio.Server:
    server = grpc.aio.server()
    watch = grpc.unary_stream_rpc_method_handler(
        gpus.watch, request_deserializer=device_plugin("Empty").FromString, response_serializer=serialized
    )
    methods = {
        "GetDevicePluginOptions": (gpus.options, device_plugin("Empty")),
        "Allocate": (gpus.allocate, device_plugin("AllocateRequest")),
        "GetPreferredAllocation": (gpus.prefer, device_plugin("PreferredAllocationRequest")),
        "PreStartContainer": (gpus.prepare, device_plugin("PreStartContainerRequest")),
    }
    service = "v1beta1.DevicePlugin"
    server.add_generic_rpc_handlers(
        (
            handlers(service, methods),
            grpc.method_handlers_generic_handler(service, {"ListAndWatch": watch}),
        )
    )
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    return server


async def register(kubelet: str) -> None:
    async with grpc.aio.insecure_channel(f"unix:{kubelet}") as channel:
        call = channel.unary_unary(
            "/v1beta1.Registration/Register",
            request_serializer=serialized,
            response_deserializer=device_plugin("Empty").FromString,
        )
        request = device_plugin("RegisterRequest")(
            version="v1beta1", endpoint=SOCKET, resource_name=RESOURCE, options=OPTIONS
        )
        await call(request, timeout=30)


def socket_of(path: str) -> int:
    """Another number for another socket of the same name; 0 where there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--directory", default="/var/lib/kybern/plugins/device-plugins")
    given = parser.parse_args()
    gpus = FakeGpus(given.count)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, gpus.fall_ill_or_recover)
    server = await serve(gpus, f"{given.directory}/{SOCKET}")
    kubelet, known = f"{given.directory}/kubelet.sock", 0
    try:
        while True:
            now = socket_of(kubelet)
            if now not in (0, known):
                await register(kubelet)
                known = now
                print(f"{given.count} GPUs are registered as {RESOURCE}", flush=True)
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
