"""An ordinary user's cluster, seen from outside its namespaces: how it starts, how commands get in, how it is cleared.

See docs/decisions/0017. Whoever is not root of the machine runs everything but the gate in namespaces of their own, where
they are root: so everything else is as it is with root.
"""

import os
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from kybern.cmd import running
from kybern.cmd.config import Cluster
from kybern.cmd.exits import in_a_child, leave, wait_for
from kybern.cmd.gate import Gate
from kybern.linux import delegation, processes, user_namespace
from kybern.linux.netlink import Netlink
from kybern.linux.uplink import Uplink


def start(cluster: Cluster, group: str, supervise: Callable[[socket.socket], None]) -> None:
    """Be the gate until the cluster has ended; `supervise` is called inside, where the socket says when to end."""

    def first_process(leash: socket.socket) -> NoReturn:
        leave(lambda: begin(leash))

    def begin(leash: socket.socket) -> None:
        with Netlink() as here:
            here.set_up(here.index("lo"))
        supervise(leash)

    uplink = Uplink(cluster.uplink, cluster.logs / "uplink.out", cluster.uplink_note) if cluster.uplink else None
    Gate(cluster.gate_socket, uplink).run("kybern-gate", group, first_process)


def delegated_group(cluster: Cluster) -> str:
    """The cgroup that the cluster is to be in, which this process steps aside for; empty where the user was given none, and
    limits are not enforced."""
    directory = delegation.own_group()
    if not directory or delegation.others_in(directory):
        return ""
    group = delegation.step_aside(directory, cluster.cgroup.strip("/"))
    cluster.cgroup_note.write_text(group)
    return group


def inside(cluster: Cluster, command: Callable[[], int]) -> int:
    """The command's exit code; it runs where the cluster's addresses and links are, if that is elsewhere and it is up."""
    known = running.status(cluster.control_socket) if cluster.rootless else None
    if known is None:
        return command()
    pidfd = os.pidfd_open(known["pid"])

    def entered() -> int:
        user_namespace.enter(pidfd)
        return in_a_child(command)

    return in_a_child(entered)


def with_pids_seen_here(found: dict[str, Any]) -> dict[str, Any]:
    """What the supervisor says of its processes, whose pids it knows as they are in its namespace."""
    try:
        here = processes.pids_seen_here(found["pid"])
    except OSError:
        return found  # one of them has just ended
    programs = [{**program, "pid": here.get(program["pid"], program["pid"])} for program in found["programs"]]
    return {**found, "programs": programs}


def apart(command: Callable[[], int | None]) -> int:
    """Likewise in fresh namespaces of the user's: for files of the ids that only these map."""
    processes.become_subreaper()
    return wait_for(user_namespace.make(lambda: leave(command)))


def forget_cgroups(cluster: Cluster) -> None:
    """Those that were given to the user; all else that was in the kernel ended with the namespaces."""
    try:
        group = cluster.cgroup_note.read_text()
    except OSError:
        return
    delegation.remove(group)
