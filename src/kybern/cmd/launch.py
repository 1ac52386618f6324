"""Starting a prepared cluster: its directories, certificates and links, the supervisor in the background, and the wait until
it can be used.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from kybern.cmd import config, running
from kybern.cmd.config import Cluster
from kybern.cmd.place import first, places
from kybern.cmd.progress import Progress
from kybern.cmd.turns import Turn

READY_SECONDS = 60.0
SUPERVISOR_SECONDS = 5.0


def start(cluster: Cluster, progress: Progress, turn: Turn, *, foreground: bool) -> int:
    """Forks the supervisor. In the foreground it is this process, and a child of it reports."""
    from kybern.cmd.credentials import prepare
    from kybern.cmd.encryption import prepare_encryption
    from kybern.cmd.remains import clear
    from kybern.cmd.rootless import delegated_group

    for directory in (cluster.data, cluster.run, cluster.pki, cluster.logs):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
    (cluster.run / "index").write_text(str(cluster.index))
    config.save(cluster)
    if cluster.joined:
        asyncio.run(renew_joined(cluster))
    else:
        prepare(cluster, time.time())
        prepare_encryption(cluster)
    group = ""
    if cluster.rootless:
        group = delegated_group(cluster)
    else:
        make_places(cluster)
    progress.reached("checked this machine and the certificates")
    if foreground:
        cluster_pid = os.getpid()
        if os.fork() == 0:
            os._exit(tell_when_up(cluster, progress, turn, lambda: os.getppid() == cluster_pid))
        turn.close()
        be_the_cluster(cluster, group, foreground=True)
        clear(cluster)
        return 0
    pid = os.fork()
    if pid == 0:
        detach(cluster)
        be_the_cluster(cluster, group, foreground=False)
        os._exit(0)
    os.waitpid(pid, 0)
    return tell_when_up(cluster, progress, turn)


def make_places(cluster: Cluster) -> None:
    from kybern.cmd.links import ensure_node_bridge, ensure_place

    if not cluster.simulated and not cluster.joined:
        ensure_node_bridge(cluster)
    for place in places(cluster):
        ensure_place(place)


def be_the_cluster(cluster: Cluster, group: str, *, foreground: bool) -> None:
    """Until it is told to stop. `group`: the cgroup that was given to it, without root."""
    from kybern.cmd import rootless
    from kybern.cmd.cluster import supervise

    if not cluster.rootless:
        supervise(cluster, foreground=foreground)
        return

    def supervise_inside(leash: socket.socket) -> None:
        make_places(cluster)
        supervise(cluster, foreground=foreground, leash=leash)

    rootless.start(cluster, group, supervise_inside)


async def renew_joined(cluster: Cluster) -> None:
    """Where the other machine cannot be reached now, the certificates are renewed by a later start."""
    from kybern.api.errors import ApiError
    from kybern.client import Client
    from kybern.cmd.joining import CERTIFICATES, NotJoined, renew
    from kybern.cmd.ready import transport

    with suppress(ApiError, OSError, NotJoined):
        for of in CERTIFICATES:
            async with transport(cluster, of(cluster.node_name)) as connections:
                await renew(Client(connections), first(cluster), of, time.time())


def detach(cluster: Cluster) -> None:
    """A session, a parent and files of its own (daemon(7)): whoever reads our output need not wait for its end."""
    from kybern.cmd.supervisor import redirect_output

    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # what the caller left open is not ours: a lock, say
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    redirect_output(cluster.logs / "supervisor.out")


def wait_for_nodes(cluster: Cluster, progress: Progress) -> str:
    """What was not reached in time; empty when all was."""
    from kybern.cmd.ready import wait

    return asyncio.run(wait(cluster, READY_SECONDS, lambda step, _: progress.reached(step)))


def answers(cluster: Cluster) -> bool:
    try:
        return running.status(cluster.control_socket) is not None
    except running.NoAnswer:
        return False


def tell_when_up(cluster: Cluster, progress: Progress, turn: Turn, exists: Callable[[], bool] = lambda: True) -> int:
    """`exists`: whether there still is who is to become the cluster. Others need not wait for one that was ended at once."""
    deadline = time.monotonic() + SUPERVISOR_SECONDS
    while not answers(cluster) and exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    turn.close()
    if not exists():
        return 1
    return wait_and_tell(cluster, progress)


def wait_and_tell(cluster: Cluster, progress: Progress) -> int:
    from kybern.cmd import rootless

    return rootless.inside(cluster, lambda: wait_inside_and_tell(cluster, progress))


def wait_inside_and_tell(cluster: Cluster, progress: Progress) -> int:
    from kybern.client.kubeconfig import KubeconfigError
    from kybern.cmd.kubeconfig import write

    missing = wait_for_nodes(cluster, progress)
    if missing:
        return progress.failed(f"after {READY_SECONDS:.0f} s still waiting: {missing}", f"look into {cluster.logs}")
    if cluster.joined:
        progress.done(f"node {cluster.node_name} is part of the cluster at {cluster.joined}")
        return 0
    try:
        path = write(cluster)
    except KubeconfigError as error:
        return progress.failed(
            f"{cluster.name} is up at {cluster.server_url}, but its context could not be written: {error}",
            "mend that file, or name another in KUBECONFIG, then kybern up again",
        )
    progress.done(f"{cluster.name} is up at {cluster.server_url}, context `{cluster.name}` is in {path}")
    return 0
