"""The processes of one cluster, in the order they start. Each row is a composition root of its own."""

import os
import signal

from kybern.cmd import logs
from kybern.cmd.config import Cluster
from kybern.cmd.supervisor import Program, Supervisor

MODULES = {"server": "kybern.cmd.server", "control": "kybern.cmd.control", "node": "kybern.cmd.node"}


def supervise(cluster: Cluster, *, foreground: bool) -> None:
    """Be the supervisor until told to stop."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy would start threads, and a process with threads must not fork
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if foreground and cluster.verbose:
        logs.to_terminal(verbose=True)
    else:
        logs.to_file(cluster.logs, "supervisor", verbose=cluster.verbose)
    supervisor = Supervisor(programs(cluster), cluster.control_socket, cluster.logs)
    supervisor.about = {"name": cluster.name, "server": cluster.server_url}
    supervisor.run()


def programs(cluster: Cluster) -> list[Program]:
    return [
        Program(name, module, lambda found, name=name: process(cluster, name, found.main))  # type: ignore[misc]
        for name, module in MODULES.items()
    ]


def process(cluster: Cluster, name: str, main: object) -> None:
    """What every process does first: its log, and a loop of its own."""
    logs.to_file(cluster.logs, name, verbose=cluster.verbose)
    assert callable(main)
    main(cluster)
