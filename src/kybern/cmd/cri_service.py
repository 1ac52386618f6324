"""The process that serves the runtime: the runtime itself, where its streams are served, and the gateway that speaks gRPC."""

import asyncio
from typing import TYPE_CHECKING

import uvloop

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.cmd.stopping import until_stopped
from kybern.network.cni import CniNetwork
from kybern.runtime.images.store import ImageStore
from kybern.runtime.native import NativeRuntime
from kybern.runtime.remote.gate import Gate
from kybern.runtime.remote.image_service import ImageCalls
from kybern.runtime.remote.service import CriService
from kybern.runtime.remote.streaming import StreamingServer
from kybern.web.server import serve

if TYPE_CHECKING:
    from kybern.cmd.cri import Service


def main(service: "Service") -> None:
    uvloop.run(run(service))


def network_of(service: "Service") -> CniNetwork:
    return CniNetwork(service.cni_conf_dir, service.data / "cni", SystemClock())


async def run(service: "Service") -> None:
    clock, ids = SystemClock(), Ids()
    network, directory = network_of(service), service.data / "images"
    images = ImageStore(directory, hidden=(service.data, service.run))
    async with NativeRuntime(
        service.data, service.run, images=images, network=network, clock=clock, ids=ids
    ) as runtime:
        streaming = StreamingServer(runtime, clock, ids)
        listener = await serve(streaming)
        streaming.address = f"127.0.0.1:{listener.port}"
        calls = CriService(runtime, streaming, ImageCalls(runtime, directory, clock), clock)
        gate = Gate("listen", str(service.socket), clock, calls)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(gate.run()), tasks.create_task(network.watch())]
            await until_stopped()
            for task in running:
                task.cancel()
        await listener.close()
