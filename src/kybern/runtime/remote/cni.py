"""Our pod network as a CNI plugin, for a runtime that attaches its pods itself.

    <conf dir>/00-kybern-<id>.conflist    names the plugin, and this agent's socket
    <bin dir>/kybern-<id>                 the plugin: `cni_plugin`, by the interpreter that runs the agent
              loopback                    the same, where there is none

Whoever may talk to the socket is root already.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kybern.runtime.cri import PodNetwork, PodSandboxConfig
from kybern.runtime.remote import cni_plugin

VERSION = "1.0.0"
QUESTION_BYTES_MAX = 1 << 20
FAILED = 999
LOOPBACK = "loopback"
CONF_DIR, BIN_DIR = "/etc/cni/net.d", "/opt/cni/bin"  # where runtimes look that do not say where

ConfigOf = Callable[[str, str], PodSandboxConfig | None]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a runtime looks for plugins."""

    conf_dir: Path
    bin_dir: Path


def places(info: Mapping[str, str]) -> Places:
    """By what the runtime tells of itself, as containerd does."""
    try:
        told = json.loads(info.get("config", "{}")).get("cni") or {}
    except (ValueError, AttributeError):
        told = {}
    return Places(Path(told.get("confDir") or CONF_DIR), Path(told.get("binDir") or BIN_DIR))


def install(where: Places, name: str, path: Path) -> None:
    """Each file as a whole, the configuration last: then the runtime finds everything."""
    write(where.bin_dir / name, plugin(), 0o755)
    if not (where.bin_dir / LOOPBACK).exists():
        write(where.bin_dir / LOOPBACK, plugin(), 0o755)
    configuration = {"cniVersion": VERSION, "name": name, "plugins": [{"type": name, "socket": str(path)}]}
    write(where.conf_dir / f"00-{name}.conflist", json.dumps(configuration).encode(), 0o600)


def uninstall(where: Places, name: str) -> None:
    (where.conf_dir / f"00-{name}.conflist").unlink(missing_ok=True)
    (where.bin_dir / name).unlink(missing_ok=True)
    with suppress(OSError):
        if (where.bin_dir / LOOPBACK).read_bytes() == plugin():
            (where.bin_dir / LOOPBACK).unlink()


def plugin() -> bytes:
    return f"#!{sys.executable} -IS\n".encode() + Path(cni_plugin.__file__).read_bytes()


def others(where: Places, name: str) -> list[Path]:
    """Configurations that are somebody else's: the runtime heeds one only."""
    suffixes = (".conflist", ".conf", ".json")
    return [path for path in sorted(where.conf_dir.glob("*")) if path.suffix in suffixes and path.stem != f"00-{name}"]


def write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}")
    fresh.write_bytes(content)
    fresh.chmod(mode)
    fresh.replace(path)


@asynccontextmanager
async def answering(path: Path, network: PodNetwork, config_of: ConfigOf) -> AsyncIterator[None]:
    """While this is open, the plugin is answered."""
    endpoint = CniEndpoint(network, config_of)
    async with await asyncio.start_unix_server(endpoint.connected, sock=listening(path)):
        yield


class CniEndpoint:
    """What answers the plugin. `config_of` finds what a sandbox was asked to be by its pod's namespace and name."""

    def __init__(self, network: PodNetwork, config_of: ConfigOf) -> None:
        self.network, self.config_of = network, config_of

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = json.loads(await reader.read(QUESTION_BYTES_MAX))
            writer.write(json.dumps(await self._answer(question)).encode())
            await writer.drain()
        except (OSError, ValueError):
            pass  # the plugin is gone, or it is none
        finally:
            writer.close()

    async def _answer(self, question: Mapping[str, str]) -> dict[str, Any]:
        sandbox_id, namespace = question["containerid"], question["netns"]
        try:
            match question["command"]:
                case "ADD":
                    return await self._add(sandbox_id, namespace, question)
                case "DEL":
                    await self.network.detach(sandbox_id, namespace)
                case "STATUS" if fault := self.network.fault():
                    return failure(fault)
        except OSError as error:
            return failure(str(error))
        return {}

    async def _add(self, sandbox_id: str, namespace: str, question: Mapping[str, str]) -> dict[str, Any]:
        named = dict(pair.partition("=")[::2] for pair in question["args"].split(";"))
        pod = (named.get("K8S_POD_NAMESPACE", ""), named.get("K8S_POD_NAME", ""))
        config = self.config_of(*pod)
        if config is None:
            return failure(f"pod {pod[0]}/{pod[1]} is none of this node")
        addresses = await self.network.attach(sandbox_id, namespace, config)
        return {
            "interfaces": [{"name": question["ifname"], "sandbox": namespace}],
            "ips": [{"interface": 0, "address": f"{ip}/{128 if ':' in ip else 32}"} for ip in addresses],
        }


def failure(message: str) -> dict[str, Any]:
    return {"code": FAILED, "msg": message}


def listening(path: Path) -> socket.socket:
    """Only for its owner; however long its path is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=directory)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        previous = os.umask(0o177)
        try:
            made.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.umask(previous)
    finally:
        os.close(directory)
    return made
