"""Can this machine run a cluster? What it has is gathered once, as a value; what is missing follows from it.

Every problem comes with the one command that mends it. Problems that only containers have do not stop a cluster: it
starts with simulated nodes, and says so. Who is not root of the machine needs more: see `preflight_rootless`.
"""

import errno
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from kybern.cmd.preflight_rootless import Unprivileged, obstacles, shortcomings
from kybern.cmd.preflight_rootless import look as look_unprivileged
from kybern.cmd.progress import Progress
from kybern.linux.privilege import may_administer

FREE_BYTES_MIN = 512 * 1024 * 1024
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
CONTROLLERS = ("cpu", "memory", "pids")
DEBIAN_PACKAGES = {"nft": "nftables"}


class Prevents(Enum):
    CLUSTER = "cluster"
    CONTAINERS = "containers"
    """The control plane can still run, with simulated nodes."""
    NOTHING = "nothing"
    """The cluster does without something."""


@dataclass(frozen=True, slots=True)
class Problem:
    what: str
    fix: str
    """A command, or what to ask for where no command helps."""
    prevents: Prevents = Prevents.CLUSTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What matters here about a machine."""

    system: str
    python: tuple[int, int]
    unprivileged: Unprivileged | None = None
    """None for root of the machine."""
    programs: frozenset[str]
    namespaces: frozenset[str]
    filesystems: frozenset[str]
    controllers: frozenset[str]
    seccomp: bool
    free_bytes: int
    data_dir: str
    data_dir_error: str = ""
    port: int
    bind_address: str
    port_error: str = ""
    """Why the port cannot be listened on; empty when it can."""
    debian: bool


def problems(machine: Machine) -> Iterator[Problem]:
    """What is in the way, the most basic first."""
    if machine.python < (3, 11):
        yield Problem(f"Python {'.'.join(map(str, machine.python))} is too old", "apt-get install -y python3.11")
    if machine.data_dir_error:
        yield Problem(
            f"{machine.data_dir} cannot be written: {machine.data_dir_error}", f"chown $(id -u) {machine.data_dir}"
        )
    elif machine.free_bytes < FREE_BYTES_MIN:
        yield Problem(
            f"{machine.data_dir} has {machine.free_bytes >> 20} MiB free, {FREE_BYTES_MIN >> 20} MiB are needed",
            "kybern up --data-dir DIRECTORY-WITH-SPACE",
        )
    if machine.port_error:
        yield Problem(
            f"{machine.bind_address}:{machine.port} cannot be listened on: {machine.port_error}",
            f"kybern up --port {machine.port + 1000}",
        )
    yield from container_problems(machine)


def needs_root(machine: Machine, command: str) -> Iterator[Problem]:
    """For what has no place in an ordinary user's namespaces."""
    if machine.unprivileged is not None:
        yield Problem(f"`kybern {command}` needs root of the machine", f"sudo kybern {command} ...")


def container_problems(machine: Machine) -> Iterator[Problem]:
    if machine.system != "Linux":
        yield Problem(f"containers need Linux, this is {machine.system}", "run it on Linux", Prevents.CONTAINERS)
        return
    containers = Prevents.CONTAINERS
    if machine.unprivileged is not None:
        for what, fix in obstacles(machine.unprivileged, machine.debian):
            yield Problem(what, fix, containers)
        for what, fix in shortcomings(machine.unprivileged, machine.debian):
            yield Problem(what, fix, Prevents.NOTHING)
    for name in sorted({"nft"} - machine.programs):
        yield Problem(f"the program `{name}` is missing", install_command(machine, name), containers)
    for name in sorted(set(NAMESPACES) - machine.namespaces):
        yield Problem(f"the kernel has no {name} namespaces", "use a kernel with CONFIG_NAMESPACES", containers)
    if "overlay" not in machine.filesystems:
        yield Problem("the kernel has no overlay file system", "modprobe overlay", containers)
    for name in sorted(set(CONTROLLERS) - machine.controllers) if machine.unprivileged is None else ():
        yield Problem(
            f"the cgroup controller `{name}` is not available", "mount -t cgroup2 none /sys/fs/cgroup", containers
        )
    if not machine.seccomp:
        yield Problem("the kernel has no seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER", containers)


def install_command(machine: Machine, program: str) -> str:
    package = DEBIAN_PACKAGES[program]
    return f"apt-get install -y {package}" if machine.debian else f"install the package {package}"


def look(data_dir: Path, bind_address: str, port: int) -> Machine:
    """The machine as it is now."""
    error, free = free_space(data_dir)
    return Machine(
        system=platform.system(),
        python=sys.version_info[:2],
        unprivileged=None if platform.system() != "Linux" or may_administer() else look_unprivileged(data_dir),
        programs=frozenset(name for name in DEBIAN_PACKAGES if shutil.which(name, path=search_path())),
        namespaces=frozenset(name for name in NAMESPACES if Path(f"/proc/self/ns/{name}").exists()),
        filesystems=filesystems(),
        controllers=controllers(),
        seccomp=Path("/proc/sys/kernel/seccomp/actions_avail").exists(),
        free_bytes=free,
        data_dir=str(data_dir),
        data_dir_error=error,
        port=port,
        bind_address=bind_address,
        port_error=port_error(bind_address, port),
        debian=Path("/etc/debian_version").exists(),
    )


def search_path() -> str:
    """Administrators' programs too: a user's PATH often lacks them."""
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def filesystems() -> frozenset[str]:
    try:
        return frozenset(line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines())
    except OSError:
        return frozenset()


def controllers() -> frozenset[str]:
    """Of cgroup v2 and v1 together: kybern uses either."""
    try:
        rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    except OSError:
        return frozenset()
    return frozenset(name for name, _, _, enabled in rows if enabled == "1")


def free_space(data_dir: Path) -> tuple[str, int]:
    """(why nothing can be written there, or "", and the free bytes)."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(data_dir, os.W_OK | os.X_OK):
            return "permission denied", 0
        usage = os.statvfs(data_dir)
    except OSError as error:
        return (error.strerror or str(error)).lower(), 0
    return "", usage.f_bavail * usage.f_frsize


def port_error(address: str, port: int) -> str:
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return "another program uses it" if error.errno == errno.EADDRINUSE else (error.strerror or str(error)).lower()
    except OverflowError:
        return "it is no port number"
    return ""


def explain(found: list[Problem], progress: Progress) -> int:
    """The exit code of a command that cannot go on."""
    for problem in found:
        progress.failed(problem.what, problem.fix)
    return 1
