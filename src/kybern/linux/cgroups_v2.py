"""Cgroups v2: one tree for all controllers."""

import os
from collections.abc import Sequence

from kybern.linux import cgroups, device_filter
from kybern.linux.cgroups import DeviceRule, Limits, Usage, flat, number, read, write

WANTED = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")


class V2:
    unified = True

    def __init__(self, root: str = cgroups.ROOT) -> None:
        self.root = root

    def create(self, path: str) -> None:
        """Each level hands its controllers down to the next; only the last may hold processes."""
        here = self.root
        for name in path.strip("/").split("/"):
            for controller in sorted(set(WANTED) & set(read(f"{here}/cgroup.controllers").split())):
                try:
                    write(f"{here}/cgroup.subtree_control", f"+{controller}")
                except OSError:
                    pass  # not ours to give on this machine: the limit that needs it will say so
            here = f"{here}/{name}"
            os.makedirs(here, exist_ok=True)

    def limit(self, path: str, limits: Limits) -> None:
        for file, value in values(limits).items():
            if self._is_counted(path, file):
                write(f"{self.root}{path}/{file}", value)

    def _is_counted(self, path: str, file: str) -> bool:
        """Not every kernel counts huge pages, and what is reserved of them."""
        return not file.startswith("hugetlb.") or os.path.exists(f"{self.root}{path}/{file}")

    def allow_devices(self, path: str, rules: Sequence[DeviceRule]) -> None:
        device_filter.attach(self.root + path, rules)

    def entrance(self, path: str) -> list[int]:
        return cgroups.opened_for_entering([f"{self.root}{path}/cgroup.procs"])

    def pids(self, path: str) -> list[int]:
        return cgroups.processes(self.root + path)

    def usage(self, path: str) -> Usage:
        directory = self.root + path
        used = _number_in(f"{directory}/memory.current")
        about = _flat_in(f"{directory}/memory.stat")
        cpu = _flat_in(f"{directory}/cpu.stat").get("usage_usec", 0) * 1000
        return Usage(
            cpu,
            used,
            max(0, used - about.get("inactive_file", 0)),
            _number_in(f"{directory}/pids.current"),
            about.get("anon", 0),
            about.get("pgfault", 0),
            about.get("pgmajfault", 0),
        )

    def oom_kills(self, path: str) -> int:
        return _flat_in(f"{self.root}{path}/memory.events").get("oom_kill", 0)

    def kill(self, path: str) -> None:
        directory = self.root + path
        if os.path.exists(f"{directory}/cgroup.kill"):
            write(f"{directory}/cgroup.kill", "1")
        else:
            cgroups.send_kill(self.pids(path))

    def freeze(self, path: str, on: bool) -> None:
        write(f"{self.root}{path}/cgroup.freeze", "1" if on else "0")

    def remove(self, path: str, wait_seconds: float = cgroups.REMOVE_SECONDS) -> None:
        cgroups.remove_tree(self.root + path, wait_seconds)

    def remove_empty(self, path: str) -> None:
        os.rmdir(self.root + path)

    def views(self, path: str) -> Sequence[tuple[str, str]]:
        return [("", self.root + path)]


def values(limits: Limits) -> dict[str, str]:
    """The files to write, in order."""
    found: dict[str, str] = {}
    if limits.memory_limit_bytes:
        found["memory.max"] = _or_max(limits.memory_limit_bytes)
    if limits.memory_reservation_bytes:
        found["memory.low"] = _or_max(limits.memory_reservation_bytes)
    if limits.cpu_shares:
        found["cpu.weight"] = str(weight(limits.cpu_shares))
    if limits.cpu_quota:
        found["cpu.max"] = f"{_or_max(limits.cpu_quota)} {limits.cpu_period or 100_000}"
    if limits.cpuset_cpus:
        found["cpuset.cpus"] = limits.cpuset_cpus
    if limits.cpuset_mems:
        found["cpuset.mems"] = limits.cpuset_mems
    if limits.pids_limit:
        found["pids.max"] = _or_max(limits.pids_limit)
    return found | cgroups.page_files(limits, "max") | dict(limits.unified)


def weight(shares: int) -> int:
    """v1's shares 2..262144 as v2's weight 1..10000."""
    return 1 + (max(2, min(shares, 262_144)) - 2) * 9999 // 262_142


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _number_in(path: str) -> int:
    return number(read(path)) if os.path.exists(path) else 0


def _flat_in(path: str) -> dict[str, int]:
    return flat(read(path)) if os.path.exists(path) else {}
