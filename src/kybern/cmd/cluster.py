"""The processes of one cluster, in the order they start. Each row is a composition root of its own."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from kybern.cmd import config, logs
from kybern.cmd.config import Cluster
from kybern.cmd.credentials import has_simulated_nodes
from kybern.cmd.place import Place, places
from kybern.cmd.supervisor import Program, Supervisor
from kybern.linux import cgroup_detect, cgroups, namespaces
from kybern.runtime.warden import launch
from kybern.runtime.warden.fdstore import Keeper


def supervise(cluster: Cluster, *, foreground: bool, leash: socket.socket | None = None) -> None:
    """Be the supervisor until told to stop, or until the other end of `leash` is closed."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy would start threads, and a process with threads must not fork
    if foreground and cluster.verbose:
        logs.to_terminal(verbose=True)
    else:
        logs.to_file(cluster.logs, "supervisor", verbose=cluster.verbose)

    def wanted() -> list[Program]:
        return list(programs(config.saved(cluster.data) or cluster))

    supervisor = Supervisor(list(programs(cluster)), cluster.control_socket, cluster.logs, wanted, leash)
    supervisor.about = {"name": cluster.name, "server": cluster.server_url, "started": time.time()}
    supervisor.run()


def programs(cluster: Cluster) -> Iterator[Program]:
    """In the order of what others wait for; each is imported just before it starts, while those before it already work."""
    machine, *others = (list(node_programs(place)) for place in places(cluster))
    if cluster.joined:
        yield from machine
        return
    *warden, node = machine
    yield from warden
    yield Program("server", "kybern.cmd.server", partial(root, cluster, "server"))
    yield node
    yield Program("control", "kybern.cmd.control", partial(root, cluster, "control"))
    if not cluster.simulated:
        yield Program("ingress", "kybern.cmd.ingress", partial(root, cluster, "ingress"))
    for found in others:
        yield from found
    if has_simulated_nodes(cluster):
        yield Program("simulated-nodes", "kybern.cmd.simulated_nodes", partial(root, cluster, "simulated-nodes"))


def node_programs(place: Place) -> Iterator[Program]:
    if place.off:
        return
    if not place.cluster.simulated:
        keeper: Callable[[], Any] = partial(Keeper, str(place.keeper_socket))
        yield Program(place.program("warden"), launch.__name__, partial(warden, place), make_keeper=keeper)
    goodbye = partial(shutdown_seconds, place)
    yield Program(place.program("node"), "kybern.cmd.node", partial(node_root, place), more_seconds=goodbye)
    if place.delay_ms:
        # Named after its settings: others are another program.
        name = f"{place.program('link')}-{place.delay_ms}ms-{place.loss_percent}"
        yield Program(name, "kybern.cmd.slow", partial(slow_root, place, name))


def shutdown_seconds(place: Place) -> float:
    """What its kubelet gives pods to end when the cluster goes down."""
    return import_module("kybern.cmd.node").shutdown_seconds(place) if place.kubelet_settings.exists() else 0.0


def root(cluster: Cluster, name: str, module: ModuleType) -> None:
    """What each of ours does first is to open its log."""
    logs.to_file(cluster.logs, name, verbose=cluster.verbose)
    module.main(cluster)


def node_root(place: Place, module: ModuleType) -> None:
    logs.to_file(place.cluster.logs, place.program("node"), verbose=place.cluster.verbose)
    enter(place)
    module.main(place)


def slow_root(place: Place, name: str, module: ModuleType) -> None:
    logs.to_file(place.cluster.logs, name, verbose=place.cluster.verbose)
    module.main(place)


def warden(place: Place, module: ModuleType) -> None:
    enter(place)
    launch.become_warden(str(place.run / "warden.sock"), str(place.runtime / "containers"), str(place.keeper_socket))


def enter(place: Place) -> None:
    """This process becomes one of the node's: in its namespace, under its limits."""
    if place.cluster.simulated:
        return
    groups, group = cgroup_detect.detect(), f"{place.cgroup}/system"
    groups.create(group)
    cgroups.enter(groups.entrance(group))
    if place.netns is not None:
        opened = os.open(place.netns, os.O_RDONLY | os.O_CLOEXEC)
        namespaces.setns(opened, namespaces.NEWNET)
        os.close(opened)
