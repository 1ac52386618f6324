"""Sandboxes: namespaces pinned by mounts, without a process. What they were asked to be is on disk.

data/sandboxes/<id>/config.json     the record, gone last
run/sandboxes/<id>/{net,ipc,uts}    the namespaces
                   shm, resolv.conf what its containers share
"""

import asyncio
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kybern.linux import mounts, namespaces, netns
from kybern.linux.netlink import Netlink
from kybern.runtime import disk
from kybern.runtime.cri import (
    DNSConfig,
    IdMapping,
    NamespaceMode,
    PodNetwork,
    PodSandboxConfig,
    RuntimeFault,
    SandboxState,
    SandboxStatus,
)

SHM_BYTES = 64 << 20
SHM_MODE = 0o1777
DOTS_FOR_SLASHES = str.maketrans("./", "/.")
"""In `net.ipv4.conf.eth0/100.forwarding` the slash stands for a dot in a name."""
SYSCTL_ROOT = Path("/proc/sys")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRecord:
    id: str
    config: PodSandboxConfig
    created_at: float
    ready: bool = False
    ips: tuple[str, ...] = ()
    holder_pid: int = 0
    """The first process of a shared PID namespace."""
    holder_ticks: int = 0


SHARED = {"network": namespaces.NEWNET, "ipc": namespaces.NEWIPC, "uts": namespaces.NEWUTS}
"""By the containers of a sandbox."""
OWNED = ("user", *SHARED)
PinOwned = Callable[[Mapping[str, str], IdMapping], Awaitable[None]]


async def no_user_namespaces(paths: Mapping[str, str], mapping: IdMapping) -> None:
    raise RuntimeFault("CreatePodSandboxError", "user namespaces are not supported by this runtime")


class NoNetwork:
    """Pods with a loopback of their own and nothing else."""

    def fault(self) -> str:
        return ""

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        return ()

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        return


