"""RuntimeClass handlers: OCI runtimes of the machine that run containers in place of the warden, given the same spec.

A handler is there when its program is. `crun`, `runc` share the machine's kernel; `runsc` (gVisor) brings one of its own.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kybern.linux.cgroups import ROOT
from kybern.runtime.cri import RuntimeFault

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMES = ("crun", "runc", "runsc")


def flags_of(name: str) -> Sequence[str]:
    """Limits are the warden's: it puts a runtime under the container's cgroup before the runtime does anything.

    runsc would take the pod's addresses for itself: containers of a pod then could not share them, nor probes and port
    forwarding reach them. So its guests use the pod's own network stack, which is still not the machine's.
    """
    match name:
        case "crun":
            return ("--cgroup-manager=cgroupfs",)
        case "runsc":
            return ("--network=host", "--ignore-cgroups", "--file-access=shared")
    return ()


def available() -> dict[str, str]:
    """Name to program."""
    found = {name: shutil.which(name, path=PATH) for name in NAMES}
    return {name: path for name, path in found.items() if path is not None}


def handler_of(name: str, run_dir: Path) -> Mapping[str, Any] | None:
    """What the warden is told, as part of a container's spec; None for its own way. RuntimeFault when there is none.

    `cgroups`: it makes cgroups, and shows them inside. `forwards`: signals to it reach the container. `hides`: what it is
    not to see of the machine: crun refuses where v1 and v2 are mixed, though all controllers are in v1.
    """
    if not name:
        return None
    path = available().get(name)
    if path is None:
        raise RuntimeFault("CreatePodSandboxError", f'no runtime for "{name}" is configured')
    root = run_dir / "oci" / name
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    unified = f"{ROOT}/unified"
    return {
        "path": os.path.realpath(path),
        "root": str(root),
        "flags": list(flags_of(name)),
        "cgroups": name != "runsc",
        "forwards": name != "runsc",
        "hides": [unified] if name == "crun" and os.path.ismount(unified) else [],
    }


def forget(handler: Mapping[str, Any]) -> None:
    """What the program kept about a container: all there is of it once its processes are gone."""
    place = Path(handler["root"]) / handler["id"]
    shutil.rmtree(place, ignore_errors=True)
    place.with_name(f"{place.name}.log").unlink(missing_ok=True)
