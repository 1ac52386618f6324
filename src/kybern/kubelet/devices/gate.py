"""The sockets that device plugins and monitors know, and the gateway behind them.

Nothing runs until somebody connects: then the gateway is started, and bytes go through. When it ends, the sockets are
made anew, which is how plugins learn that they have to register again.
"""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.kubelet.devices.inventory import Device, Inventory
from kybern.linux.directory_news import DirectoryNews
from kybern.runtime.cri import Device as DeviceFile
from kybern.runtime.cri import Mount

START_SECONDS = 20.0
CALL_SECONDS = 50.0
RESTART_SECONDS = 1.0
CONNECTIONS_MAX = 256
PIECE_BYTES = 64 << 10
LINE_BYTES_MAX = 16 << 20
LOOK_SECONDS = 1.0  # while there are drivers: one that does not answer yet is asked again
REST_SECONDS = 60.0
PLUGINS, MONITORS, DRIVERS = "device-plugins", "pod-resources", "plugins_registry"

log = logging.getLogger(__name__)
Json = dict[str, Any]


class DeviceFault(Exception):
    """A container cannot have its devices now; the message is what the pod shows."""


@dataclass(frozen=True, slots=True)
class Gift:
    """What a container gets for its devices."""

    envs: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    devices: tuple[DeviceFile, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()


class Gate:
    def __init__(
        self,
        root: str,
        inventory: Inventory,
        clock: Clock,
        changed: Callable[[str], None],
        pods: Callable[[], Sequence[Json]],
        allocatable: Callable[[], Json],
    ) -> None:
        """`changed` hears of each resource of which something changed; `pods` tells who has what, for monitors, and
        `allocatable` what there is to have."""
        self.root, self.inventory, self.clock, self.changed = root, inventory, clock, changed
        self.pods, self.allocatable = pods, allocatable
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._numbers = count(1)
        self._agent: asyncio.StreamWriter | None = None
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._connections = 0
        self._behind = ""
        """The gateway's own socket, where nobody else comes."""

    async def run(self) -> None:
        while True:
            try:
                await self._serve()
            except OSError as error:
                log.warning("device plugins cannot be served: %s", error)
            await self.clock.sleep(RESTART_SECONDS)

    async def _serve(self) -> None:
        """Until the gateway ends."""
        async with AsyncExitStack() as open_here:
            for name in (PLUGINS, MONITORS):
                made = listening(f"{self.root}/{name}")
                listener = await asyncio.start_unix_server(self._connected, sock=made)
                open_here.callback(listener.close)
            open_here.callback(self._forget)
            private = open_directory(f"{self.root}/gateway", 0o700)
            open_here.callback(os.close, private)
            self._behind = f"/proc/self/fd/{private}/gateway.sock"
            looking = asyncio.create_task(self._look_for_drivers())
            open_here.callback(looking.cancel)
            await self._wanted.wait()
            await self._run_gateway()

    async def _look_for_drivers(self) -> None:
        """They register by a socket of their own, which the kubelet finds."""
        directory = f"{self.root}/{DRIVERS}"
        os.makedirs(directory, 0o750, exist_ok=True)
        with DirectoryNews(directory) as news:
            while True:
                sockets = [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(".sock")]
                if sockets:
                    self._wanted.set()
                if self._ready.is_set():
                    self._tell({"sockets": sockets})
                await news.wait(LOOK_SECONDS if sockets else REST_SECONDS)

    def _forget(self) -> None:
        self._wanted.clear()
        self._ready.clear()
        self._agent = None
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(DeviceFault("the device plugins' gateway has ended"))
        for resource in list(self.inventory.devices):
            self.inventory.gone(resource)
            self.changed(resource)

    # The bytes of others.

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= CONNECTIONS_MAX:
            writer.close()
            return
        self._connections += 1
        try:
            self._wanted.set()
            async with timeout(START_SECONDS):
                await self._ready.wait()
            there, back = await asyncio.open_unix_connection(self._behind)
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        except (OSError, TimeoutError):
            writer.close()
        finally:
            self._connections -= 1

    # The gateway.

    async def _run_gateway(self) -> None:
        here, there = socket.socketpair()
        module = "kybern.kubelet.devices.gateway"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", module, f"{self.root}/{PLUGINS}", f"{self.root}/gateway"),
            stdin=there.fileno(),
        )
        there.close()
        reader, self._agent = await asyncio.open_connection(sock=here, limit=LINE_BYTES_MAX)
        try:
            while line := await reader.readline():
                self._heard(json.loads(line))
        except (OSError, ValueError) as error:
            log.warning("the device plugins' gateway: %s", error)
        finally:
            self._agent.close()
            if process.returncode is None:
                process.kill()
            await process.wait()
        log.warning("the device plugins' gateway has ended")

    def _heard(self, message: Json) -> None:
        if "ready" in message:
            self._ready.set()
        elif "offered" in message:
            found = message["offered"]
            devices = {i: Device(health, tuple(nodes)) for i, (health, nodes) in found["devices"].items()}
            if self.inventory.offered(found["resource"], devices):
                self.changed(found["resource"])
        elif "gone" in message:
            self.inventory.gone(message["gone"])
            self.changed(message["gone"])
        elif "ask" in message:
            self._tell({"answer": message["ask"], **self._answer(message["what"])})
        elif (waiting := self._answers.get(message.get("answer", 0))) is not None and not waiting.done():
            waiting.set_result(message)

    def _answer(self, what: str) -> Json:
        if what == "pods":
            return {"pods": list(self.pods())}
        return self.allocatable()

    def _tell(self, message: Json) -> None:
        if self._agent is None:
            raise DeviceFault("no device plugin is registered")
        self._agent.write(json.dumps(message).encode() + b"\n")

    async def gift(self, uid: str, container: str) -> Gift:
        """What the plugins of the container's devices say that it needs. DeviceFault where one cannot say it now."""
        gift = Gift()
        for resource in self.inventory.of(uid, container):
            gift = _together(gift, await self._allocate(resource, await self._settled(uid, container, resource)))
        return gift

    async def _settled(self, uid: str, container: str, resource: str) -> list[str]:
        """Its devices; those that its plugin would rather give, while nothing was handed over yet."""
        choice = self.inventory.choice(uid, container, resource)
        count = len(self.inventory.of(uid, container)[resource])
        if choice is None:
            return self.inventory.settle(uid, container, resource)
        near = (*choice.reused, *choice.near)
        usable = near if len(near) > count else (*near, *choice.far)
        must = choice.reused if len(near) > count else near
        if len(usable) <= count:
            return self.inventory.settle(uid, container, resource)
        answer = await self._ask(
            f"GetPreferredAllocation failed for {resource}",
            "prefer",
            resource=resource,
            available=list(usable),
            must=list(must),
            count=count,
        )
        return self.inventory.settle(uid, container, resource, answer["ids"])

    async def _allocate(self, resource: str, ids: Sequence[str]) -> Json:
        return await self._ask(f"Allocate failed for {resource}", "allocate", resource=resource, ids=list(ids))

    async def drive(self, what: str, driver: str, claims: Sequence[Json]) -> Mapping[str, Json]:
        """Ask a driver to prepare or unprepare claims: what it says of each."""
        self._wanted.set()
        try:
            async with timeout(START_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise DeviceFault("the device plugins' gateway does not start") from None
        answer = await self._ask(f"{what} failed", "drive", what=what, driver=driver, claims=list(claims))
        found: Mapping[str, Json] = answer["claims"]
        return found

    async def _ask(self, failed: str, kind: str, **fields: Any) -> Json:
        number = next(self._numbers)
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._tell({kind: number, **fields})
            async with timeout(CALL_SECONDS):
                answer: Json = await waiting
        except TimeoutError:
            raise DeviceFault(f"{failed}: the plugin does not answer") from None
        finally:
            del self._answers[number]
        if "error" in answer:
            raise DeviceFault(f"{failed}: {answer['error']}")
        return answer


def open_directory(path: str, mode: int) -> int:
    """A socket's path has 107 bytes at most; one that begins at a descriptor is always short."""
    os.makedirs(path, mode, exist_ok=True)
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def listening(directory: str) -> socket.socket:
    """A new `kubelet.sock` in a directory, however long its path: a plugin sees that it is another one."""
    opened = open_directory(directory, 0o750)
    previous = os.umask(0o117)
    try:
        with suppress(FileNotFoundError):
            os.unlink("kubelet.sock", dir_fd=opened)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        made.bind(f"/proc/self/fd/{opened}/kubelet.sock")
    finally:
        os.umask(previous)
        os.close(opened)
    return made


def _together(gift: Gift, answer: Json) -> Gift:
    mounts = (Mount(container_path=c, host_path=h, readonly=r) for c, h, r in answer["mounts"])
    devices = (DeviceFile(container_path=c, host_path=h, permissions=p or "rwm") for c, h, p in answer["devices"])
    return Gift(
        {**gift.envs, **answer["envs"]},
        (*gift.mounts, *mounts),
        (*gift.devices, *devices),
        {**gift.annotations, **answer["annotations"]},
        (*gift.cdi_devices, *answer["cdi"]),
    )


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass  # one side is gone: the other is told by the closing
    finally:
        writer.close()
