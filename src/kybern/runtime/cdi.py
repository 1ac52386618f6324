"""Container Device Interface: what a device's name means for a container, from files that vendors put on the machine.

    /var/run/cdi/vendor.json    kind: vendor.com/class, devices: [{name, containerEdits}], containerEdits

`vendor.com/class=name` is looked for in these directories; a file in a later one counts more. Hooks are refused: they would
run vendors' programs as root outside of any container.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kybern.runtime.cri import ContainerConfig, Device, Mount, RuntimeFault

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
FILE_BYTES_MAX = 1 << 20

Edits = Mapping[str, Any]


def with_devices(config: ContainerConfig, directories: Sequence[str] = DIRECTORIES) -> ContainerConfig:
    """The configuration with what its CDI devices bring."""
    if not config.cdi_devices:
        return config
    specs = {spec["kind"]: spec for spec in _specs(directories)}
    edits: list[Edits] = []
    for kind in dict.fromkeys(name.partition("=")[0] for name in config.cdi_devices):
        edits.append(specs.get(kind, {}).get("containerEdits") or {})
    for name in config.cdi_devices:
        edits.append(_device(specs, name))
    for each in edits:
        config = _edited(config, each)
    return config


def _specs(directories: Iterable[str]) -> Iterable[dict[str, Any]]:
    for directory in directories:
        for path in sorted(Path(directory).glob("*.json")):
            try:
                with path.open("rb") as opened:
                    found = json.loads(opened.read(FILE_BYTES_MAX))
            except (OSError, ValueError) as error:
                raise _fault(f"CDI specification {path}: {error}") from error
            if isinstance(found, dict) and isinstance(found.get("kind"), str):
                yield found


def _device(specs: Mapping[str, Mapping[str, Any]], name: str) -> Edits:
    kind, _, device = name.partition("=")
    for known in specs.get(kind, {}).get("devices") or ():
        if known.get("name") == device:
            edits: Edits = known.get("containerEdits") or {}
            return edits
    raise _fault(f"CDI device injection failed: unresolvable CDI devices {name}")


def _edited(config: ContainerConfig, edits: Edits) -> ContainerConfig:
    if edits.get("hooks"):
        raise _fault("CDI device injection failed: hooks are not run by this runtime")
    envs = tuple((key, text) for key, _, text in (entry.partition("=") for entry in edits.get("env") or ()))
    devices = tuple(
        Device(
            container_path=node["path"],
            host_path=node.get("hostPath") or node["path"],
            permissions=node.get("permissions") or "rwm",
        )
        for node in edits.get("deviceNodes") or ()
    )
    mounts = tuple(
        Mount(
            container_path=mount["containerPath"],
            host_path=mount["hostPath"],
            readonly="ro" in (mount.get("options") or ()),
        )
        for mount in edits.get("mounts") or ()
    )
    return replace(
        config,
        envs=(*config.envs, *envs),
        devices=(*config.devices, *devices),
        mounts=(*config.mounts, *mounts),
    )


def _fault(text: str) -> RuntimeFault:
    return RuntimeFault("CreateContainerError", text)
