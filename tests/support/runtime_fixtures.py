"""One pod and containers of it, from the test's own registry's busybox."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from containerd import containerd
from image_registry import ImageRegistry, image_registry
from oci_images import archive, build, busybox, entry, oci_archive
from warden_process import native, node

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.linux import cgroup_detect, netns
from kybern.linux.netlink import Netlink
from kybern.runtime.cleanup import remove_group
from kybern.runtime.cri import (
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    ContainerStatus,
    ExecIO,
    Mount,
    PodSandboxConfig,
    SandboxMetadata,
)
from kybern.runtime.native import NativeRuntime
from kybern.runtime.remote import cni
from kybern.runtime.remote.gate import Gate
from kybern.runtime.remote.image_service import ImageCalls
from kybern.runtime.remote.runtime import RemoteRuntime
from kybern.runtime.remote.service import CriService
from kybern.runtime.remote.streaming import StreamingServer
from kybern.web.server import serve

WAIT_SECONDS = 20.0


@dataclass
class Pod:
    """What a test works with; `run` starts a container of busybox."""

    node: Any
    runtime: Any
    image: str
    sandbox: str
    base: Path
    count: int = 0
    log_paths: dict[str, Path] = field(default_factory=dict)

    async def create(self, *command: str, **fields: Any) -> str:
        self.count += 1
        metadata = ContainerMetadata(name=f"c{self.count}")
        log_path = f"c{self.count}/0.log"
        config = ContainerConfig(metadata=metadata, image=self.image, command=command, log_path=log_path, **fields)
        identifier = await self.runtime.create_container(self.sandbox, config)
        self.log_paths[identifier] = self.base / "logs" / log_path
        return identifier

    async def run(self, *command: str, **fields: Any) -> str:
        identifier = await self.create(*command, **fields)
        await self.runtime.start_container(identifier)
        return identifier

    async def finish(self, *command: str, **fields: Any) -> tuple[ContainerStatus, list[str]]:
        """Runs it to its end: how it ended, and the lines it wrote."""
        identifier = await self.run(*command, **fields)
        await self.until(identifier, lambda status: status.state == ContainerState.EXITED)
        return await self.runtime.container_status(identifier), self.lines(identifier)

    async def shell(self, script: str, **fields: Any) -> list[str]:
        """The lines that a script writes in a container of its own."""
        return (await self.finish("sh", "-c", script, **fields))[1]

    async def until(self, identifier: str, holds: Callable[[ContainerStatus], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            events = self.runtime.events()
            waiting = asyncio.ensure_future(anext(events))
            try:
                while not holds(await self.runtime.container_status(identifier)):
                    await asyncio.wait([waiting], timeout=0.1)
                    if waiting.done():
                        waiting = asyncio.ensure_future(anext(events))
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await events.aclose()  # type: ignore[attr-defined]

    def log(self, identifier: str) -> str:
        return self.log_paths[identifier].read_text()

    async def said(self, identifier: str, line: str) -> None:
        """Until it has written that line."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.log_paths[identifier].exists() or line not in self.lines(identifier):
                await asyncio.sleep(0.02)

    def lines(self, identifier: str) -> list[str]:
        return [line.split(" ", 3)[3] for line in self.log(identifier).splitlines()]


async def image_of_two_layers(pod: Pod, base: Path) -> str:
    """Its id: the upper layer has another `a` than the lower one, which has `d/x` too."""
    layers = [archive([entry("a", b"below"), entry("d"), entry("d/x", b"1")]), archive([entry("a", b"above")])]
    (base / "two.tar").write_bytes(oci_archive(build(layers), "two:1"))
    (name,) = await pod.runtime.images.load(base / "two.tar")
    image = await pod.runtime.image_status(name)
    assert image is not None
    return str(image.id)


async def image_volumes_say(pod: Pod, image: str) -> list[str]:
    """What a container sees of that image as a volume, whole and in part."""
    mounts = (
        Mount(container_path="/whole", image=image, readonly=True),
        Mount(container_path="/part", image=image, image_sub_path="d", readonly=True),
    )
    script = "cat /whole/a /whole/d/x /part/x; touch /whole/b 2>/dev/null || echo read-only"
    return await pod.shell(script, mounts=mounts)


async def read_until(io: ExecIO, wanted: bytes) -> bytes:
    found = b""
    async with asyncio.timeout(10):
        while wanted not in found:
            piece = await io.read_stdout()
            assert piece, f"ended with {found!r}"
            found += piece
    return found


def cgroup_of(base: Path) -> str:
    return f"/kybern-test/{base.name}"


@asynccontextmanager
async def pod(base: Path, *, changes: str = "", **fields: Any) -> AsyncIterator[Pod]:
    async with image_registry() as registry, node(base, changes) as made:
        registry.add("test/busybox", busybox())
        try:
            async with native(made) as runtime:
                image = await runtime.pull_image(f"{registry.address}/test/busybox")
                config = PodSandboxConfig(
                    metadata=SandboxMetadata(name="pod", namespace="default", uid="u"),
                    hostname="pod-1",
                    log_directory=str(base / "logs"),
                    cgroup_parent=cgroup_of(base),
                    **fields,
                )
                yield Pod(made, runtime, image, await runtime.run_pod_sandbox(config), base)
        finally:
            remove_group(cgroup_detect.detect(), cgroup_of(base))


