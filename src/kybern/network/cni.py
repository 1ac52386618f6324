"""The pod network by somebody else's plugins, by the CNI specification 1.1: ADD, DEL, CHECK, GC and STATUS.

The first list of the configuration directory counts, in the order of names. A list's plugins run one after the other,
each given what the one before it made; DEL goes the other way. What ADD made is kept on disk, for CHECK and DEL.
A plugin that fails, or does not end in time, is told by its own words: on the pod, and as the node's condition.
"""

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kybern.aio.clock import Clock
from kybern.linux import programs
from kybern.network.bridge import POD_LINK, Guard
from kybern.network.wishes import EGRESS, INGRESS, bits
from kybern.runtime.cri import PodSandboxConfig, SandboxStatus

PLUGIN_SECONDS = 120.0  # upstream's, for a request of the runtime
STATUS_SECONDS, WAIT_SECONDS = 15.0, 1.0
PLUGIN_PATH = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"
CONFIGURATION = (".conflist", ".conf", ".json")
UNCONFIGURED = "cni plugin not initialized"

log = logging.getLogger(__name__)


class PluginFailed(OSError):
    """What a plugin said, or that it said nothing in time."""

    def __init__(self, plugin: str, said: str, code: int = 0) -> None:
        super().__init__(f'plugin type="{plugin}" failed: {said}')
        self.code = code


@dataclass(frozen=True, slots=True)
class NetworkList:
    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    disable_check: bool = False
    disable_gc: bool = False

    def at_least(self, *wanted: int) -> bool:
        return tuple(int(part) for part in self.version.split(".")[:2]) >= wanted


