"""Kubelet, volumes and native runtime together: what real containers find, and that nothing of them is left."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import (
    ConfigMap,
    ConfigMapVolumeSource,
    Container,
    EmptyDirVolumeSource,
    Pod,
    PodSecurityContext,
    PodSpec,
    Secret,
    SecretVolumeSource,
    Service,
    Volume,
    VolumeMount,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.client.events import Recorder
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.kubelet import Kubelet
from kybern.kubelet.pod_cgroups import KernelCgroups
from kybern.linux import cgroup_detect
from kybern.linux.real import RealMounts
from kybern.runtime.images.store import ImageStore
from kybern.runtime.native import NativeRuntime, containers_dir, warden_socket
from kybern.testing.cluster import running
from kybern.volumes.mounts import mounted_beneath
from kybern.volumes.objects import Objects
from kybern.volumes.pod_volumes import PodVolumes

pytestmark = pytest.mark.linux

HOST_IMAGE = "kybern.local/host"
CGROUP = f"/kybern-test-{os.getpid()}"
SECONDS_MAX = 20.0


class OneAddressEach:
    """Sandboxes without a network, but with an address."""

    def __init__(self) -> None:
        self.count = 1

    async def attach(self, sandbox_id: str, netns_path: str, config: Any) -> tuple[str, ...]:
        self.count += 1
        return (f"10.244.0.{self.count}",)

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        return


@dataclass
class Node:
    client: Client
    kubelet: Kubelet
    root: Path

    async def until(self, name: str, holds: Callable[[Pod], bool]) -> Pod:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                found = await self.client.get(Pod, name, "default")
                if holds(found):
                    return found
                await asyncio.sleep(0.01)

    def log(self, pod: Pod) -> str:
        directory = self.root / "logs" / f"default_{pod.metadata.name}_{pod.metadata.uid}" / "main"
        return "".join(line.split(" ", 3)[3] + "\n" for line in (directory / "0.log").read_text().splitlines())


@asynccontextmanager
async def warden(root: Path) -> AsyncIterator[None]:
    for directory in ("run", "data/containers"):
        (root / directory).mkdir(parents=True)
    where = ["--socket", warden_socket(root / "run"), "--state-dir", containers_dir(root / "data")]
    process = subprocess.Popen([sys.executable, "-m", "kybern.runtime.warden", *where])
    try:
        async with asyncio.timeout(SECONDS_MAX):
            while not os.path.exists(warden_socket(root / "run")):
                await asyncio.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def node(root: Path, client: Client) -> AsyncIterator[Node]:
    clock, ids = SystemClock(), Ids()
    images = ImageStore(root / "data" / "images", hidden=(root,))
    runtime = NativeRuntime(root / "data", root / "run", images=images, network=OneAddressEach(), clock=clock, ids=ids)
    await runtime.open()
    view, recorder = View(client), Recorder(client, "kubelet", "n1", clock, ids)
    view.watch_kind(Pod, fields="spec.nodeName=n1")
    view.watch_kind(Service)
    config = KubeletConfig(
        node_name="n1", data_directory=str(root / "data"), logs_directory=str(root / "logs"), cgroup_root=CGROUP
    )
    objects = Objects(client, clock)
    kubelet = Kubelet(
        client=client,
        view=view,
        runtime=runtime,
        volumes=PodVolumes(config.pods_directory, objects, RealMounts(), clock, ids),
        recorder=recorder,
        clock=clock,
        ids=ids,
        config=config,
        objects=objects,
        cgroups=KernelCgroups(cgroup_detect.detect()),
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            parts = [tasks.create_task(part.run()) for part in (view, recorder, kubelet)]
            await kubelet.ready.wait()
            yield Node(client, kubelet, root)
            for part in parts:
                part.cancel()
    finally:
        await runtime.close()


async def remove_all(here: Node) -> None:
    """The API forgets pods that have ended at once; the node is done when it has no worker left."""
    for pod in await here.client.list(Pod, "default"):
        await here.client.delete(Pod, pod.metadata.name or "", "default", grace_seconds=1)
    async with asyncio.timeout(SECONDS_MAX):
        while await here.client.list(Pod, "default") or here.kubelet.workers:
            await asyncio.sleep(0.02)


def in_a_cluster(scenario: Callable[[Client, Path], Awaitable[None]], root: Path) -> Any:
    async def run() -> None:
        async with warden(root), running(nodes=(), seed=1) as cluster:
            try:
                await scenario(cluster.client, root)
            finally:
                cgroup_detect.detect().remove(CGROUP)
        assert mounted_beneath(str(root)) == []
        for left in ("data/pods", "data/containers", "data/sandboxes", "run/sandboxes", "logs"):
            assert os.listdir(root / left) == [], left

    return run()


def pod(
    name: str, script: str, volumes: dict[str, Volume], *, sub_paths: dict[str, str] | None = None, **spec: Any
) -> Pod:
    mounts = [VolumeMount(name=key, mount_path=f"/mnt/{key}") for key in volumes]
    mounts += [VolumeMount(name=k, mount_path=f"/mnt/{k}-sub", sub_path=p) for k, p in (sub_paths or {}).items()]
    main = Container(name="main", image=HOST_IMAGE, command=("sh", "-c", script), volume_mounts=tuple(mounts))
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=PodSpec(
            node_name="n1",
            automount_service_account_token=False,
            containers=(main,),
            volumes=tuple(volumes.values()),
            **spec,
        ),
    )


async def test_what_a_container_finds_in_its_volumes(tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node(root, client) as here:
            await client.create(
                ConfigMap(metadata=ObjectMeta(name="c", namespace="default"), data={"k": "v", "l": "w"})
            )
            await client.create(Secret(metadata=ObjectMeta(name="s", namespace="default"), string_data={"k": "hidden"}))
            volumes = {
                "c": Volume(name="c", config_map=ConfigMapVolumeSource(name="c")),
                "s": Volume(name="s", secret=SecretVolumeSource(secret_name="s", default_mode=0o400)),
                "m": Volume(name="m", empty_dir=EmptyDirVolumeSource(medium="Memory")),
                "e": Volume(name="e", empty_dir=EmptyDirVolumeSource()),
            }
            script = """
                cat /mnt/c/k /mnt/c-sub /mnt/s/k; echo
                touch /mnt/c/x 2>/dev/null || echo read-only
                stat -f -c %T /mnt/s /mnt/m
                stat -c '%a %g' /mnt/e /mnt/e-sub; echo data > /mnt/e-sub/file; cat /mnt/e/a/b/file
                id -u; head -1 /etc/hosts; hostname
                echo 'last words' > /dev/termination-log; exit 3
            """
            made = pod(
                "finds", script, volumes,
                sub_paths={"c": "l", "e": "a/b"},
                restart_policy="Never",
                hostname="h",
                security_context=PodSecurityContext(run_as_user=1000, run_as_group=3000, fs_group=2000),
            )  # fmt: skip
            await client.create(made)
            found = await here.until("finds", lambda p: p.status.phase == "Failed")
            (status,) = found.status.container_statuses or ()
            assert status.state is not None and status.state.terminated is not None
            assert (status.state.terminated.exit_code, status.state.terminated.message) == (3, "last words\n")
            lines = here.log(found).splitlines()
            assert lines[:4] == ["vwhidden", "read-only", "tmpfs", "tmpfs"]
            assert lines[4:6] == ["2777 2000", "2777 2000"]
            assert lines[6:] == ["data", "1000", "# Kubernetes-managed hosts file.", "h"]
            await remove_all(here)

    await in_a_cluster(scenario, tmp_path)


async def test_a_kubelet_that_starts_anew_finds_its_containers_running(tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        volumes = {"m": Volume(name="m", empty_dir=EmptyDirVolumeSource(medium="Memory"))}

        def is_ready(found: Pod) -> bool:
            return any(c.type == "Ready" and c.status == "True" for c in found.status.conditions or ())

        async with node(root, client) as here:
            await client.create(pod("stays", "echo here > /mnt/m/file; sleep 1000", volumes))
            before = await here.until("stays", is_ready)
        async with node(root, client) as here:
            await asyncio.sleep(0.5)
            after = await client.get(Pod, "stays", "default")
            assert after.status.container_statuses == before.status.container_statuses
            (running_one,) = here.kubelet.parts.pleg.of(before.metadata.uid or "").containers
            kept = await here.kubelet.parts.runtime.exec_sync(running_one.id, ["cat", "/mnt/m/file"], 5.0)
            assert kept.stdout == b"here\n"
            await remove_all(here)

    await in_a_cluster(scenario, tmp_path)
