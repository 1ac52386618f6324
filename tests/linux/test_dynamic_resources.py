"""Dynamic resource allocation on the node: from an allocated claim over a driver and CDI to a container."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from kybern.api import core_v1
from kybern.api.core_v1 import PodResourceClaim, ResourceRequirements
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.resource_v1 import (
    AllocationResult,
    DeviceAllocationResult,
    DeviceClaim,
    DeviceRequest,
    DeviceRequestAllocationResult,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimConsumerReference,
    ResourceClaimSpec,
    ResourceClaimStatus,
)
from kybern.client import Client
from kybern.kubelet.devices.gateway import handlers
from kybern.kubelet.devices.protocol import allocation, registration
from kybern.runtime import cdi

pytestmark = pytest.mark.linux

DRIVER, KIND = "gpu.example.com", "example.com/test-gpu"
SPEC = {
    "cdiVersion": "0.6.0",
    "kind": KIND,
    "devices": [{"name": "claim", "containerEdits": {"env": ["CLAIMED=yes"], "deviceNodes": [{"path": "/dev/fake", "hostPath": "/dev/zero"}]}}],
}  # fmt: skip


class Driver:
    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.calls: list[tuple[str, str]] = []
        self.registered = ""

    async def info(self, request: Any, context: Any) -> Any:
        return registration("PluginInfo")(
            type="DRAPlugin", name=DRIVER, endpoint=self.socket, supported_versions=["v1.DRAPlugin"]
        )

    async def notify(self, request: Any, context: Any) -> Any:
        self.registered = request.error or "yes"
        return registration("RegistrationStatusResponse")()

    async def prepare(self, request: Any, context: Any) -> Any:
        answer = allocation("NodePrepareResourcesResponse")()
        for claim in request.claims:
            self.calls.append(("prepare", claim.name))
            device = answer.claims[claim.uid].devices.add(pool_name="pool", device_name="gpu-0", request_names=["gpu"])
            device.cdi_device_ids.append(f"{KIND}=claim")
        return answer

    async def unprepare(self, request: Any, context: Any) -> Any:
        answer = allocation("NodeUnprepareResourcesResponse")()
        for claim in request.claims:
            self.calls.append(("unprepare", claim.name))
            answer.claims[claim.uid].error = ""
        return answer


@asynccontextmanager
async def driver(registry: Path) -> AsyncIterator[Driver]:
    registry.mkdir(parents=True, exist_ok=True)
    made = Driver(f"{registry.parent}/dra.sock")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            handlers(
                "pluginregistration.Registration",
                {
                    "GetInfo": (made.info, registration("InfoRequest")),
                    "NotifyRegistrationStatus": (made.notify, registration("RegistrationStatus")),
                },
            ),
            handlers(
                "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin",
                {
                    "NodePrepareResources": (made.prepare, allocation("NodePrepareResourcesRequest")),
                    "NodeUnprepareResources": (made.unprepare, allocation("NodeUnprepareResourcesRequest")),
                },
            ),
        )
    )
    server.add_insecure_port(f"unix:{registry}/gpu.sock")
    server.add_insecure_port(f"unix:{made.socket}")
    await server.start()
    try:
        yield made
    finally:
        await server.stop(None)


async def test_a_claim_is_made_ready_by_its_driver_and_given_back(
    node_lab: Any, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = short_path / "cdi"
    specs.mkdir()
    (specs / "test.json").write_text(json.dumps(SPEC))
    monkeypatch.setattr(cdi.with_devices, "__defaults__", ((str(specs),),))

    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here, driver(root / "data/plugins/plugins_registry") as known:
            asked = DeviceRequest(name="gpu", exactly=ExactDeviceRequest(device_class_name="gpu"))
            claim = await client.create(
                ResourceClaim(
                    metadata=ObjectMeta(name="mine", namespace="default"),
                    spec=ResourceClaimSpec(devices=DeviceClaim(requests=(asked,))),
                )
            )
            wanted = ResourceRequirements(claims=(core_v1.ResourceClaim(name="gpu"),))
            script = "echo $CLAIMED; head -c 1 /dev/fake | wc -c; sleep 1000"
            made = node_lab.pod(
                *("claims", script, {}),
                of_main={"resources": wanted},
                resource_claims=(PodResourceClaim(name="gpu", resource_claim_name="mine"),),
            )
            pod = await client.create(made)
            result = DeviceRequestAllocationResult(device="gpu-0", driver=DRIVER, pool="pool", request="gpu")
            status = ResourceClaimStatus(
                allocation=AllocationResult(devices=DeviceAllocationResult(results=(result,))),
                reserved_for=(
                    ResourceClaimConsumerReference(name="claims", resource="pods", uid=pod.metadata.uid or ""),
                ),
            )
            await client.update_status(ResourceClaim(metadata=claim.metadata, spec=claim.spec, status=status))
            running = await here.until("claims", lambda pod: pod.status.phase == "Running")
            await here.said(running, "1")
            assert here.log(running).splitlines() == ["yes", "1"]
            assert (known.registered, set(known.calls)) == ("yes", {("prepare", "mine")})
            await node_lab.remove_all(here)
            assert known.calls[-1] == ("unprepare", "mine")

    await node_lab.in_a_cluster(scenario, short_path)
