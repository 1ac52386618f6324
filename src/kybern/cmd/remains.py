"""What a cluster leaves in the kernel and in its run directory, found by its names and removed. Safe at any time.

Nothing here depends on what a process remembered: after a crash, or a second time, it does the same.
"""

import os
import shutil

from kybern.cmd.config import Cluster
from kybern.linux import cgroup_detect, mounts, nft
from kybern.linux.netlink import Netlink
from kybern.runtime.cleanup import cleanup, remove_group


def clear(cluster: Cluster) -> None:
    if os.geteuid() == 0:
        clear_kernel(cluster)
    shutil.rmtree(cluster.run, ignore_errors=True)


def clear_kernel(cluster: Cluster) -> None:
    cleanup(cluster.runtime, cluster.run)
    remove_group(cgroup_detect.detect(), cluster.cgroup)
    for directory in (cluster.data, cluster.run):
        mounts.unmount_beneath(str(directory))
    if nft.binary() is not None:
        nft.delete_table("ip", cluster.table)
    with Netlink() as here:
        here.delete_link(cluster.bridge)
