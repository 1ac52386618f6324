"""What a cluster leaves in the kernel and in its run directory, found by its names and removed. Safe at any time.

Nothing here depends on what a process remembered: after a crash, or a second time, it does the same.
"""

import asyncio
import logging
import os
import shutil
from pathlib import Path

from kybern.aio.clock import SystemClock
from kybern.cmd import rootless
from kybern.cmd.config import Cluster
from kybern.cmd.links import forget_way_to_nodes, remove_place
from kybern.cmd.place import Place, places
from kybern.linux import cgroup_detect, mounts, netns, nft
from kybern.linux.netlink import Netlink
from kybern.linux.uplink import stop_left
from kybern.network.cni import CniNetwork
from kybern.runtime.cleanup import cleanup, remove_group
from kybern.runtime.cri import RuntimeFault

log = logging.getLogger(__name__)


def clear(cluster: Cluster) -> None:
    if cluster.rootless:
        stop_left(cluster.uplink_note)
        rootless.apart(lambda: clear_kernel(cluster))
        rootless.forget_cgroups(cluster)
    elif os.geteuid() == 0:
        clear_kernel(cluster)
    shutil.rmtree(cluster.run, ignore_errors=True)


def clear_kernel(cluster: Cluster) -> None:
    for place in places(cluster):
        clear_node(place)
    remove_group(cgroup_detect.detect(), cluster.cgroup)
    for directory in (cluster.data, cluster.run):
        mounts.unmount_beneath(str(directory))
    if nft.binary() is not None:
        for table in (cluster.table, f"{cluster.table}-policy", f"{cluster.table}-tunnel"):
            for family in ("ip", "ip6"):
                nft.delete_table(family, table)
    if cluster.joined:
        forget_way_to_nodes(cluster)
    with Netlink() as here:
        for link in (cluster.bridge, cluster.vxlan, cluster.node_bridge):
            here.delete_link(link)


def give_back_networks(place: Place) -> None:
    """What plugins keep elsewhere, as addresses, they are told to let go."""
    plugins = CniNetwork(Path(place.cluster.cni_conf_dir), place.data / "cni", SystemClock())
    namespace = place.netns if place.netns is not None and netns.exists(place.netns) else None
    with netns.inside(namespace):
        asyncio.run(plugins.collect(()))


def clear_runtime(place: Place) -> None:
    """A runtime that does not answer keeps what it has; the next cluster on it here finds and removes that."""
    from kybern.cmd.remote_engine import clear as forget

    try:
        os.stat(place.cluster.runtime.removeprefix("unix://"))
        asyncio.run(forget(place, SystemClock()))
    except (RuntimeFault, OSError) as error:  # TimeoutError is one
        log.warning("%s still has containers of node %s: %s", place.cluster.runtime, place.name, error)


def clear_node(place: Place) -> None:
    """Everything of a node that has been stopped; its data stays."""
    if place.cluster.runtime:
        clear_runtime(place)
    if place.cluster.pod_network == "cni":
        give_back_networks(place)
    cleanup(place.runtime, place.run)
    remove_group(cgroup_detect.detect(), place.cgroup)
    if not place.is_machine:
        remove_place(place)
        for directory in (place.data, place.run):
            mounts.unmount_beneath(str(directory))
        shutil.rmtree(place.run, ignore_errors=True)
