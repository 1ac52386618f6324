"""What this machine is and has, read from the files in which the kernel says so."""

import os
import platform
from collections.abc import Mapping
from typing import NamedTuple

from kybern.api.core_v1 import NodeSwapStatus, NodeSystemInfo
from kybern.api.quantity import of_value
from kybern.kubelet.eviction.thresholds import (
    IMAGE_DISK,
    IMAGE_INODES,
    MEMORY,
    NODE_DISK,
    NODE_INODES,
    PIDS,
    Observation,
)
from kybern.kubelet.files import read_text
from kybern.linux.cgroups import flat, number

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
VERSION = "v1.37.0"
HUGEPAGES = "/sys/kernel/mm/hugepages"


class Traffic(NamedTuple):
    received: int
    receive_errors: int
    sent: int
    send_errors: int


def architecture() -> str:
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def system_info(runtime_name: str, runtime_version: str) -> NodeSystemInfo:
    machine_id = read_text("/etc/machine-id").strip()
    return NodeSystemInfo(
        architecture=architecture(),
        boot_id=read_text("/proc/sys/kernel/random/boot_id").strip(),
        container_runtime_version=f"{runtime_name}://{runtime_version}",
        kernel_version=platform.release(),
        kube_proxy_version="",
        kubelet_version=VERSION,
        machine_id=machine_id,
        operating_system="linux",
        os_image=_os_name(read_text("/etc/os-release")),
        system_uuid=read_text("/sys/class/dmi/id/product_uuid").strip() or machine_id,
        running_in_user_namespace=in_user_namespace() or None,
        swap=NodeSwapStatus(capacity=swap_bytes()) if swap_bytes() else None,
    )


def in_user_namespace() -> bool:
    """The first one maps every id to itself."""
    return read_text("/proc/self/uid_map").split() not in (["0", "0", "4294967295"], [])


def _os_name(release: str) -> str:
    for line in release.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return "Linux"


def apparmor_enabled() -> bool:
    return read_text("/sys/module/apparmor/parameters/enabled").startswith("Y")


def memory_bytes() -> int:
    """Of the machine, or of the container that it is."""
    container = container_memory()
    return container.capacity if container is not None else _meminfo("MemTotal")


def container_memory(cgroups: str = "/sys/fs/cgroup") -> Observation | None:
    """Where the outermost cgroup that is seen has a limit, this machine is a container; /proc tells of what is around it."""
    total = _meminfo("MemTotal")
    for directory, limit, used, unused in (
        (cgroups, "memory.max", "memory.current", "inactive_file"),
        (f"{cgroups}/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        text = read_text(f"{directory}/{limit}").strip()
        if text.isdecimal() and int(text) < total:
            dropped = flat(read_text(f"{directory}/memory.stat")).get(unused, 0)
            working_set = max(number(read_text(f"{directory}/{used}")) - dropped, 0)
            return Observation(max(int(text) - working_set, 0), int(text))
    return None


def swap_bytes() -> int:
    return _meminfo("SwapTotal")


def _meminfo(name: str) -> int:
    for line in read_text("/proc/meminfo").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def file_system(directory: str) -> os.statvfs_result:
    return os.statvfs(directory if os.path.isdir(directory) else "/")


def observe_machine(directory: str) -> dict[str, Observation]:
    """What is left of it. Images lie on the same file system as everything else that pods write."""
    found = file_system(directory)
    disk = Observation(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
    inodes = Observation(found.f_favail, found.f_files)
    memory = container_memory() or Observation(_meminfo("MemAvailable"), _meminfo("MemTotal"))
    observed = {NODE_DISK: disk, IMAGE_DISK: disk, MEMORY: memory}
    if inodes.capacity:  # some file systems have no fixed number of them
        observed |= {NODE_INODES: inodes, IMAGE_INODES: inodes}
    pids, tasks = read_text("/proc/sys/kernel/pid_max").strip(), read_text("/proc/loadavg").split()
    if pids.isdecimal() and len(tasks) > 3:
        used = int(tasks[3].partition("/")[2] or 0)
        observed[PIDS] = Observation(int(pids) - used, int(pids))
    return observed


def cpu_nanoseconds() -> int:
    """That all processors together have worked since boot."""
    fields = read_text("/proc/stat").partition("\n")[0].split()
    user, nice, system, _idle, _waiting, *rest = (int(field) for field in fields[1:9])
    return (user + nice + system + sum(rest[:2])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def network_bytes(pid: int | str = "self") -> dict[str, Traffic]:
    """By interface, in the network that a process is in; loopback left out."""
    found = {}
    for line in read_text(f"/proc/{pid}/net/dev").splitlines()[2:]:
        name, _, text = line.partition(":")
        fields = text.split()
        if name.strip() != "lo" and len(fields) > 10:
            found[name.strip()] = Traffic(int(fields[0]), int(fields[2]), int(fields[8]), int(fields[10]))
    return found


def own_usage() -> tuple[float, int]:
    """Seconds of CPU and bytes of memory of this process."""
    times = os.times()
    pages = read_text("/proc/self/statm").split()
    return times.user + times.system, int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0


def measure(directory: str, pods_max: int) -> Mapping[str, str]:
    """The machine's capacity. `directory`: where pods keep what they write."""
    found = file_system(directory)
    capacity = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory_bytes() // 1024}Ki",
        "pods": str(pods_max),
        "ephemeral-storage": str(of_value(found.f_blocks * found.f_frsize // 1024 * 1024, "binary")),
    }
    return capacity | _hugepages()


def _hugepages() -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in os.listdir(HUGEPAGES) if os.path.isdir(HUGEPAGES) else ():
        size_kib = entry.removeprefix("hugepages-").removesuffix("kB")
        count = read_text(f"{HUGEPAGES}/{entry}/nr_hugepages").strip()
        if size_kib.isdecimal() and count.isdecimal():
            size = of_value(int(size_kib) * 1024, "binary")
            found[f"hugepages-{size}"] = str(of_value(int(size_kib) * 1024 * int(count), "binary"))
    return found
