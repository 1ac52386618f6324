"""Devices, from a plugin of its own process to a container's /dev, with the example's fake GPUs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from kybern.api.core_v1 import Node, Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.client import Client
from kybern.kubelet.devices.gateway import serialized
from kybern.kubelet.devices.protocol import pod_resources

pytestmark = pytest.mark.linux

EXAMPLE = Path(__file__).parents[2] / "examples/04-devices/fake_gpus.py"
GPU = "example.com/gpu"
SCRIPT = "echo $FAKE_GPUS; ls /dev | grep -c fake-gpu; head -c 1 /dev/fake-gpu0 | wc -c; sleep 1000"


@asynccontextmanager
async def fake_gpus(directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), "--count", "3", "--directory", str(directory)), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_node_has(client: Client, capacity: str, allocatable: str) -> None:
    async with asyncio.timeout(20):
        while True:
            status = (await client.get(Node, "n1")).status
            if (status.capacity or {}).get(GPU) == capacity and (status.allocatable or {}).get(GPU) == allocatable:
                return
            await asyncio.sleep(0.05)


async def test_devices_of_a_plugin_are_counted_given_out_watched_and_given_back(
    node_lab: Any, short_path: Path
) -> None:
    async def scenario(client: Client, root: Path) -> None:
        plugins = root / "data/plugins"
        async with node_lab.node(root, client) as here, fake_gpus(plugins / "device-plugins") as plugin:
            await until_node_has(client, "3", "3")
            await create(client, node_lab, "two", 2)
            pod = await here.until("two", lambda pod: pod.status.phase == "Running")
            await here.said(pod, "1")
            assert here.log(pod).splitlines() == ["gpu-2,gpu-1", "2", "1"]
            assert await told_to_monitors(plugins / "pod-resources/kubelet.sock") == {"two": {GPU: ["gpu-2", "gpu-1"]}}

            await create(client, node_lab, "more", 2)
            refused = await here.until("more", lambda pod: pod.status.phase == "Failed")
            assert refused.status.reason in ("UnexpectedAdmissionError", f"OutOf{GPU}")

            plugin.send_signal(signal.SIGUSR1)
            await until_node_has(client, "3", "2")
            await here.until("two", lambda pod: health(pod) == {"gpu-2": "Unhealthy", "gpu-1": "Healthy"})
            plugin.send_signal(signal.SIGUSR1)
            await until_node_has(client, "3", "3")

            await client.delete(Pod, "two", "default", grace_seconds=1)
            await client.delete(Pod, "more", "default", grace_seconds=0)
            async with asyncio.timeout(20):
                while here.kubelet.workers:
                    await asyncio.sleep(0.05)
            await create(client, node_lab, "all", 3)
            await here.until("all", lambda pod: pod.status.phase == "Running")
            plugin.kill()
            await until_node_has(client, "0", "0")
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, short_path)


async def create(client: Client, node_lab: Any, name: str, count: int) -> None:
    wanted = ResourceRequirements(limits={GPU: Quantity(str(count))}, requests={GPU: Quantity(str(count))})
    await client.create(node_lab.pod(name, SCRIPT, {}, of_main={"resources": wanted}))


def health(pod: Pod) -> dict[str, str | None]:
    (status,) = pod.status.container_statuses or ()
    return {h.resource_id: h.health for r in status.allocated_resources_status or () for h in r.resources or ()}


async def told_to_monitors(path: Path) -> dict[str, dict[str, list[str]]]:
    assert os.stat(path).st_mode & 0o007 == 0
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        call = channel.unary_unary(
            "/v1.PodResourcesLister/List",
            request_serializer=serialized,
            response_deserializer=pod_resources("ListPodResourcesResponse").FromString,
        )
        answer = await call(pod_resources("ListPodResourcesRequest")(), timeout=10)
    return {
        pod.name: {d.resource_name: list(d.device_ids) for c in pod.containers for d in c.devices}
        for pod in answer.pod_resources
    }
