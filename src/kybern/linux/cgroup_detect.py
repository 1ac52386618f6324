"""Which cgroups this machine has."""

import os
from collections.abc import Callable

from kybern.linux import cgroups, mounts
from kybern.linux.cgroups_absent import Absent
from kybern.linux.cgroups_v1 import CONTROLLERS, V1
from kybern.linux.cgroups_v2 import V2
from kybern.linux.delegation import Delegated
from kybern.linux.privilege import in_first_user_namespace


def may_write(path: str) -> bool:
    return os.access(path, os.W_OK)


def detect(
    root: str = cgroups.ROOT, table: str = "/proc/self/mountinfo", may_write: Callable[[str], bool] = may_write
) -> cgroups.Cgroups:
    """v2 when it holds the controllers, else v1; neither where they may not be written, as by an ordinary user whom
    nobody gave a part of them.

    The same hierarchy may be mounted again elsewhere, in a chroot say, and that place may go: the one at `root` is taken.
    """
    points = sorted(mounts.mount_points(table), key=lambda point: point.path.startswith(f"{root}/"))
    points = [point for point in points if point.fstype in ("cgroup", "cgroup2") and may_write(point.path)]
    hierarchies = {
        controller: point.path
        for point in points
        if point.fstype == "cgroup"
        for controller in point.super_options.split(",")
        if controller in CONTROLLERS
    }
    if hierarchies:
        return V1(hierarchies, [point.path for point in points])
    if may_write(f"{root}/cgroup.subtree_control"):
        return V2(root) if in_first_user_namespace() else Delegated(root)
    return Absent()
