"""Which cgroups this machine has."""

import os

from kybern.linux import cgroups, mounts
from kybern.linux.cgroups_v1 import CONTROLLERS, V1
from kybern.linux.cgroups_v2 import V2


def detect(root: str = cgroups.ROOT, table: str = "/proc/self/mountinfo") -> cgroups.Cgroups:
    """v2 when it holds the controllers, else v1; FileNotFoundError when there is neither.

    The same hierarchy may be mounted again elsewhere, in a chroot say, and that place may go: the one at `root` is taken.
    """
    points = sorted(mounts.mount_points(table), key=lambda point: point.path.startswith(f"{root}/"))
    hierarchies = {
        controller: point.path
        for point in points
        if point.fstype == "cgroup"
        for controller in point.super_options.split(",")
        if controller in CONTROLLERS
    }
    if hierarchies:
        return V1(hierarchies)
    if os.path.exists(f"{root}/cgroup.controllers"):
        return V2(root)
    raise FileNotFoundError(2, "no cgroups are mounted", root)
