"""A real node in a test: warden, native runtime and kubelet, beside an API server in memory."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Container, Pod, PodSpec, Service, Volume, VolumeMount
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.client.events import Recorder
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.kubelet import Kubelet
from kybern.kubelet.pod_cgroups import KernelCgroups
from kybern.linux import cgroup_detect, mounts, netns
from kybern.linux.netlink import Netlink
from kybern.linux.real import RealMounts
from kybern.runtime.images.store import ImageStore
from kybern.runtime.native import NativeRuntime, containers_dir, warden_socket
from kybern.testing.cluster import running
from kybern.volumes.mounts import mounted_beneath
from kybern.volumes.objects import Objects
from kybern.volumes.pod_volumes import PodVolumes

HOST_IMAGE = "kybern.local/host"
CGROUP = f"/kybern-test-{os.getpid()}"
SECONDS_MAX = 20.0


class OneAddressEach:
    """Sandboxes without a network, but with an address."""

    def __init__(self) -> None:
        self.count = 1

    def fault(self) -> str:
        return ""

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
        found: Pod | None = None
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while not holds(found := await self.client.get(Pod, name, "default")):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"it never came to be: {found.status if found else None}") from None
        return found

    async def said(self, pod: Pod, line: str, container: str = "main") -> None:
        """Until it has written that line."""
        async with asyncio.timeout(SECONDS_MAX):
            while line not in self.log(pod, container).splitlines():
                await asyncio.sleep(0.01)

    def log(self, pod: Pod, container: str = "main") -> str:
        directory = self.root / "logs" / f"default_{pod.metadata.name}_{pod.metadata.uid}" / container
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
        try:
            process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


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
            except BaseException:
                cgroup_detect.detect().kill(CGROUP)  # so that a failed test leaves nothing for the next to find
                mounts.unmount_beneath(str(root))
                raise
            finally:
                cgroup_detect.detect().remove(CGROUP)
        assert mounted_beneath(str(root)) == []
        for left in ("data/pods", "data/containers", "data/sandboxes", "run/sandboxes", "logs"):
            assert os.listdir(root / left) == [], left

    return run()


def pod(
    name: str,
    script: str,
    volumes: dict[str, Volume],
    *,
    sub_paths: dict[str, str] | None = None,
    of_main: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Pod:
    """`of_main`: more fields of its one container."""
    found = [VolumeMount(name=key, mount_path=f"/mnt/{key}") for key in volumes]
    found += [VolumeMount(name=k, mount_path=f"/mnt/{k}-sub", sub_path=p) for k, p in (sub_paths or {}).items()]
    main = Container(
        name="main",
        image=HOST_IMAGE,
        command=("sh", "-c", script),
        volume_mounts=tuple(found),
        **(of_main or {}),
    )
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


class NodeLab:
    """Test files cannot import from here, so they are given what they need."""

    def in_a_cluster(self, scenario: Callable[[Client, Path], Awaitable[None]], root: Path) -> Any:
        return in_a_cluster(scenario, root)

    def node(self, root: Path, client: Client) -> AbstractAsyncContextManager[Node]:
        return node(root, client)

    def pod(self, name: str, script: str, volumes: dict[str, Volume], **given: Any) -> Pod:
        return pod(name, script, volumes, **given)

    async def remove_all(self, here: Node) -> None:
        await remove_all(here)


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For those that put sockets into it, whose paths have 107 bytes at most (unix(7))."""
    return tmp_path_factory.mktemp("n")


@pytest.fixture
def node_lab() -> NodeLab:
    return NodeLab()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """A namespace to be the machine, in which the test's own process works."""
    path = str(tmp_path / "machine")
    netns.create(path)
    with netns.inside(path):
        with Netlink() as here:
            here.set_up(here.index("lo"))
        yield tmp_path
    netns.remove(path)
