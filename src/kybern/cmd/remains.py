"""What a cluster leaves in the kernel and in its run directory, found by its names and removed. Safe at any time.

Nothing here depends on what a process remembered: after a crash, or a second time, it does the same.
"""

import shutil

from kybern.cmd.config import Cluster
from kybern.linux import nft
from kybern.linux.netlink import Netlink


def clear(cluster: Cluster) -> None:
    if not cluster.simulated:
        clear_kernel(cluster)
    shutil.rmtree(cluster.run, ignore_errors=True)


def clear_kernel(cluster: Cluster) -> None:
    if nft.binary() is not None:
        nft.delete_table("ip", cluster.table)
    with Netlink() as here:
        here.delete_link(cluster.bridge)
