"""The processes of one cluster, in the order they start. Each row is a composition root of its own."""

import os
import signal
import time
from functools import partial
from types import ModuleType

from kybern.cmd import logs
from kybern.cmd.config import Cluster
from kybern.cmd.credentials import has_simulated_nodes
from kybern.cmd.supervisor import Program, Supervisor
from kybern.runtime.warden import launch
from kybern.runtime.warden.fdstore import Keeper

ROOTS = {
    "server": "kybern.cmd.server",
    "node": "kybern.cmd.node",
    "control": "kybern.cmd.control",
    "simulated-nodes": "kybern.cmd.simulated_nodes",
}
"""In the order of what others wait for; each is imported just before it starts, while those before it already work."""


def supervise(cluster: Cluster, *, foreground: bool) -> None:
    """Be the supervisor until told to stop."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy would start threads, and a process with threads must not fork
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if foreground and cluster.verbose:
        logs.to_terminal(verbose=True)
    else:
        logs.to_file(cluster.logs, "supervisor", verbose=cluster.verbose)
    keeper = None if cluster.simulated else Keeper(str(cluster.keeper_socket))
    supervisor = Supervisor(programs(cluster), cluster.control_socket, cluster.logs, keeper)
    supervisor.about = {"name": cluster.name, "server": cluster.server_url, "started": time.time()}
    supervisor.run()


def programs(cluster: Cluster) -> list[Program]:
    roots = [
        Program(name, module, partial(root, cluster, name))
        for name, module in ROOTS.items()
        if name != "simulated-nodes" or has_simulated_nodes(cluster)
    ]
    return roots if cluster.simulated else [Program("warden", launch.__name__, partial(warden, cluster)), *roots]


def root(cluster: Cluster, name: str, module: ModuleType) -> None:
    """What each of ours does first is to open its log."""
    logs.to_file(cluster.logs, name, verbose=cluster.verbose)
    module.main(cluster)


def warden(cluster: Cluster, module: ModuleType) -> None:
    launch.become_warden(
        str(cluster.run / "warden.sock"), str(cluster.runtime / "containers"), str(cluster.keeper_socket)
    )
