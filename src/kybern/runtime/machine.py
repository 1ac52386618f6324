"""What a container's wishes mean on this machine: devices, profiles, signals."""

import json
import os
import re
import signal
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kybern.linux import beneath
from kybern.runtime.cri import ContainerConfig, RuntimeFault

PROFILE_BYTES_MAX = 1 << 20
DEFAULT_SIGNAL = "SIGTERM"
SIGNAL = re.compile(r"(?P<realtime>(?:SIG)?RTMIN\+)?(?P<number>[0-9]{1,3})")
NOT_DEVICES = ("pts", "shm", "mqueue", "fd")


def signal_number(name: str) -> int:
    """`SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; TERM for what is none of them: an image may say anything."""
    found = SIGNAL.fullmatch(name)
    if found is None:
        return int(signal.Signals.__members__.get(f"SIG{name.removeprefix('SIG')}", signal.SIGTERM))
    number = int(found["number"]) + (int(signal.SIGRTMIN) if found["realtime"] else 0)
    return number if number in signal.valid_signals() else int(signal.SIGTERM)


def refuse_apparmor(config: ContainerConfig) -> None:
    """A profile that cannot be enforced must not be left out."""
    wanted = config.security.apparmor.type == "Localhost" and not config.security.privileged
    if wanted and not apparmor_enabled():
        raise RuntimeFault("CreateContainerError", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


def apparmor_enabled() -> bool:
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False


def host_devices(config: ContainerConfig) -> tuple[dict[str, Any], ...]:
    """The devices that were asked for; every one of the machine for a privileged container."""
    pairs = [(device.host_path, device.container_path) for device in config.devices]
    if config.security.privileged:
        pairs += [(path, path) for path in machine_devices("/dev")]
    return tuple(found for host, inside in pairs if (found := device_at(host, inside)) is not None)


def machine_devices(directory: str) -> list[str]:
    found: list[str] = []
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            found += machine_devices(entry.path) if entry.name not in NOT_DEVICES else []
        elif not entry.is_symlink() and entry.name not in ("console", "ptmx"):
            found.append(entry.path)
    return found


def device_at(host_path: str, container_path: str) -> dict[str, Any] | None:
    about = os.stat(host_path)
    kind = "c" if stat.S_ISCHR(about.st_mode) else "b" if stat.S_ISBLK(about.st_mode) else ""
    if not kind:
        return None
    return {
        "path": container_path,
        "type": kind,
        "major": os.major(about.st_rdev),
        "minor": os.minor(about.st_rdev),
        "fileMode": stat.S_IMODE(about.st_mode),
        "uid": about.st_uid,
        "gid": about.st_gid,
    }


def localhost_profile(config: ContainerConfig) -> Mapping[str, Any] | None:
    """It must be there and be understood: a container never runs unconfined because its profile is missing."""
    profile = config.security.seccomp
    if profile.type != "Localhost":
        return None
    try:
        with open(profile.localhost_ref, "rb") as opened:
            found: Mapping[str, Any] = json.loads(opened.read(PROFILE_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise RuntimeFault(
            "CreateContainerError", f"cannot load seccomp profile {profile.localhost_ref!r}: {error}"
        ) from error
    if not isinstance(found, dict) or "defaultAction" not in found:
        raise RuntimeFault("CreateContainerError", f"seccomp profile {profile.localhost_ref!r} has no defaultAction")
    return found


def look_like(directory: Path, path: str, layers: Sequence[str]) -> None:
    """Owner and mode that `path` has in the topmost of the layers that has it."""
    for layer in layers:
        root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = beneath.open_at(root, path, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            continue
        finally:
            os.close(root)
        about = os.fstat(found)
        os.close(found)
        os.chown(directory, about.st_uid, about.st_gid)
        directory.chmod(stat.S_IMODE(about.st_mode))
        return