@dataclass(slots=True)
class CniNetwork:
    """The `PodNetwork` of a node whose network is somebody else's."""

    configuration: Path
    results: Path
    clock: Clock
    guard: Guard | None = None
    plugin_path: str = PLUGIN_PATH
    plugin_seconds: float = PLUGIN_SECONDS
    trouble: str = ""
    """What STATUS last said."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once pods can be attached."""
    mtu: int = 0
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": os.defpath + ":/usr/sbin:/sbin"})

    def fault(self) -> str:
        try:
            return self.trouble if self.configured() else UNCONFIGURED
        except ValueError as error:
            return str(error)

    def configured(self) -> NetworkList | None:
        """Read anew each time: whoever installs a plugin writes the file last. ValueError when it is none."""
        for path in sorted(self.configuration.glob("*")):
            if path.suffix in CONFIGURATION:
                return read_list(path)
        return None

    async def watch(self) -> None:
        """Asks the plugins now and then whether they can work, until cancelled."""
        while True:
            self.trouble = await self.status()
            if not self.fault():
                self.ready.set()
            await self.clock.sleep(STATUS_SECONDS if self.ready.is_set() else WAIT_SECONDS)

    def configure(self, cidrs: Sequence[str]) -> None:
        """Which addresses its pods get is for the plugins to know: by their own files, or by the Node object."""

    async def status(self) -> str:
        try:
            found = self.configured()
            for plugin in found.plugins if found and found.at_least(1, 1) else ():
                assert found is not None
                await self._run(found, plugin, "STATUS", {}, None)
        except (PluginFailed, ValueError) as error:
            return str(error)
        return ""

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        found = self.configured()
        if found is None:
            raise OSError(UNCONFIGURED)
        kept = self._kept(sandbox_id)
        if kept is None:
            try:
                kept = await self._add(found, sandbox_id, netns_path, config)
            except OSError:
                await self.detach(sandbox_id, netns_path)
                raise
        ips = tuple(entry["address"].partition("/")[0] for entry in kept["result"].get("ips", ()))
        if self.guard is not None:
            await self.guard.admit(sandbox_id, config, ips)
        return ips

    async def _add(
        self, found: NetworkList, sandbox_id: str, netns_path: str, config: PodSandboxConfig
    ) -> dict[str, Any]:
        about = {"id": sandbox_id, "netns": netns_path, "args": arguments(sandbox_id, config)}
        wishes = capabilities(config)
        result: Any = None
        self._keep(
            sandbox_id, {"about": about, "wishes": wishes, "result": {}}
        )  # so that a crash leaves what DEL needs
        for plugin in found.plugins:
            result = await self._run(found, plugin, "ADD", about, result, wishes)
        kept = {"about": about, "wishes": wishes, "result": result or {}}
        self._keep(sandbox_id, kept)
        return kept

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        kept = self._kept(sandbox_id)
        try:
            found = self.configured()
        except ValueError:
            found = None
        if kept is not None and found is not None:
            for plugin in reversed(found.plugins):
                try:
                    await self._run(found, plugin, "DEL", kept["about"], kept["result"] or None, kept["wishes"])
                except PluginFailed as error:
                    log.warning("sandbox %s: %s", sandbox_id, error)
        self._path(sandbox_id).unlink(missing_ok=True)
        if self.guard is not None:
            self.guard.dismiss(sandbox_id)

    async def check(self, sandbox_id: str) -> str:
        """What is wrong with a sandbox' network by its plugins; empty when nothing is, or they cannot be asked."""
        found, kept = self.configured(), self._kept(sandbox_id)
        if found is None or kept is None or found.disable_check or not found.at_least(0, 4):
            return ""
        try:
            for plugin in found.plugins:
                await self._run(found, plugin, "CHECK", kept["about"], kept["result"], kept["wishes"])
        except PluginFailed as error:
            return str(error)
        return ""

    async def collect(self, sandboxes: Sequence[SandboxStatus]) -> None:
        """At the start: what no sandbox has any more is given back."""
        known = {sandbox.id for sandbox in sandboxes}
        for path in self.results.glob("*.json") if self.results.exists() else ():
            if path.stem not in known:
                await self.detach(path.stem, "")
        try:
            found = self.configured()
        except ValueError as error:
            log.warning("%s", error)
            return
        if found is None or found.disable_gc or not found.at_least(1, 1):
            return
        valid = [{"containerID": sandbox.id, "ifname": POD_LINK} for sandbox in sandboxes]
        for plugin in found.plugins:
            try:
                await self._run(found, {**plugin, "cni.dev/valid-attachments": valid}, "GC", {}, None)
            except PluginFailed as error:
                log.warning("%s", error)

    async def _run(
        self,
        found: NetworkList,
        plugin: Mapping[str, Any],
        command: str,
        about: Mapping[str, str],
        before: Any,
        wishes: Mapping[str, Any] | None = None,
    ) -> Any:
        kind = str(plugin.get("type", ""))
        given = {**plugin, "name": found.name, "cniVersion": found.version}
        if before is not None:
            given["prevResult"] = before
        asked = {name: value for name, value in (wishes or {}).items() if plugin.get("capabilities", {}).get(name)}
        if asked:
            given["runtimeConfig"] = asked
        variables = {**self.environment, "CNI_COMMAND": command, "CNI_PATH": self.plugin_path}
        if about:
            variables |= {"CNI_CONTAINERID": about["id"], "CNI_NETNS": about["netns"], "CNI_IFNAME": POD_LINK}
            variables["CNI_ARGS"] = about["args"]
        try:
            ended = await programs.run([self._binary(kind)], json.dumps(given).encode(), variables, self.plugin_seconds)
        except TimeoutError:
            raise PluginFailed(kind, f"{command} did not end in {self.plugin_seconds:g} s") from None
        if ended.code:
            raise failure(kind, ended)
        return parsed(kind, ended.output) if command == "ADD" else None

    def _binary(self, kind: str) -> str:
        if not kind or "/" in kind or kind in (".", ".."):
            raise PluginFailed(kind, "is no name of a plugin")
        for directory in self.plugin_path.split(":"):
            if os.access(f"{directory}/{kind}", os.X_OK):
                return f"{directory}/{kind}"
        raise PluginFailed(kind, f"failed to find plugin {kind!r} in path {self.plugin_path.split(':')}")

    def _path(self, sandbox_id: str) -> Path:
        return self.results / f"{sandbox_id}.json"

    def _kept(self, sandbox_id: str) -> dict[str, Any] | None:
        try:
            kept: dict[str, Any] = json.loads(self._path(sandbox_id).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return kept

    def _keep(self, sandbox_id: str, kept: Mapping[str, Any]) -> None:
        self.results.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path(sandbox_id).with_suffix(".new")
        fresh.write_text(json.dumps(kept))
        fresh.rename(self._path(sandbox_id))


def read_list(path: Path) -> NetworkList:
    """A list, or the older form of one plugin."""
    try:
        found = json.loads(path.read_bytes())
        plugins = found["plugins"] if path.suffix == ".conflist" else [found]
        version = str(found.get("cniVersion") or "0.1.0")
        made = NetworkList(
            str(found["name"]), version, tuple(map(dict, plugins)), found.get("disableCheck") in (True, "true"),
            found.get("disableGC") in (True, "true"),
        )  # fmt: skip
        made.at_least(0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"error loading CNI config file {path}: {error}") from None
    if not made.plugins:
        raise ValueError(f"error loading CNI config file {path}: no plugins in list")
    return made


def arguments(sandbox_id: str, config: PodSandboxConfig) -> str:
    meta = config.metadata
    named = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": meta.namespace,
        "K8S_POD_NAME": meta.name,
        "K8S_POD_INFRA_CONTAINER_ID": sandbox_id,
        "K8S_POD_UID": meta.uid,
    }
    return ";".join(f"{name}={value}" for name, value in named.items())


def capabilities(config: PodSandboxConfig) -> dict[str, Any]:
    """What plugins may be asked for besides an address."""
    ports = [
        {
            "hostPort": m.host_port,
            "containerPort": m.container_port,
            "protocol": m.protocol.lower(),
            "hostIP": m.host_ip,
        }
        for m in config.port_mappings
        if m.host_port
    ]
    rates = {"ingressRate": bits(config.annotations, INGRESS), "egressRate": bits(config.annotations, EGRESS)}
    limited = {name: rate for name, rate in rates.items() if rate}
    bursts = {name.replace("Rate", "Burst"): (1 << 31) - 1 for name in limited}
    found: dict[str, Any] = {"portMappings": ports} if ports else {}
    return found | ({"bandwidth": limited | bursts} if limited else {})


def failure(kind: str, ended: programs.Ended) -> PluginFailed:
    """By the error that a plugin prints, or what else it said."""
    try:
        told = json.loads(ended.output)
        said = ": ".join(str(told[key]) for key in ("msg", "details") if told.get(key))
        return PluginFailed(kind, said, int(told.get("code", 0)))
    except (ValueError, TypeError, AttributeError):
        text = (ended.errors or ended.output).decode(errors="replace").strip()
        return PluginFailed(kind, text or f"it ended with {ended.code}")


def parsed(kind: str, output: bytes) -> Any:
    try:
        return json.loads(output) if output.strip() else {}
    except ValueError:
        raise PluginFailed(kind, "its answer is no JSON") from None