class Sandboxes:
    def __init__(self, data_dir: Path, run_dir: Path, network: PodNetwork) -> None:
        self.data_dir, self.run_dir, self.network = data_dir / "sandboxes", run_dir / "sandboxes", network
        self.by_id: dict[str, SandboxRecord] = {}
        self.pin_owned: PinOwned = no_user_namespaces

    def load(self) -> None:
        disk.sweep(self.data_dir)
        for identifier in disk.names(self.data_dir):
            record = disk.load(self.data_dir / identifier / disk.RECORD, SandboxRecord)
            if record is not None:
                # After a reboot the record is there and its namespaces are not.
                self.by_id[identifier] = record if self._intact(record) else replace(record, ready=False)

    def half_made(self) -> Sequence[SandboxRecord]:
        """What whoever made it, or took it down, did not live to bring to its end."""
        return [record for record in self.by_id.values() if not record.ready and (self.run_dir / record.id).exists()]

    def _intact(self, record: SandboxRecord) -> bool:
        pins = [path for kind in OWNED if (path := self.path(record, kind))]
        return record.ready and os.path.exists(self.resolv_conf_path(record)) and all(map(netns.exists, pins))

    def get(self, identifier: str) -> SandboxRecord:
        found = self.by_id.get(identifier)
        if found is None:
            raise RuntimeFault("NotFound", f"sandbox {identifier!r} not found")
        return found

    def save(self, record: SandboxRecord) -> None:
        disk.save(self.data_dir / record.id / disk.RECORD, record)
        self.by_id[record.id] = record

    async def create(self, record: SandboxRecord) -> SandboxRecord:
        self.save(record)
        try:
            mapping = record.config.namespaces.user_namespace
            if mapping is not None:
                await self.pin_owned({kind: self.path(record, kind) for kind in OWNED}, mapping)
            await asyncio.to_thread(self._make, record)
            wanted = record.config.namespaces.network == NamespaceMode.POD
            ips = await self.network.attach(record.id, self.path(record, "network"), record.config) if wanted else ()
        except OSError as error:
            await self.stop(record.id)
            raise RuntimeFault("CreatePodSandboxError", f"failed to create pod sandbox: {error}") from error
        except BaseException:
            await self.stop(record.id)
            raise
        record = replace(record, ready=True, ips=ips)
        self.save(record)
        return record

    def _make(self, record: SandboxRecord) -> None:
        directory = self.run_dir / record.id
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        wanted = {number: self.path(record, kind) for kind, number in SHARED.items() if self.path(record, kind)}
        if self.path(record, "user"):
            namespaces.inside(wanted, lambda: prepare(record.config))
        elif wanted:
            namespaces.pin(wanted, lambda: prepare(record.config))
        if self.path(record, "ipc"):
            shm = directory / "shm"
            shm.mkdir(mode=0o700, exist_ok=True)
            mounts.tmpfs(str(shm), SHM_BYTES, SHM_MODE)
        (directory / "resolv.conf").write_text(resolv_conf(record.config.dns))

    def path(self, record: SandboxRecord, kind: str) -> str:
        """Of a pinned namespace; empty where the host's is used."""
        options = record.config.namespaces
        if kind == "user" and options.user_namespace is None:
            return ""
        mode = options.ipc if kind == "ipc" else options.network
        return "" if mode == NamespaceMode.NODE else str(self.run_dir / record.id / kind)

    def shm_path(self, record: SandboxRecord) -> str:
        return str(self.run_dir / record.id / "shm") if self.path(record, "ipc") else "/dev/shm"

    def resolv_conf_path(self, record: SandboxRecord) -> str:
        return str(self.run_dir / record.id / "resolv.conf")

    async def stop(self, identifier: str) -> None:
        """Idempotent: give the network back and unpin everything."""
        record = self.by_id.get(identifier)
        if record is None:
            return
        if path := self.path(record, "network"):
            await self.network.detach(identifier, path)
        await asyncio.to_thread(self._unpin, record)
        if record.ready:
            self.save(replace(record, ready=False))

    def _unpin(self, record: SandboxRecord) -> None:
        directory = self.run_dir / record.id
        if directory.exists():
            mounts.unmount_beneath(str(directory))
            shutil.rmtree(directory, ignore_errors=True)

    async def remove(self, identifier: str) -> None:
        await self.stop(identifier)
        if self.by_id.pop(identifier, None) is not None:
            disk.remove(self.data_dir / identifier)

    def statuses(self) -> Sequence[SandboxStatus]:
        return [
            SandboxStatus(
                id=record.id,
                config=record.config,
                state=SandboxState.READY if record.ready else SandboxState.NOT_READY,
                created_at=record.created_at,
                ips=record.ips,
                network_namespace=self.path(record, "network"),
            )
            for record in self.by_id.values()
        ]

    async def connect(self, sandbox_id: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To what listens on that port of the sandbox's loopback. ConnectionError where nothing does."""
        record = self.get(sandbox_id)
        last: OSError | None = None
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with netns.inside(self.path(record, "network") or None):
                made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                await asyncio.get_running_loop().sock_connect(made, (address, port))
                return await asyncio.open_connection(sock=made)
            except OSError as error:
                made.close()
                last = last or error
        raise ConnectionError(f"failed to connect to localhost:{port} inside namespace {sandbox_id!r}: {last}")


def prepare(config: PodSandboxConfig) -> None:
    """Inside the new namespaces: loopback up, host name, sysctls."""
    if config.namespaces.network != NamespaceMode.NODE:
        with Netlink() as links:
            links.set_up(links.index("lo"))
        if config.hostname:
            namespaces.sethostname(config.hostname)
    for name, value in config.sysctls.items():
        write_sysctl(name, value)


def write_sysctl(name: str, value: str) -> None:
    """Only what belongs to a namespace, by a name that cannot leave /proc/sys."""
    dots_first = next((mark for mark in name if mark in "./"), "/") == "."
    path = name.translate(DOTS_FOR_SLASHES) if dots_first else name
    if not is_namespaced(path):
        raise OSError(1, "sysctl is not namespaced", name)
    target = os.open(SYSCTL_ROOT / path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(target, value.encode())
    finally:
        os.close(target)


def is_namespaced(path: str) -> bool:
    parts = path.split("/")
    known = parts[0] == "net" or path.startswith(("kernel/shm", "kernel/msg", "kernel/sem", "fs/mqueue"))
    return known and not any(part in ("", ".", "..") for part in parts)


def resolv_conf(dns: DNSConfig | None) -> str:
    if dns is None:
        try:
            return Path("/etc/resolv.conf").read_text()
        except OSError:
            return ""
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += [f"options {' '.join(dns.options)}"] if dns.options else []
    return "".join(f"{line}\n" for line in lines)
