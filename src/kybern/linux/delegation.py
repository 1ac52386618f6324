"""Cgroups v2 that were given to an ordinary user (delegated, as cgroups(7) has it): the user's own group and what is below.

The group must hold nobody but the cluster's own processes, since the kernel hands controllers down only from an empty
one: `systemd-run --user --scope -p Delegate=yes kybern up` makes such a group. Who starts the cluster steps aside into
`<name>-gate`; the cluster is in `<name>`, which is all that it sees.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from kybern.linux import cgroups, mounts, namespaces
from kybern.linux.cgroups import DeviceRule, read, write
from kybern.linux.cgroups_v2 import V2, WANTED

SUPERVISOR = "/supervisor"


class Delegated(V2):
    """Only the controllers that were given are there; who guards devices is the machine's administrator."""

    def _is_counted(self, path: str, file: str) -> bool:
        given = read(f"{self.root}/cgroup.controllers").split()
        return file.partition(".")[0] in given and super()._is_counted(path, file)

    def allow_devices(self, path: str, rules: Sequence[DeviceRule]) -> None:
        return


def own_group(table: str = "/proc/self/mountinfo", about: str = "/proc/self/cgroup") -> str:
    """The directory of this process' group; empty where it may not be written."""
    inside = next((line[3:] for line in Path(about).read_text().splitlines() if line.startswith("0::")), "")
    root = next((point.path for point in mounts.mount_points(table) if point.fstype == "cgroup2"), "")
    directory = f"{root}{inside}".rstrip("/")
    files = ("", "/cgroup.procs", "/cgroup.subtree_control")
    delegated = inside and root and all(os.access(f"{directory}{file}", os.W_OK) for file in files)
    return directory if delegated else ""


def controllers(directory: str) -> frozenset[str]:
    return frozenset(read(f"{directory}/cgroup.controllers").split()) & frozenset(WANTED)


def others_in(directory: str) -> list[int]:
    """The processes in the way: who is in a group keeps it from handing its controllers down."""
    return [int(pid) for pid in read(f"{directory}/cgroup.procs").split() if int(pid) != os.getpid()]


def step_aside(directory: str, name: str) -> str:
    """This process leaves the group, which then hands down what it has; the group that the cluster is to be in."""
    for group in (f"{directory}/{name}-gate", f"{directory}/{name}"):
        os.makedirs(group, exist_ok=True)
    write(f"{directory}/{name}-gate/cgroup.procs", "0")
    for controller in sorted(controllers(directory)):
        write(f"{directory}/cgroup.subtree_control", f"+{controller}")
    return f"{directory}/{name}"


def enter(group: str) -> None:
    """Into it, so that nothing above is seen: what is at /sys/fs/cgroup from now on is the group. In a mount namespace of
    one's own."""
    write(f"{group}/cgroup.procs", "0")
    namespaces.unshare(namespaces.NEWCGROUP)
    made = mounts.filesystem("cgroup2", attributes=mounts.NOSUID | mounts.NODEV | mounts.NOEXEC)
    mounts.attach_at(made, cgroups.ROOT)
    os.makedirs(f"{cgroups.ROOT}{SUPERVISOR}", exist_ok=True)
    write(f"{cgroups.ROOT}{SUPERVISOR}/cgroup.procs", "0")


def remove(group: str) -> None:
    """With everything in it, and who stepped aside; nobody is left in either."""
    for directory in (group, f"{group}-gate"):
        if os.path.isdir(directory):
            cgroups.remove_tree(directory)
