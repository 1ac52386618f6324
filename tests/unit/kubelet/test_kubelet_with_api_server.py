"""The kubelet against the API server itself: what it writes is understood, and what it deletes is gone."""

import asyncio
from pathlib import Path
from typing import Any

from kybern.aio.ids import Ids
from kybern.api.core_v1 import (
    ConfigMap,
    ConfigMapVolumeSource,
    Container,
    Event,
    Node,
    Pod,
    PodSpec,
    Service,
    Volume,
    VolumeMount,
)
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import View
from kybern.client.events import Recorder
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.kubelet import Kubelet
from kybern.runtime.simulated import Simulated
from kybern.testing.cluster import running
from kybern.volumes.mounts import NoMounts
from kybern.volumes.objects import Objects
from kybern.volumes.pod_volumes import PodVolumes


def kubelet_of(cluster: Any, root: Path) -> tuple[Kubelet, View, Recorder]:
    client, clock, ids = cluster.client, cluster.clock, Ids(7)
    view = View(client, clock=clock, rng=ids.rng)
    view.watch_kind(Pod, fields="spec.nodeName=n1")
    view.watch_kind(Service)
    recorder = Recorder(client, "kubelet", "n1", clock, ids)
    config = KubeletConfig(node_name="n1", data_directory=str(root / "data"), logs_directory=str(root / "logs"))
    objects = Objects(client, clock)
    kubelet = Kubelet(
        client=client,
        view=view,
        runtime=Simulated(clock),
        volumes=PodVolumes(config.pods_directory, objects, NoMounts(), clock, ids),
        recorder=recorder,
        clock=clock,
        ids=ids,
        config=config,
        objects=objects,
    )
    return kubelet, view, recorder


async def until(holds: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.02)


async def test_a_pod_lives_and_dies(tmp_path: Path) -> None:
    async with running(nodes=(), seed=1) as cluster:
        kubelet, view, recorder = kubelet_of(cluster, tmp_path)
        async with asyncio.TaskGroup() as tasks:
            parts = [tasks.create_task(part.run()) for part in (view, recorder, kubelet)]
            await kubelet.node.registered.wait()
            await live_and_die(cluster, kubelet, recorder, tmp_path)
            for part in parts:
                part.cancel()


async def live_and_die(cluster: Any, kubelet: Kubelet, recorder: Recorder, root: Path) -> None:
    client = cluster.client
    node = await client.get(Node, "n1")
    assert {c.type: c.status for c in node.status.conditions}["Ready"] == "True"
    await client.create(ConfigMap(metadata=ObjectMeta(name="c", namespace="default"), data={"k": "v"}))
    mount = VolumeMount(name="v", mount_path="/c")
    made = Pod(
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=PodSpec(
            node_name="n1",
            automount_service_account_token=False,  # nothing here signs tokens
            containers=(Container(name="web", image="web:1", volume_mounts=(mount,)),),
            volumes=(Volume(name="v", config_map=ConfigMapVolumeSource(name="c")),),
        ),
    )
    created = await client.create(made)

    async def is_ready() -> bool:
        found = await client.get(Pod, "web", "default")
        return any(c.type == "Ready" and c.status == "True" for c in found.status.conditions or ())

    await until(is_ready, 2.0)
    found = await client.get(Pod, "web", "default")
    assert found.status.phase == "Running" and found.status.observed_generation == found.metadata.generation
    assert (root / "data" / "pods" / created.metadata.uid / "volumes/kubernetes.io~configmap/v/k").read_text() == "v"
    await recorder.flush()
    reasons = {event.reason for event in await client.list(Event, "default") if event.involved_object.name == "web"}
    assert {"Pulling", "Pulled", "Created", "Started"} <= reasons
    await client.delete(Pod, "web", "default")

    async def is_gone() -> bool:
        try:
            await client.get(Pod, "web", "default")
        except NotFound:
            return True
        return False

    await until(is_gone)
    assert list((root / "data" / "pods").iterdir()) == [] and list((root / "logs").iterdir()) == []