class Attached:
    """A network that gives addresses and nothing else, and knows who has one."""

    def __init__(self) -> None:
        self.sandboxes: set[str] = set()
        self.count = 1

    def fault(self) -> str:
        return ""

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        with netns.inside(netns_path), Netlink() as links:
            links.set_up(links.index("lo"))
        self.sandboxes.add(sandbox_id)
        self.count += 1
        return (f"10.9.8.{self.count}",)

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        self.sandboxes.discard(sandbox_id)


@dataclass
class Engine:
    """A runtime under test: `reopen` is a restart of whoever drives it."""

    runtime: Any
    registry: ImageRegistry
    base: Path
    network: Attached
    reopen: Callable[[], Awaitable[None]]
    count: int = 0

    @property
    def attached(self) -> set[str]:
        return self.network.sandboxes

    @asynccontextmanager
    async def pod(self, **fields: Any) -> AsyncIterator[Pod]:
        self.count += 1
        base = self.base / f"pod{self.count}"
        config = PodSandboxConfig(
            metadata=SandboxMetadata(name=f"pod{self.count}", namespace="default", uid="u"),
            hostname="pod-1",
            log_directory=str(base / "logs"),
            cgroup_parent=cgroup_of(self.base),
            labels={"app": "web"},
            **fields,
        )
        (base / "logs").mkdir(parents=True)
        image = await self.runtime.pull_image(f"{self.registry.address}/test/busybox")
        sandbox = await self.runtime.run_pod_sandbox(config)
        try:
            yield Pod(None, self.runtime, image, sandbox, base)
        finally:
            await self.runtime.remove_pod_sandbox(sandbox)


@asynccontextmanager
async def native_engine(base: Path) -> AsyncIterator[Engine]:
    network = Attached()
    async with registry_of_tests() as registry, node(base) as made:

        def opened() -> NativeRuntime:
            return NativeRuntime(made.data, made.run, images=made.images(), network=network)

        async def reopen() -> None:
            await engine.runtime.close()
            engine.runtime = opened()
            await engine.runtime.open()

        engine = Engine(opened(), registry, base, network, reopen)
        try:
            await engine.runtime.open()
            yield engine
            await engine.runtime.close()
        finally:
            remove_group(cgroup_detect.detect(), cgroup_of(base))


@asynccontextmanager
async def containerd_engine(base: Path) -> AsyncIterator[Engine]:
    network = Attached()
    async with registry_of_tests() as registry:
        with containerd(base / "containerd") as target:
            runtime = RemoteRuntime(target, base / "state", owner="test", clock=SystemClock())
            await runtime.open()
            where = cni.places(await runtime.info())
            cni.install(where, "kybern-test", base / "cni.sock")

            async def reopen() -> None:
                await engine.runtime.close()
                engine.runtime = RemoteRuntime(target, base / "state", owner="test", clock=SystemClock())
                await engine.runtime.open()

            engine = Engine(runtime, registry, base, network, reopen)
            try:
                async with cni.answering(base / "cni.sock", network, lambda *pod: engine.runtime.known.of_pod(*pod)):
                    while await runtime.network_fault():
                        await asyncio.sleep(0.05)
                    yield engine
            finally:
                await engine.runtime.close()
                remove_group(cgroup_detect.detect(), cgroup_of(base))


@asynccontextmanager
async def served_engine(base: Path) -> AsyncIterator[Engine]:
    """Ours, served as CRI and driven over it by our own client of CRI: a gateway in each direction between them."""
    async with native_engine(base) as inner:
        clock, path = SystemClock(), base / "cri.sock"
        streaming = StreamingServer(inner.runtime, clock, Ids())
        listener = await serve(streaming)
        streaming.address = f"127.0.0.1:{listener.port}"
        service = CriService(inner.runtime, streaming, ImageCalls(inner.runtime, base, clock), clock)
        gate = Gate("listen", str(path), clock, service)
        serving = asyncio.get_running_loop().create_task(gate.run())

        def opened() -> RemoteRuntime:
            return RemoteRuntime(f"unix://{path}", base / "state", owner="test", clock=clock)

        async def reopen() -> None:
            await engine.runtime.close()
            engine.runtime = opened()
            await engine.runtime.open()

        engine = Engine(opened(), inner.registry, base, inner.network, reopen)
        try:
            await engine.runtime.open()
            yield engine
        finally:
            await engine.runtime.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await listener.close()


@asynccontextmanager
async def registry_of_tests() -> AsyncIterator[ImageRegistry]:
    async with image_registry() as registry:
        registry.add("test/busybox", busybox())
        registry.add("test/other", busybox({"User": "web"}))
        yield registry


ENGINES: dict[str, Callable[[Path], AbstractAsyncContextManager[Engine]]] = {
    "native": native_engine,
    "containerd": containerd_engine,
    "served": served_engine,
}
