"""Cgroups v1: one tree per controller, also on a hybrid machine, whose v2 tree has no controllers.

Other runtimes (runc, and whoever uses it) make their groups in every hierarchy that is mounted, and leave the outer ones to
whoever named them: a group is removed from all of them.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence

from kybern.linux import cgroups
from kybern.linux.cgroups import DeviceRule, Limits, Usage, flat, number, read, write

CONTROLLERS = (
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
)
USED = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "hugetlb")
KILL_ROUNDS = 50


class V1:
    unified = False

    def __init__(self, hierarchies: Mapping[str, str], others: Iterable[str] = ()) -> None:
        """Where each controller is mounted; several may share a mount. `others`: hierarchies of systemd, v2 and the like."""
        self.hierarchies = {name: path for name, path in hierarchies.items() if name in USED}
        self.mounted = list(dict.fromkeys((*hierarchies.values(), *others)))

    def _directories(self, path: str) -> list[str]:
        return list(dict.fromkeys(root + path for root in self.hierarchies.values()))

    def _at(self, controller: str, path: str) -> str | None:
        root = self.hierarchies.get(controller)
        return root + path if root is not None and os.path.isdir(root + path) else None

    def create(self, path: str) -> None:
        for directory in self._directories(path):
            os.makedirs(directory, exist_ok=True)
        if root := self.hierarchies.get("cpuset"):
            self._inherit_cpuset(root, path)

    def _inherit_cpuset(self, root: str, path: str) -> None:
        """A new group may use no CPU at all until it is told which."""
        here = root
        for name in path.strip("/").split("/"):
            above, here = here, f"{here}/{name}"
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not read(f"{here}/{file}").strip():
                    write(f"{here}/{file}", read(f"{above}/{file}").strip())

    def limit(self, path: str, limits: Limits) -> None:
        if directory := self._at("memory", path):
            self._limit_memory(directory, limits)
        if directory := self._at("cpu", path):
            if limits.cpu_shares:
                write(f"{directory}/cpu.shares", str(max(2, limits.cpu_shares)))
            if limits.cpu_period:
                write(f"{directory}/cpu.cfs_period_us", str(limits.cpu_period))
            if limits.cpu_quota:
                write(f"{directory}/cpu.cfs_quota_us", str(limits.cpu_quota))
        if (directory := self._at("cpuset", path)) and (limits.cpuset_cpus or limits.cpuset_mems):
            for file, value in (("cpuset.cpus", limits.cpuset_cpus), ("cpuset.mems", limits.cpuset_mems)):
                if value:
                    write(f"{directory}/{file}", value)
        if (directory := self._at("pids", path)) and limits.pids_limit:
            write(f"{directory}/pids.max", "max" if limits.pids_limit < 0 else str(limits.pids_limit))
        if directory := self._at("hugetlb", path):
            for file, value in cgroups.page_files(limits, "limit_in_bytes").items():
                if os.path.exists(f"{directory}/{file}"):
                    write(f"{directory}/{file}", value)

    def _limit_memory(self, directory: str, limits: Limits) -> None:
        if limits.memory_limit_bytes:
            _write_memory(directory, limits.memory_limit_bytes)
        if limits.memory_reservation_bytes:
            write(f"{directory}/memory.soft_limit_in_bytes", str(limits.memory_reservation_bytes))

    def allow_devices(self, path: str, rules: Sequence[DeviceRule]) -> None:
        if directory := self._at("devices", path):
            write(f"{directory}/devices.deny", "a")
            for rule in rules:
                write(
                    f"{directory}/devices.allow", f"{rule.kind} {_star(rule.major)}:{_star(rule.minor)} {rule.access}"
                )

    def entrance(self, path: str) -> list[int]:
        return cgroups.opened_for_entering(f"{directory}/tasks" for directory in self._directories(path))

    def pids(self, path: str) -> list[int]:
        directory = self._at("pids", path) or self._at("memory", path)
        return cgroups.processes(directory) if directory else []

    def usage(self, path: str) -> Usage:
        usage = Usage()
        if directory := self._at("cpuacct", path):
            usage = usage._replace(cpu_ns=number(read(f"{directory}/cpuacct.usage")))
        if directory := self._at("memory", path):
            used = number(read(f"{directory}/memory.usage_in_bytes"))
            about = flat(read(f"{directory}/memory.stat"))
            usage = usage._replace(
                memory_bytes=used,
                working_set_bytes=max(0, used - about.get("total_inactive_file", 0)),
                rss_bytes=about.get("total_rss", 0),
                page_faults=about.get("total_pgfault", 0),
                major_page_faults=about.get("total_pgmajfault", 0),
            )
        if directory := self._at("pids", path):
            usage = usage._replace(pids=number(read(f"{directory}/pids.current")))
        return usage

    def oom_kills(self, path: str) -> int:
        directory = self._at("memory", path)
        if directory is None:
            return 0
        return sum(flat(read(f"{below}/memory.oom_control")).get("oom_kill", 0) for below in cgroups.tree(directory))

    def kill(self, path: str) -> None:
        """v1 cannot kill a group at once: nothing may fork meanwhile, so it is frozen first."""
        self.freeze(path, True)
        for _ in range(KILL_ROUNDS):
            left = self.pids(path)
            cgroups.send_kill(left)
            self.freeze(path, False)
            if not left:
                return
            time.sleep(0.002)

    def freeze(self, path: str, on: bool) -> None:
        if directory := self._at("freezer", path):
            write(f"{directory}/freezer.state", "FROZEN" if on else "THAWED")

    def remove(self, path: str, wait_seconds: float = cgroups.REMOVE_SECONDS) -> None:
        for root in self.mounted:
            cgroups.remove_tree(root + path, wait_seconds)

    def remove_empty(self, path: str) -> None:
        for root in self.mounted:
            if os.path.isdir(root + path):
                os.rmdir(root + path)

    def views(self, path: str) -> Sequence[tuple[str, str]]:
        return [(name, root + path) for name, root in self.hierarchies.items() if os.path.isdir(root + path)]


def _write_memory(directory: str, limit: int) -> None:
    """The limit with swap may not be below the one without: their order depends on the direction of the change."""
    files = [f"{directory}/memory.limit_in_bytes"]
    with_swap = f"{directory}/memory.memsw.limit_in_bytes"
    if os.path.exists(with_swap):
        files.append(with_swap)
        if limit < 0 or limit > number(read(with_swap)):
            files.reverse()
    for file in files:
        write(file, str(limit))


def _star(value: int) -> str:
    return "*" if value < 0 else str(value)
