"""A driver of dynamic resource allocation for GPUs which are none: the modern way to hand devices out, to try it out.

    .venv/bin/python examples/09-dynamic-resources/fake_driver.py --node $(hostname) --plugins /var/lib/kybern/plugins

It is a driver like any other. It tells the API which devices the node has (a ResourceSlice), registers with the kubelet by
a socket, and when a pod comes whose claim was given some of them, it writes down for the container runtime (CDI) what
they mean: a variable and a device file each. When it ends, its devices are nobody's.
"""

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import grpc
from msgspec.structs import replace

from kybern.api.errors import AlreadyExists
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.resource_v1 import (
    Device,
    DeviceAttribute,
    ResourceClaim,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)
from kybern.cli.kubectl.session import open_session
from kybern.client import Client
from kybern.kubelet.devices.gateway import handlers
from kybern.kubelet.devices.protocol import allocation, registration

DRIVER, KIND = "gpu.example.com", "example.com/fake-gpu"


class FakeDriver:
    def __init__(self, client: Client, node: str, socket: str, specifications: Path) -> None:
        self.client, self.node, self.socket, self.specifications = client, node, socket, specifications

    # What the node has.

    def slice(self, count: int) -> ResourceSlice:
        devices = tuple(
            Device(name=f"gpu-{n}", attributes={"model": DeviceAttribute(string="large" if n % 2 else "small")})
            for n in range(count)
        )
        pool = ResourcePool(name=self.node, generation=1, resource_slice_count=1)
        spec = ResourceSliceSpec(driver=DRIVER, node_name=self.node, pool=pool, devices=devices)
        return ResourceSlice(metadata=ObjectMeta(name=f"{self.node}-{DRIVER}"), spec=spec)

    async def publish(self, count: int) -> None:
        made = self.slice(count)
        try:
            await self.client.create(made)
        except AlreadyExists:  # of one that did not end as it should
            found = await self.client.get(ResourceSlice, made.metadata.name or "")
            pool = replace(made.spec.pool, generation=found.spec.pool.generation + 1)
            await self.client.update(replace(found, spec=replace(made.spec, pool=pool)))

    async def withdraw(self) -> None:
        await self.client.delete(ResourceSlice, self.slice(0).metadata.name or "", "")

    # What the kubelet asks for.

    async def info(self, request: Any, context: Any) -> Any:
        return registration("PluginInfo")(
            type="DRAPlugin", name=DRIVER, endpoint=self.socket, supported_versions=["v1.DRAPlugin"]
        )

    async def registered(self, request: Any, context: Any) -> Any:
        print(request.error or f"{DRIVER} is registered", flush=True)
        return registration("RegistrationStatusResponse")()

    async def prepare(self, request: Any, context: Any) -> Any:
        answer = allocation("NodePrepareResourcesResponse")()
        for asked in request.claims:
            claim = await self.client.get(ResourceClaim, asked.name, asked.namespace)
            given = claim.status.allocation.devices if claim.status.allocation else None
            ours = [result for result in (given.results if given else None) or () if result.driver == DRIVER]
            self._write(asked.uid, [result.device for result in ours])
            for result in ours:
                device = answer.claims[asked.uid].devices.add(
                    pool_name=result.pool, device_name=result.device, request_names=[result.request]
                )
                device.cdi_device_ids.append(f"{KIND}={asked.uid}-{result.device}")
        return answer

    def _write(self, uid: str, devices: list[str]) -> None:
        """What each device means for a container that gets it."""
        found = [
            {
                "name": f"{uid}-{device}",
                "containerEdits": {
                    "env": [f"FAKE_{device.upper().replace('-', '_')}=yes"],
                    "deviceNodes": [{"path": f"/dev/fake-{device}", "hostPath": "/dev/zero"}],
                },
            }
            for device in devices
        ]
        self.specifications.mkdir(parents=True, exist_ok=True)
        self._path(uid).write_text(json.dumps({"cdiVersion": "0.6.0", "kind": KIND, "devices": found}))

    def _path(self, uid: str) -> Path:
        return self.specifications / f"{DRIVER}-{uid}.json"

    async def unprepare(self, request: Any, context: Any) -> Any:
        answer = allocation("NodeUnprepareResourcesResponse")()
        for claim in request.claims:
            self._path(claim.uid).unlink(missing_ok=True)
            answer.claims[claim.uid].error = ""
        return answer

    def services(self) -> tuple[Any, Any]:
        registering = {
            "GetInfo": (self.info, registration("InfoRequest")),
            "NotifyRegistrationStatus": (self.registered, registration("RegistrationStatus")),
        }
        driving = {
            "NodePrepareResources": (self.prepare, allocation("NodePrepareResourcesRequest")),
            "NodeUnprepareResources": (self.unprepare, allocation("NodeUnprepareResourcesRequest")),
        }
        return (
            handlers("pluginregistration.Registration", registering),
            handlers("k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin", driving),
        )


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", default=os.uname().nodename, help="the name of the node it runs on")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--plugins", type=Path, default=Path("/var/lib/kybern/plugins"))
    parser.add_argument("--cdi", type=Path, default=Path("/var/run/cdi"))
    given = parser.parse_args()
    own = given.plugins / DRIVER
    own.mkdir(parents=True, exist_ok=True)
    (given.plugins / "plugins_registry").mkdir(parents=True, exist_ok=True)
    sockets = [given.plugins / "plugins_registry" / f"{DRIVER}-reg.sock", own / "dra.sock"]
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with open_session("", "", None) as session:
        driver = FakeDriver(Client(session.client), given.node, str(sockets[1]), given.cdi)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(driver.services())
        for path in sockets:
            path.unlink(missing_ok=True)
            server.add_insecure_port(f"unix:{path}")
        await server.start()
        await driver.publish(given.count)
        await told.wait()
        await driver.withdraw()
        await server.stop(None)
    for path in sockets:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    asyncio.run(main())
